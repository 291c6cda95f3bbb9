"""Who is there?

Each rank writes a line, and `gather` brings all lines to rank 0.

    $ python -m mpi -n 4 examples/mpi/hello.py
    hello from rank 0 of 4
    hello from rank 1 of 4
    hello from rank 2 of 4
    hello from rank 3 of 4
"""

from mpi4py import MPI

comm = MPI.COMM_WORLD
lines = comm.gather(f"hello from rank {comm.rank} of {comm.size}", root=0)
if comm.rank == 0:
    print(*lines, sep="\n")
