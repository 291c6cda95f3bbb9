"""How do ranks that form a grid add up along its rows and its columns?

`Split` makes a communicator of each row, and another one of each column.

    $ python -m mpi -n 6 examples/mpi/rows_and_columns.py
    grid of 2 x 3
    rank 0 at (0, 0): row sum 3, column sum 3
    rank 1 at (0, 1): row sum 3, column sum 5
    rank 2 at (0, 2): row sum 3, column sum 7
    rank 3 at (1, 0): row sum 12, column sum 3
    rank 4 at (1, 1): row sum 12, column sum 5
    rank 5 at (1, 2): row sum 12, column sum 7
"""

from mpi4py import MPI

comm = MPI.COMM_WORLD
columns = next(n for n in range(1, comm.size + 1) if comm.size % n == 0 and n * n >= comm.size)
i, j = divmod(comm.rank, columns)

row, column = comm.Split(color=i, key=j), comm.Split(color=j, key=i)
line = f"rank {comm.rank} at ({i}, {j}): row sum {row.allreduce(comm.rank)}, column sum {column.allreduce(comm.rank)}"
row.Free()
column.Free()
lines = comm.gather(line, root=0)
if comm.rank == 0:
    print(f"grid of {comm.size // columns} x {columns}", *lines, sep="\n")
