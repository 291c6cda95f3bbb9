"""Run under mpiexec: every claim of `claims_of_movers.py` on real MPI. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from claims import cases_on_real_mpi
from claims_of_movers import MOVER_CLAIMS
from ranks.real import world

comm = world()
for turn, (name, claim) in enumerate(MOVER_CLAIMS.items()):
    for case in cases_on_real_mpi(comm.size, turn):
        if case.op != "add" and case.seed % 5:
            continue  # movers do not look at the op
        try:
            claim(comm, case)
        except BaseException as problem:
            problem.add_note(f"claim {name} on rank {comm.rank} of {comm.size}, {case}")
            raise
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {len(MOVER_CLAIMS)} claims\n")
