"""How do ranks on a grid compute A B by passing blocks of both matrices around?

Ranks form a grid with `Create_cart`; `Shift` names the neighbours, and `Sendrecv_replace` moves the blocks on.
The algorithm is that of Cannon, 1969.

    $ python -m mpi -n 9 examples/mpi/cannon.py
    3 x 3 ranks: A B is right, its trace is 3732
"""

import math

import numpy as np
from mpi4py import MPI

BLOCK = 2

q = math.isqrt(MPI.COMM_WORLD.size)
if q * q != MPI.COMM_WORLD.size:
    raise SystemExit(f"got {MPI.COMM_WORLD.size} ranks, expected a square number, such as 4 or 9")
grid = MPI.COMM_WORLD.Create_cart([q, q], periods=[True, True])
row, column = grid.coords
n = q * BLOCK

generator = np.random.default_rng(7)  # the same on all ranks
whole_a, whole_b = generator.integers(0, 20, (2, n, n))


def block(matrix, i, j):
    """Return block (i, j) of a matrix, in memory of its own."""
    return matrix[i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK].copy()


# Row i of A begins i blocks further to the left, column j of B begins j blocks further up.
a = block(whole_a, row, (column + row) % q)
b = block(whole_b, (row + column) % q, column)
c = np.zeros((BLOCK, BLOCK), a.dtype)
left, up = grid.Shift(1, -1), grid.Shift(0, -1)
for _ in range(q):
    c += a @ b
    grid.Sendrecv_replace(a, dest=left[1], source=left[0])
    grid.Sendrecv_replace(b, dest=up[1], source=up[0])

parts = grid.gather((row, column, c), root=0)
if grid.rank == 0:
    product = np.empty((n, n), a.dtype)
    for i, j, part in parts:
        product[i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK] = part
    is_right = np.array_equal(product, whole_a @ whole_b)
    print(f"{q} x {q} ranks: A B is {'right' if is_right else 'wrong'}, its trace is {np.trace(product)}")
