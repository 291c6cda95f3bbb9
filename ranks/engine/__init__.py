"""Who runs, and on which clock: ranks as greenlets, the scheduler and its events. It knows no message."""
