"""A suite that cannot fail proves nothing: each wrong variant here must be rejected by the claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranks
from broken import collectives_wrong as wrong
from broken import trees_wrong
from claims import (
    Case,
    claim_allgather,
    claim_allreduce,
    claim_barriers_leave_nothing_behind,
    claim_broadcast,
    claim_reduce,
    claim_reduce_scatter,
)
from orders import ring_block_order
from orders import ring_order as order

NODES = ranks.Network(name="nodes of two", inter=ranks.Link.of(1e-6, 1e9), overhead_ps=1000, ranks_per_node=2)
CASES = [Case((n,), "i8", "add", seed=n) for n in (0, 1, 5, 8, 12, 20_000)]


def data_claims(claim: Callable[..., None], *functions: Any) -> None:
    for p in (1, 2, 3, 4, 5):
        for case in CASES:
            for buffering in ("none", "eager", "infinite"):
                ranks.run(claim, p, case, *functions, network=NODES, buffering=buffering)


def barrier_claims(barrier: Callable[[Any], None]) -> None:
    def program(comm: Any) -> None:
        for turn in range(2):
            ranks.spend(comm, 10**7 * ((comm.rank * 7 + turn) % 5))
            with ranks.region(comm, "barrier"):
                barrier(comm)

    for p in (2, 3, 4, 5, 6, 7, 8):
        ranks.run(claim_barriers_leave_nothing_behind, p, CASES[0], barrier)
        assert ranks.run(program, p, trace=True).trace.left_before_entered("barrier") == []


@pytest.mark.parametrize("variant", wrong.ALLREDUCES + trees_wrong.ALLREDUCES, ids=lambda f: f.__name__)
def test_a_wrong_allreduce_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        data_claims(claim_allreduce, variant, order)


@pytest.mark.parametrize("variant", trees_wrong.BROADCASTS, ids=lambda f: f.__name__)
def test_a_wrong_broadcast_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        data_claims(claim_broadcast, variant)


@pytest.mark.parametrize("variant", trees_wrong.REDUCES, ids=lambda f: f.__name__)
def test_a_wrong_reduce_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        data_claims(claim_reduce, variant, order)


@pytest.mark.parametrize("variant", wrong.REDUCE_SCATTERS, ids=lambda f: f.__name__)
def test_a_wrong_reduce_scatter_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        data_claims(claim_reduce_scatter, variant, ring_block_order)


@pytest.mark.parametrize("variant", wrong.ALLGATHERS, ids=lambda f: f.__name__)
def test_a_wrong_allgather_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        data_claims(claim_allgather, variant)


@pytest.mark.parametrize("variant", wrong.BARRIERS + trees_wrong.BARRIERS, ids=lambda f: f.__name__)
def test_a_wrong_barrier_is_rejected(variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        barrier_claims(variant)


def test_a_reduce_scatter_with_one_round_too_many_is_rejected_by_its_cost() -> None:
    import collectives

    run = ranks.run(lambda comm: wrong.reduce_scatter_with_an_extra_round(comm, np.zeros(8)), 4)
    assert run.sends != collectives.cost("ring_reduce_scatter", run.network, 4, 8, 8).sends


def test_a_slot_that_is_received_into_while_it_is_sent_is_rejected_by_the_check_for_it() -> None:
    with pytest.raises(ranks.InvalidBufferError, match="overlaps with that of nonblocking send"):
        ranks.run(lambda comm: trees_wrong.segments_into_one_slot(comm, np.arange(5) + comm.rank), 3, check=True)
