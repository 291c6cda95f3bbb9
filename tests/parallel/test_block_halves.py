"""Claims about a block's backward in two halves, and about gradients that are summed over ranks once a step."""

from __future__ import annotations

import pytest

import parallel
import ranks
from block_claims import (
    STRATEGIES,
    Case,
    cases,
    claim_gradients_of_a_step,
    claim_parameters_used_twice,
    claim_weights_may_wait,
    sizes_of,
    whole,
)
from parallel.layers import saved_bytes


@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_delayed_weight_half_gives_the_same_gradients_bit_for_bit(strategy: str, p: int) -> None:
    for case in cases()[:3]:
        ranks.run(claim_weights_may_wait, p, case, STRATEGIES[strategy], buffering="none")


def test_inputs_and_output_gradients_of_four_matrices_wait_and_gradients_of_vectors() -> None:
    case = Case(5, heads=4, kv_heads=2, batch=2)
    sizes = sizes_of(case)
    strategy = parallel.SequenceSharded(None, sizes, parallel.local_attention())
    y, saved = parallel.block(strategy, whole(case).parameters, whole(case).x)
    _, waiting = parallel.block_input_backward(strategy, whole(case).parameters, saved, y)
    hidden, qkv = sizes.hidden, 2 * sizes.hidden  # half as many K heads and half as many V heads as query heads
    of_a_token = (hidden + qkv) + (hidden + hidden) + (hidden + sizes.ffn) + (sizes.ffn + hidden)
    assert saved_bytes(waiting) == 8 * (case.batch * case.n * of_a_token + 6 * hidden + qkv + sizes.ffn)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_of_all_microbatches_are_summed_once_a_step_by_one_all_reduce(strategy: str) -> None:
    case, p = Case(9, heads=4, kv_heads=1, causal=True, batch=3, seed=3), 3
    once, twice = (ranks.run(claim_gradients_of_a_step, p, case, STRATEGIES[strategy], n) for n in (1, 2))
    assert [a - b for a, b in zip(twice.sends, once.sends, strict=True)] == [2 * (p - 1)] * p


def test_parameters_that_are_used_twice_get_both_gradients() -> None:
    claim_parameters_used_twice()
