"""How do I test an MPI program, for any number of ranks and any order of messages, without starting a process?

    $ pytest examples/test_on_simulated_ranks.py

When an assertion inside of the program fails, pytest shows the program's lines, the values, and which rank it was.
"""

import numpy as np
import pytest

import ranks
from collectives import allreduce


def normalised(comm, x):
    """Return this rank's part of an array that is spread over ranks, moved and scaled to mean 0 and deviation 1."""
    n, total = allreduce(comm, np.array([x.size, x.sum()]))
    squares = allreduce(comm, np.array([np.square(x - total / n).sum()]))[0]
    return (x - total / n) / np.sqrt(squares / n)


@pytest.mark.parametrize("p", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n", [5, 64])
def test_equals_what_one_rank_computes(p, n):
    x = np.random.default_rng(n).random(n)
    run = ranks.run(lambda comm: normalised(comm, np.array_split(x, p)[comm.rank]), p)
    np.testing.assert_allclose(np.concatenate(run.results), (x - x.mean()) / x.std(), rtol=1e-12)


def test_no_order_of_messages_and_no_buffering_changes_the_result():
    found = ranks.explore(lambda comm: normalised(comm, np.arange(3.0) * comm.rank).tolist(), 3)
    assert found.verdict == "holds"
    assert len(found.outcomes) == 1, found


def test_a_rank_that_leaves_early_is_named():
    def program(comm):
        if comm.rank != 1:
            normalised(comm, np.ones(2))

    with pytest.raises(ranks.RanksError, match="rank 1"):
        ranks.run(program, 3)


def test_sends_little():
    run = ranks.run(lambda comm: normalised(comm, np.arange(1000.0)), 8)
    assert max(run.bytes_sent) < 1000
