"""How do ranks transpose a matrix whose rows are spread over them?

`Alltoall` gives each rank one element of every row.

    $ python -m mpi -n 4 examples/mpi/transpose.py
    rank 0 has 0 4 8 12
    rank 1 has 1 5 9 13
    rank 2 has 2 6 10 14
    rank 3 has 3 7 11 15
"""

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
row = np.arange(comm.size) + comm.rank * comm.size
column = np.empty_like(row)
comm.Alltoall(row, column)

columns = comm.gather(column, root=0)
if comm.rank == 0:
    for rank, numbers in enumerate(columns):
        print(f"rank {rank} has", *numbers)
