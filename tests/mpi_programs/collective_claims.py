"""Run under mpiexec: every claim of `claims.py` on real MPI, over its cases for it. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from claims import CLAIMS, hold_all
from ranks.real import world

comm = world()
hold_all(CLAIMS, comm, 1 if comm.size < 3 else 3)  # cores are few, and simulated ranks try all
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {len(CLAIMS)} claims\n")
