"""Run under mpiexec: every claim of `claims.py` on real MPI, over its cases for it. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from claims import CLAIMS, cases_on_real_mpi
from ranks.real import world

comm = world()
for turn, (name, claim) in enumerate(CLAIMS.items()):
    for case in cases_on_real_mpi(comm.size, turn):
        try:
            claim(comm, case)
        except BaseException as problem:
            problem.add_note(f"claim {name} on rank {comm.rank} of {comm.size}, {case}")
            raise
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {len(CLAIMS)} claims\n")
