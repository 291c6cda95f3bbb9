"""What experiments and notebooks share: options, tables, progress, timing, worlds, and the programs they look at."""
