"""A suite that cannot fail proves nothing: each wrong attention here must be rejected by the claims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attention_claims import Case, claim_backward, claim_forward, claim_parts
from broken import attention_wrong as wrong
from parallel import blockwise_attention, blockwise_attention_backward

PLAIN = Case(batch=2, queries=8, keys=8, kv_heads=2, group=2)
CASES = [
    PLAIN,
    replace(PLAIN, causal=True),
    replace(PLAIN, causal=True, positions="offset", dtype="f4"),
    replace(PLAIN, masked="keys"),
    replace(PLAIN, masked="pairs", segments=3),
    replace(PLAIN, spread=1000.0, dtype="f4"),
    replace(PLAIN, causal=True, queries=3, positions="shuffled", spread=30.0),
]


def holds_in_all_cases(claim: Any, *functions: Any) -> None:
    for case in CASES:
        claim(case, *functions)


def rejects(claim: Any, *functions: Any) -> None:
    with pytest.raises(AssertionError):
        holds_in_all_cases(claim, *functions)


def test_the_right_one_passes() -> None:
    holds_in_all_cases(claim_forward, blockwise_attention)
    holds_in_all_cases(claim_backward, blockwise_attention, blockwise_attention_backward)
    holds_in_all_cases(lambda case: claim_parts(case, 3, blockwise_attention, blockwise_attention_backward))


@pytest.mark.parametrize("variant", wrong.FORWARDS, ids=lambda f: f.__name__)
def test_a_wrong_forward_is_rejected(variant: Any) -> None:
    rejects(claim_forward, variant)


@pytest.mark.parametrize("variant", wrong.BACKWARDS, ids=lambda f: f.__name__)
def test_a_wrong_backward_is_rejected(variant: Any) -> None:
    rejects(claim_backward, blockwise_attention, variant)


@pytest.mark.parametrize("variant", wrong.PART_FORWARDS, ids=lambda f: f.__name__)
def test_a_wrong_merging_of_parts_is_rejected(variant: Any) -> None:
    rejects(lambda case, forward: claim_parts(case, 3, forward, blockwise_attention_backward), variant)


@pytest.mark.parametrize(
    "variant",
    [*wrong.PART_BACKWARDS, wrong.RemembersTheFirstPart()],
    ids=lambda f: getattr(f, "__name__", type(f).__name__),
)
def test_a_wrong_backward_over_parts_is_rejected(variant: Any) -> None:
    rejects(lambda case, backward: claim_parts(case, 3, blockwise_attention, backward), variant)
