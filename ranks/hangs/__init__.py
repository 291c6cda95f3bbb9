"""Why nothing moves: who waits for whom, which ranks are the cause, what would help.

It reads a run that has stopped, and knows no way to change it.
"""
