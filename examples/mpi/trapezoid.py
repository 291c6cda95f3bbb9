"""How do ranks integrate 4 / (1 + x^2) from 0 to 1 if each of them adds up some slices?

`Bcast` tells all ranks the number of slices, and `Reduce` adds up what they found.

    $ python -m mpi -n 3 examples/mpi/trapezoid.py
    3 ranks, 9,999 slices: 3.1415926519, error 1.7e-09
"""

import math

import numpy as np
from mpi4py import MPI

SLICES = 9_999

comm = MPI.COMM_WORLD
n = np.array(SLICES if comm.rank == 0 else 0, "i")
comm.Bcast(n, root=0)

x = np.arange(comm.rank, n, comm.size) / n
own = np.sum(4 / (1 + x**2) + 4 / (1 + (x + 1 / n) ** 2)) / (2 * n)
total = np.zeros(1)
comm.Reduce(own, total, op=MPI.SUM, root=0)
if comm.rank == 0:
    error = abs(total[0] - math.pi)
    print(f"{comm.size} ranks, {n:,} slices: {total[0]:.10f}, error {error:.1e}")
