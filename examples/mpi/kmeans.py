"""How do ranks find clusters of points if no rank has all the points?

Each rank knows its points only; `Allreduce` adds up where the points of each cluster are.

    $ python -m mpi -n 4 examples/mpi/kmeans.py
    centres (-4.0, 0.0) (0.0, 3.0) (5.0, -1.0), 400 points each
"""

import numpy as np
from mpi4py import MPI

CENTRES = np.array([[-4.0, 0.0], [0.0, 3.0], [5.0, -1.0]])

comm = MPI.COMM_WORLD
generator = np.random.default_rng(comm.rank)
points = np.concatenate([centre + generator.normal(0, 0.3, (100, 2)) for centre in CENTRES])

centres = np.array([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
for _ in range(10):
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    sums = np.array([[*points[nearest == k].sum(axis=0), np.sum(nearest == k)] for k in range(3)])
    comm.Allreduce(MPI.IN_PLACE, sums, op=MPI.SUM)
    centres = sums[:, :2] / sums[:, 2:]

if comm.rank == 0:
    found = " ".join(f"({x:.1f}, {y:.1f})" for x, y in centres.round(1) + 0.0)  # + 0.0 makes a zero of -0.0
    print(f"centres {found}, {sums[:, 2].min():.0f} points each")
