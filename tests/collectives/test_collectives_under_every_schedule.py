"""No collective can hang or give another result, however messages are buffered: all schedules are tried."""

from __future__ import annotations

from typing import Any

import pytest

import ranks
from claims import CLAIMS, Case
from claims_of_movers import MOVER_CLAIMS

ALL_CLAIMS = CLAIMS | MOVER_CLAIMS
# One run mixes messages that are buffered with others that are not.
MIXED = ranks.Network(name="mixed", inter=ranks.Link(1000, 10), eager_limit=24)


@pytest.mark.parametrize("claim", ALL_CLAIMS)
def test_claim_holds_under_every_schedule(claim: str) -> None:
    for p in (1, 2, 3, 4, 5, 7):
        for shape in ((0,), (1,), (3, 3)):
            found = ranks.explore(ALL_CLAIMS[claim], p, Case(shape, "<i8", "add", "plain", "fresh", 1), network=MIXED)
            assert found.verdict == "holds", (p, shape, found)


def test_collectives_one_after_another_do_not_take_each_others_messages() -> None:
    def program(comm: Any) -> None:
        for name in ("ring_allreduce", "naive_allreduce", "dissemination_barrier", "central_barrier", "ring_allgather"):
            CLAIMS[name](comm, Case((2,), "<i8", "add", "plain", "fresh", comm.size))

    for p in range(1, 6):
        assert ranks.explore(program, p, network=MIXED).verdict == "holds"
