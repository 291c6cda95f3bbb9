"""Run under mpiexec: every collective on real MPI while messages and wildcards of the program are under way.

Prints "done" once per rank.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import ranks
from claims import CLAIMS
from claims_of_movers import MOVER_CLAIMS, claim_in_a_crowd
from ranks.real import world

ranks.placement(world())  # measures with messages of its own
for claim in (CLAIMS | MOVER_CLAIMS).values():
    claim_in_a_crowd(world(), claim)
sys.stdout.write(f"rank {world().rank} done\n")
