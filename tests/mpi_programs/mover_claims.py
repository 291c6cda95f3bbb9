"""Run under mpiexec: every claim of `claims_of_movers.py` on real MPI. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

from claims import hold_all
from claims_of_movers import MOVER_CLAIMS
from ranks.real import world

comm = world()
hold_all(MOVER_CLAIMS, comm, 3, ("maximum",))  # movers do not look at the op
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {len(MOVER_CLAIMS)} claims\n")
