"""Each wrong way to share out a sequence or a block must be rejected by the claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from block_claims import STRATEGIES, cases, claim_equals_one_rank, claim_softmax_of_each_token, sizes_of, tensor
from broken import parallel_wrong as wrong
from parallel_claims import Case, claim_equals_dense, fixed_cases

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
