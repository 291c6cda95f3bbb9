"""How do ranks compute the forces between all bodies by passing them around a ring?

While `Isend` passes a group of bodies on, the rank computes the forces that this group exerts.

    $ python -m mpi -n 5 examples/mpi/n_body.py
    20 bodies on 5 ranks: forces equal those of one process, and add up to zero
"""

import numpy as np
from mpi4py import MPI

BODIES = 4  # of each rank

comm = MPI.COMM_WORLD
left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
everyone = np.random.default_rng(1).random((comm.size * BODIES, 3))
mine = everyone[comm.rank * BODIES : (comm.rank + 1) * BODIES]


def forces(on, by):
    """Return the sum of the forces on each body; a body does not act on itself."""
    way = by[None] - on[:, None]
    distance = np.linalg.norm(way, axis=2, keepdims=True)
    return np.divide(way, distance**3, out=np.zeros_like(way), where=distance > 0).sum(axis=1)


total, travelling = np.zeros_like(mine), mine.copy()
for _ in range(comm.size):
    request = comm.Isend(travelling, dest=right)
    total += forces(mine, travelling)
    coming = np.empty_like(travelling)
    comm.Recv(coming, source=left)
    request.Wait()
    travelling = coming

is_right = comm.allreduce(np.allclose(total, forces(mine, everyone)), op=MPI.LAND)
rest = comm.allreduce(total.sum(axis=0))
if comm.rank == 0:
    equal = "equal" if is_right else "differ from"
    zero = "zero" if np.allclose(rest, 0) else rest
    print(f"{len(everyone)} bodies on {comm.size} ranks: forces {equal} those of one process, and add up to {zero}")
