"""Run under mpiexec: what "auto" picks on real MPI, and rings in two levels. Prints "agreed" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np

import collectives
import ranks
from claims import CLAIMS, Case
from ranks.real import world

comm = world()

# All pick the same, on the whole and on parts, and the predictions say why.
halves = comm.Split(comm.rank % 2, comm.rank)
for part in (comm, halves):
    for operation in collectives.CATALOGUE:
        for n in (0, 100, 100_000):
            choice = collectives.explain(part, operation, np.zeros(n, np.float32))
            assert len(set(part.allgather((choice.algorithm, choice.candidates)))) == 1, choice
            assert choice.candidates[0][1] == min(time_ps for _, time_ps in choice.candidates)
    for n in (0, 7, 50_000):
        total = collectives.allreduce(part, np.full(n, comm.rank + 1))
        assert np.array_equal(total, np.full(n, sum(part.allgather(comm.rank + 1))))
        assert np.array_equal(
            collectives.broadcast(part, np.full(n, part.rank), root=part.size - 1)[:1], [part.size - 1][:n]
        )
    assert collectives.machine_of(part).network == collectives.machine_of(part).network
    collectives.barrier(part)

# This machine is one node: pretend that it is two, unequal ones if p is odd.
pretended = comm.Dup()
nodes = tuple(rank * 2 // comm.size for rank in range(comm.size))
assert ranks.nodes_of(comm) == (0,) * comm.size
assert ranks.kept(pretended, ranks.nodes_of, lambda: nodes) == nodes
for n in (0, 1, 5, 40_000):
    CLAIMS["two_level_allreduce"](pretended, Case((n,), "f8", "add", out="itself", seed=n))

comm.Barrier()
sys.stdout.write(f"rank {comm.rank} agreed\n")
