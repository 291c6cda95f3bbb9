"""How warm does a rod get if its ends are held at 0 and 100 degrees and each rank has a piece of it?

Neighbours exchange their border points with `Sendrecv`; `Allreduce` says when the largest change is small.

    $ python -m mpi -n 4 examples/mpi/jacobi.py
    settled after 314 steps: 6 23 41 59 76 94
"""

import numpy as np
from mpi4py import MPI

POINTS, LIMIT = 16, 1e-2

comm = MPI.COMM_WORLD
left = comm.rank - 1 if comm.rank > 0 else MPI.PROC_NULL
right = comm.rank + 1 if comm.rank < comm.size - 1 else MPI.PROC_NULL

n = POINTS // comm.size + (comm.rank < POINTS % comm.size)
u = np.zeros(n + 2)  # the first and the last one are the neighbours' points
if right == MPI.PROC_NULL:
    u[-1] = 100

steps, change = 0, np.array(1.0)
while change > LIMIT:
    comm.Sendrecv(u[1:2], dest=left, recvbuf=u[-1:], source=right)
    comm.Sendrecv(u[-2:-1], dest=right, recvbuf=u[:1], source=left)
    inner = (u[:-2] + u[2:]) / 2
    change = np.array(np.abs(inner - u[1:-1]).max())
    u[1:-1] = inner
    comm.Allreduce(MPI.IN_PLACE, change, op=MPI.MAX)
    steps += 1

whole = comm.gather(u[1:-1], root=0)
if comm.rank == 0:
    print(f"settled after {steps:,} steps:", *(f"{t:.0f}" for t in np.concatenate(whole)[::3]))
