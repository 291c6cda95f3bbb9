"""FLOPs by formula, by the exact count of this model's matrix products, and counted in steps that are really made."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import ranks
from experiments.lab.products import counted_products
from parallel.layers import linear
from training import GPTSizes, Plan, train
from training.costs.flops import (
    block_passes,
    flops_per_token,
    matrix_numbers,
    products_of_step,
    utilisation,
)

MODELS = [
    GPTSizes(vocab=13, context=10, hidden=12, heads=6, kv_heads=2, ffn=19, layers=2),
    GPTSizes(vocab=5, context=1, hidden=4, heads=1, kv_heads=1, ffn=3, layers=1),
    GPTSizes(vocab=29, context=128, hidden=16, heads=2, kv_heads=2, ffn=64, layers=1),
]
ATTENTION = {"_scores", "attend_together", "attend_together_backward"}
SUMS = {"_mean", "token_sum"}


@pytest.mark.parametrize("sizes", MODELS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_products_of_a_step_are_those_that_are_made(sizes: GPTSizes, batch: int) -> None:
    with counted_products() as flops:
        ranks.run(lambda comm: train(comm, sizes=sizes, steps=1, batch=batch), 1)
    by_kind = dict.fromkeys(("matrices", "attention", "sums"), 0)
    for name, n in flops.items():
        by_kind["attention" if name in ATTENTION else "sums" if name in SUMS else "matrices"] += n
    assert by_kind == products_of_step(sizes, batch)


@pytest.mark.parametrize("plan", [Plan(dp=2, microbatches=2), Plan(tp=2), Plan(pp=2), Plan(tp=2, sp=True)], ids=str)
def test_ranks_together_make_the_products_with_matrices_of_one(plan: Plan) -> None:
    sizes = GPTSizes(vocab=13, context=10, hidden=12, heads=6, kv_heads=6, ffn=19, layers=2)
    with counted_products() as flops:
        ranks.run(lambda comm: train(comm, plan, sizes=sizes, steps=1, batch=4), plan.ranks)
    counted = sum(n for name, n in flops.items() if name not in ATTENTION | SUMS)
    assert counted == products_of_step(sizes, 4)["matrices"]


def test_counting_ends_and_leaves_functions_as_they_were() -> None:
    code = linear.__code__
    with counted_products() as flops:
        linear(np.ones((1, 2, 3)), np.ones((3, 4)))
        assert linear.__code__ is not code
    linear(np.ones((1, 2, 3)), np.ones((3, 4)))
    assert flops == {"linear": 48}
    assert linear.__code__ is code


def test_the_formula_is_the_count_but_for_what_it_leaves_out() -> None:
    sizes = GPTSizes(hidden=64, heads=1, kv_heads=1, layers=4)
    formula = 64 * flops_per_token(sizes, causal=False)
    exact = products_of_step(sizes, 1)
    scores_again = 2 * sizes.layers * sizes.hidden * 64 * 64
    beside = 3 * 2 * sizes.layers * sizes.heads * 64 * 64
    seen = 3 / 4  # two bands of 32 queries: the first leaves out the last 32 keys
    assert exact["matrices"] + exact["attention"] / seen == formula + scores_again + beside


def test_megatron_s_formula_for_an_iteration_is_this_one_with_full_recomputation() -> None:
    # 96 B s l h^2 (1 + s/(6h) + V/(16 l h)) of arXiv 2104.04473, without a causal mask
    h, s, layers, vocab = 12288, 2048, 96, 51200
    sizes = GPTSizes(vocab=vocab, context=s, hidden=h, heads=96, kv_heads=96, ffn=4 * h, layers=layers)
    paper = 96 * s * layers * h**2 * (1 + s / (6 * h) + vocab / (16 * layers * h))
    assert_allclose(s * flops_per_token(sizes, causal=False, recompute="full"), paper, rtol=1e-12)


def test_passes_of_a_block_add_up_to_the_formula() -> None:
    sizes = GPTSizes()
    tokens, h = sizes.context, sizes.hidden
    matrices = matrix_numbers(sizes) - sizes.vocab * h
    for recompute in ("none", "selective", "full"):
        passes = block_passes(tokens, matrices / sizes.layers, tokens**2, h, recompute)
        of_blocks = flops_per_token(sizes, causal=False, recompute=recompute) - 6 * sizes.vocab * h
        scores_again = 2 * sizes.layers * h * tokens
        assert passes.total * sizes.layers == (of_blocks + scores_again) * tokens


def test_utilisation_of_a_device_that_only_multiplies_is_one() -> None:
    sizes = GPTSizes()
    assert utilisation(10.0, sizes, 10 * flops_per_token(sizes)) == 1


@pytest.mark.parametrize("call", [
    lambda: flops_per_token(GPTSizes(), recompute="some"),
    lambda: products_of_step(GPTSizes(context=129), 1),
])  # fmt: skip
def test_what_is_not_known_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected .*; remedy: "):
        call()
