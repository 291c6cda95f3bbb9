"""Where does each rank's part begin if the parts have different lengths?

`exscan` adds up the lengths of the ranks before; `Gatherv` puts all parts together.

    $ python -m mpi -n 4 examples/mpi/offsets.py
    rank 0: 1 elements from 0
    rank 1: 3 elements from 1
    rank 2: 5 elements from 4
    rank 3: 7 elements from 9
    0 1 1 1 2 2 2 2 2 3 3 3 3 3 3 3
"""

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
mine = np.full(2 * comm.rank + 1, comm.rank, dtype="i4")

offset = comm.exscan(len(mine)) or 0  # rank 0 gets None
table = comm.gather((len(mine), offset), root=0)
whole, spec = None, None
if comm.rank == 0:
    for rank, (length, begin) in enumerate(table):
        print(f"rank {rank}: {length} elements from {begin}")
    whole = np.empty(sum(length for length, _ in table), "i4")
    spec = [whole, [length for length, _ in table], [begin for _, begin in table], MPI.INT]
comm.Gatherv(mine, spec, root=0)
if comm.rank == 0:
    print(*whole)
