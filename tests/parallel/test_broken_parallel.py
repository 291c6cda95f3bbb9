"""Each wrong way to share out a sequence or a block must be rejected by the claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from block_claims import (
    STRATEGIES,
    cases,
    claim_equals_one_rank,
    claim_parameters_used_twice,
    claim_softmax_of_each_token,
    claim_weights_may_wait,
    sizes_of,
    tensor,
)
from broken import parallel_wrong as wrong
from parallel_claims import Case, claim_equals_dense, fixed_cases
from vocabulary_claims import claim_vocabulary_of_one_rank, words

REJECTED = (AssertionError, ranks.RanksError, ValueError)


def attention_claims(way: Any) -> None:
    for p in (1, 2, 3, 4):
        for case in fixed_cases():
            ranks.run(claim_equals_dense, p, case, way, buffering="none")


def block_claims(make: Callable[..., Any], **keywords: Any) -> None:
    for p in (2, 3, 4):
        for case in cases():
            ranks.run(partial(claim_equals_one_rank, **keywords), p, case, make, buffering="none")


@pytest.mark.parametrize("name", wrong.ATTENTION)
def test_a_wrong_attention_is_rejected(name: str) -> None:
    with pytest.raises(REJECTED), np.errstate(all="ignore"):
        attention_claims(wrong.ATTENTION[name])


@pytest.mark.parametrize("name", wrong.RIGHT)
def test_the_right_attention_passes_where_wrong_ones_are_rejected(name: str) -> None:
    attention_claims(wrong.RIGHT[name])


@pytest.mark.parametrize("variant", wrong.TENSOR, ids=lambda c: c.__name__)
def test_a_wrong_tensor_parallel_block_is_rejected(variant: Any) -> None:
    def make(comm: Any, case: Case) -> Any:
        strategy, mine, loss_comm = tensor(comm, case)
        return variant(comm, sizes_of(case), strategy.attention), mine, loss_comm

    with pytest.raises(AssertionError, match=r"off by"):
        block_claims(make)


@pytest.mark.parametrize("variant", wrong.SEQUENCE, ids=lambda c: c.__name__)
def test_a_wrong_sequence_parallel_block_is_rejected(variant: Any) -> None:
    def make(comm: Any, case: Case) -> Any:
        right, mine, loss_comm = STRATEGIES["sequence_parallel"](comm, case)
        attention = parallel.local_attention(causal=case.causal)
        made = variant(comm, sizes_of(case), attention, tokens=len(mine), keep_gathered=right.keep_gathered)
        return made, mine, loss_comm

    with pytest.raises(AssertionError, match=r"off by"):
        block_claims(make)


@pytest.mark.parametrize("strategy", ["tensor_parallel", "sequence_parallel"])
def test_a_bias_that_counts_once_a_rank_is_rejected(strategy: str) -> None:
    with pytest.raises(AssertionError, match=r"off by"):
        block_claims(STRATEGIES[strategy], forward=wrong.bias_on_every_rank)


def test_gradients_that_are_not_summed_are_rejected() -> None:
    def make(comm: Any, case: Case) -> Any:
        right, mine, loss_comm = STRATEGIES["ulysses"](comm, case)
        return wrong.GradientsNotSummed(comm, right.sizes, right.attention), mine, loss_comm

    with pytest.raises(AssertionError, match=r"off by"):
        block_claims(make)


@pytest.mark.parametrize("loss", wrong.SHARDED_LOSSES)
def test_a_loss_that_weighs_shards_alike_is_rejected(loss: Any) -> None:
    with pytest.raises(AssertionError, match=r"off by"):
        block_claims(STRATEGIES["ulysses"], loss=loss)


def test_a_softmax_below_the_largest_of_the_batch_is_rejected() -> None:
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        claim_softmax_of_each_token(wrong.largest_of_the_batch)


@pytest.mark.parametrize("strategy", ["ulysses", "tensor_parallel"])
def test_a_gradient_made_where_the_weight_half_reads_is_rejected(strategy: str) -> None:
    with pytest.raises(AssertionError, match="w_out"):
        ranks.run(claim_weights_may_wait, 2, cases()[0], STRATEGIES[strategy], wrong.middle_reused)


@pytest.mark.parametrize("add", [wrong.last_use_only, wrong.both_halves_add])
def test_a_parameter_used_twice_that_counts_once_or_twice_as_much_is_rejected(add: Any) -> None:
    with pytest.raises(AssertionError, match="off by"):
        claim_parameters_used_twice(add)


def vocabulary_claims(**variant: Any) -> None:
    for case in words():
        ranks.run(partial(claim_vocabulary_of_one_rank, **variant), 3, case)


@pytest.mark.parametrize("variant", wrong.VOCABULARY, ids=lambda each: next(iter(each.values())).__name__)
def test_a_wrong_vocabulary_in_parts_is_rejected(variant: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValueError)), np.errstate(all="ignore"):
        vocabulary_claims(**variant)
