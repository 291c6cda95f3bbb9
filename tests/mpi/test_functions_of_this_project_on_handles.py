"""Claims about the project's own functions when a program of mpi4py on simulated ranks passes its communicator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import collectives
import mpi
import parallel
import ranks
import sorting
from mpi import MPI


def same_as_plain(body: Any, p: int) -> None:
    """Show that a program comes to the same results, times and counts with a handle as with a plain communicator."""
    plain = ranks.run(body, p, network="infiniband")
    handles = mpi.run(body, p, network="infiniband")
    for one, other in zip(plain.results, handles.results, strict=True):
        np.testing.assert_equal(one, other)
    assert plain.times_ps == handles.times_ps
    assert (plain.sends, plain.bytes_sent) == (handles.sends, handles.bytes_sent)


def attention(comm: Any) -> Any:
    rng = np.random.default_rng(comm.rank)
    q, k, v = (rng.standard_normal((2, 3, 2, 4)) for _ in range(3))
    return parallel.ring_attention(comm, q, k, v)[0]


PROGRAMS = [
    lambda comm: collectives.ring_allreduce(comm, np.arange(5.0) + comm.rank),
    lambda comm: collectives.allreduce(comm, np.arange(5, dtype=">i8") + comm.rank, np.maximum),
    lambda comm: collectives.bruck_alltoall(comm, np.arange(comm.size * 2).reshape(comm.size, 2)),
    lambda comm: collectives.dissemination_barrier(comm),
    lambda comm: sorting.partition_sort(comm, np.random.default_rng(comm.rank).random(20)),
    lambda comm: ranks.start(collectives.ring_allreduce, comm, np.arange(3.0)).Wait() and ranks.spend(comm, 10**6),
    lambda comm: (ranks.nodes_of(comm), ranks.placement(comm), ranks.can_share_memory(comm)),
    attention,
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("p", [1, 3, 4])
def test_a_function_of_this_project_does_the_same_with_a_handle(program: Any, p: int) -> None:
    same_as_plain(program, p)


def test_the_names_that_fit_a_handle_are_those_of_mpi() -> None:
    assert mpi.run(lambda comm: ranks.mpi_of(comm) is MPI, 2).results == [True, True]


def test_a_disagreement_about_a_collective_is_found_with_a_handle_too() -> None:
    with pytest.raises(ranks.CollectiveMismatchError):
        mpi.run(lambda comm: collectives.ring_allreduce(comm, np.zeros(3 + comm.rank)), 3)
