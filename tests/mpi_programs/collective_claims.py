"""Run under mpiexec: every claim of `claims.py` on real MPI, over its cases for it. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np

import collectives
from claims import CLAIMS, hold_all, same
from ranks.real import world

comm = world()
overlapping = np.zeros(2_000_002, np.float32)
x, out = overlapping[2:], overlapping[:-2]  # what the root sends must have left before the result is written
for root in range(comm.size):
    x[...] = np.arange(x.size) % 1000 if comm.rank == root else 0
    same(collectives.binomial_broadcast(comm, x, root=root, out=out), (np.arange(x.size) % 1000).astype(np.float32))
hold_all(CLAIMS, comm, 1 if comm.size < 3 else 3)  # cores are few, and simulated ranks try all
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {len(CLAIMS)} claims\n")
