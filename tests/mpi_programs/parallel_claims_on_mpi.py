"""Run under mpiexec: every way to share out a sequence or a block, on real MPI. Prints "held" once per rank."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np

import parallel
from block_claims import STRATEGIES, cases, claim_equals_one_rank, claim_gradients_of_a_step
from parallel_claims import WAYS, claim_equals_dense, fixed_cases
from ranks.real import world
from vocabulary_claims import claim_vocabulary_of_one_rank, words

comm = world()
held = 0
for claim, ways, every in (
    (claim_equals_dense, WAYS, list(fixed_cases())),
    (claim_equals_one_rank, STRATEGIES, cases()),
    (claim_gradients_of_a_step, STRATEGIES, cases()[2:3]),
):
    for name, way in ways.items():
        for case in every:
            try:
                claim(comm, case, way)
            except BaseException as problem:
                problem.add_note(f"{claim.__name__} of {name} on rank {comm.rank} of {comm.size}, {case}")
                raise
            held += 1

for each in words():
    claim_vocabulary_of_one_rank(comm, each)
    held += 1

# Ranks that disagree on more than tokens all get the same error, and go on.
q = np.zeros((1, 4 + comm.rank, 4 if comm.rank else 6, 2))
for function in (parallel.ulysses_attention, parallel.ring_attention):
    try:
        function(comm, q, q, q)
        told = "nothing"
    except ValueError as problem:
        told = str(problem)
    assert "heads=6" in told or "heads=4" in told, f"ranks with different heads were told {told}"
    held += 1

# A shard shorter than its neighbour was promised is noticed by the neighbour, though MPI lets it pass.
pair = comm.Split(comm.rank // 2)
q = np.zeros((1, 4 - pair.rank, 2, 2))
try:
    parallel.ring_attention(pair, q, q, q, lengths=[4, 5 if pair.rank == 0 else 3][: pair.size])
    told = "nothing"
except ValueError as problem:
    told = str(problem)
expected = "got 192 bytes from rank 1, expected 320" if (pair.rank, pair.size) == (0, 2) else "nothing"
assert expected in told, f"rank {pair.rank} of {pair.size} was told {told}, expected {expected}"
held += 1
comm.Barrier()
# One write, so that lines of different ranks cannot mix.
sys.stdout.write(f"rank {comm.rank} held {held} claims\n")
