"""How do ranks estimate pi from the share of random points that fall into a circle?

Each rank draws points of its own, and `reduce` adds up the counts.

    $ python -m mpi -n 4 examples/mpi/monte_carlo_pi.py
    pi is about 3.1479 after 400,000 points
"""

import numpy as np
from mpi4py import MPI

POINTS = 100_000

comm = MPI.COMM_WORLD
generator = np.random.default_rng([2024, comm.rank])
x, y = generator.random((2, POINTS))
inside = np.count_nonzero(x * x + y * y < 1)

total = comm.reduce(inside, op=MPI.SUM, root=0)
if comm.rank == 0:
    n = POINTS * comm.size
    print(f"pi is about {4 * total / n:.4f} after {n:,} points")
