"""What is A x, if each rank has some rows of A?

`Scatter` shares out the rows, `Bcast` copies the vector, and `Gather` collects the product.

    $ python -m mpi -n 4 examples/mpi/matrix_vector.py
    A x = [ 140  364  588  812 1036 1260 1484 1708]
"""

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
p = comm.size
N = 2 * p

a, x = None, np.empty(N, dtype="i8")
if comm.rank == 0:
    a = np.arange(N * N, dtype="i8").reshape(N, N)
    x[:] = np.arange(N)
rows = np.empty((N // p, N), dtype="i8")
comm.Scatter(a, rows, root=0)
comm.Bcast(x, root=0)

y = np.empty(N, dtype="i8") if comm.rank == 0 else None
comm.Gather(rows @ x, y, root=0)
if comm.rank == 0:
    assert np.array_equal(y, a @ x)
    print("A x =", y)
