"""Each wrong all-to-all, all-gather, gather, scatter and scan of `broken/movers_wrong.py` must be rejected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import claims
import claims_of_movers as movers
import collectives
import ranks
from broken import movers_wrong as wrong
from claims import Case
from orders import SCAN_ORDERS
from test_collectives import concatenated

CASES = [
    Case(shape, "i8", "add", out=out, seed=seed)
    for seed, shape in enumerate([(0,), (1,), (5,), (4, 3), (2, 3, 5), (10_000,)])
    for out in ("none", "itself")
]
CLAIMS: list[tuple[Callable[..., None], list[Any]]] = [
    (movers.claim_alltoall, wrong.ALLTOALLS),
    (movers.claim_alltoallv, [wrong.alltoallv_that_expects_what_it_sends]),
    (movers.claim_alltoall_of_axes, wrong.AXES),
    (claims.claim_allgather, wrong.ALLGATHERS),
    (movers.claim_gather, wrong.GATHERS),
    (movers.claim_scatter, wrong.SCATTERS),
    (partial(claims.claim_scan, order=SCAN_ORDERS["linear_scan"]), wrong.SCANS),
    (partial(claims.claim_exscan, order=SCAN_ORDERS["linear_exscan"]), wrong.EXSCANS),
]
# A right one for each claim: it is not the claim that fails.
RIGHT = [
    collectives.pairwise_alltoall, collectives.alltoallv, collectives.alltoall, collectives.bruck_allgather,
    collectives.binomial_gather, collectives.binomial_scatter, collectives.linear_scan, collectives.linear_exscan,
]  # fmt: skip


def hold(claim: Callable[..., None], function: Any) -> None:
    for p in (2, 3, 4, 6):
        for case in CASES:
            for buffering in ("none", "infinite"):
                ranks.run(claim, p, case, function, buffering=buffering)


@pytest.mark.parametrize(
    ("claim", "variant"),
    [(claim, variant) for claim, variants in CLAIMS for variant in variants],
    ids=[variant.__name__ for _, variants in CLAIMS for variant in variants],
)
def test_a_wrong_mover_or_scan_is_rejected(claim: Any, variant: Any) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)):
        hold(claim, variant)


@pytest.mark.parametrize(("number", "function"), list(enumerate(RIGHT)), ids=[f.__name__ for f in RIGHT])
def test_a_right_one_is_not(number: int, function: Any) -> None:
    hold(CLAIMS[number][0], function)


def test_a_scan_with_left_and_right_changed_is_told_by_an_op_that_does_not_commute() -> None:
    hold(CLAIMS[6][0], wrong.scan_with_left_and_right_changed)
    run = ranks.run(lambda c: wrong.scan_with_left_and_right_changed(c, np.uint64([c.rank + 1]), concatenated), 3)
    assert [hex(result[0]) for result in run.results] != ["0x1", "0x12", "0x123"]
