"""How fast does the conjugate gradient method converge when the rows of the system are spread over ranks?

Vectors are spread over the ranks: products need an `allreduce`, the matrix needs the neighbours' elements.

    $ python -m mpi -n 4 examples/mpi/conjugate_gradient.py
    16 unknowns, 4 ranks: solved in 8 steps, x = 1 to 1.000000
"""

import numpy as np
from mpi4py import MPI

ROWS = 4  # of each rank

comm = MPI.COMM_WORLD
left = comm.rank - 1 if comm.rank else MPI.PROC_NULL
right = comm.rank + 1 if comm.rank < comm.size - 1 else MPI.PROC_NULL


def times_a(v):
    """Return this rank's rows of A v, where A has 2 on its diagonal and -1 beside it."""
    wide = np.zeros(len(v) + 2)
    wide[1:-1] = v
    comm.Sendrecv(v[:1], dest=left, recvbuf=wide[-1:], source=right)
    comm.Sendrecv(v[-1:], dest=right, recvbuf=wide[:1], source=left)
    return 2 * v - wide[:-2] - wide[2:]


def dot(a, b):
    """Return the product of two vectors of all ranks."""
    return comm.allreduce(float(a @ b))


b = times_a(np.ones(ROWS))
x, r = np.zeros(ROWS), b.copy()
direction, rr, steps = r.copy(), dot(r, r), 0
while rr > 1e-20:
    image = times_a(direction)
    alpha = rr / dot(direction, image)
    x += alpha * direction
    r -= alpha * image
    rr, before = dot(r, r), rr
    direction = r + rr / before * direction
    steps += 1

low, high = comm.allreduce(x.min(), op=MPI.MIN), comm.allreduce(x.max(), op=MPI.MAX)
if comm.rank == 0:
    n = ROWS * comm.size
    print(f"{n} unknowns, {comm.size} ranks: solved in {steps} steps, x = {low:.6g} to {high:.6f}")
