"""Run under mpiexec: the claims of `sorting_claims.py` on real MPI, over its fixed cases. Prints "held" per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

from ranks.real import world
from sorting_claims import CLAIMS, SORTS, claim_refused, fixed_cases

comm = world()
for name, claim in CLAIMS.items():
    for case in fixed_cases():
        try:
            claim(comm, case)
        except BaseException as problem:
            problem.add_note(f"claim {name} on rank {comm.rank} of {comm.size}, {case}")
            raise
for sort in SORTS.values():
    claim_refused(comm, sort)
comm.Barrier()
sys.stdout.write(f"rank {comm.rank} held {len(CLAIMS)} claims\n")
