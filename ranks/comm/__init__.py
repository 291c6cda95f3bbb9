"""What a program calls, spelled as mpi4py spells it. It does not know why a run hangs, nor how one is started."""
