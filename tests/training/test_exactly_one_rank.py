"""Gradient provenance: under every plan each token's share is in each gradient exactly once, to the last bit."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ranks
from experiments.lab import whole_numbers as exact
from training import SGD, GPTSizes, Plan, Trainer, whole_parameters
from training.pipeline import SCHEDULES
from training.plan import RECOMPUTE
from training_claims import plans

SIZES = GPTSizes(vocab=exact.VOCAB, context=7, hidden=8, heads=4, kv_heads=2, ffn=5, layers=4)


Result = tuple[tuple[float, float], dict[str, np.ndarray]]


def one_step(comm: Any, plan: Plan, sizes: GPTSizes, batch: int, dropout: float) -> Result:
    """Return the losses, and all parameters after one step of SGD with rate 1: less their gradients."""
    keywords: Any = {"optimizer": SGD(rate=1.0), "data": exact.batch, "dropout": dropout}
    trainer = Trainer(comm, plan, sizes=sizes, batch=batch, seed=2, **keywords)
    trainer.step()
    return (trainer.history.losses[0], trainer.history.auxiliary[0]), whole_parameters(trainer)


@cache
def alone(sizes: GPTSizes, batch: int, dropout: float) -> Result:
    with exact.in_whole_numbers():
        loss, parameters = ranks.run(lambda comm: one_step(comm, Plan(), sizes, batch, dropout), 1).results[0]
    assert all((each == np.round(each)).all() and abs(each).max() < exact.LARGEST for each in parameters.values())
    assert all(abs(each).max() > 1 for each in parameters.values()), "a parameter without a gradient proves nothing"
    return loss, parameters


def claim_same_bits(plan: Plan, sizes: GPTSizes = SIZES, batch: int = 8, dropout: float = 0.0) -> None:
    """The loss and all parameters are those of one rank; dropout=0.5 doubles numbers, which stay whole."""
    expected, parameters_of_one = alone(sizes, batch, dropout)
    with exact.in_whole_numbers():
        results = ranks.run(lambda comm: one_step(comm, plan, sizes, batch, dropout), plan.ranks).results
    for loss, parameters in (results[0], results[-1]):
        assert loss == expected
        for name, each in parameters_of_one.items():
            assert (parameters[name] == each).all(), f"{plan}: {name}"


@pytest.mark.parametrize("plan", [plan for n in (4, 6, 8) for plan in plans(n, SIZES)], ids=str)
def test_each_token_counts_once(plan: Plan) -> None:
    claim_same_bits(plan, replace(SIZES, layers=max(2, plan.pp)))


@settings(max_examples=25)
@given(st.data())
def test_each_token_counts_once_under_drawn_plans(data: st.DataObject) -> None:
    draw = lambda strategy: data.draw(strategy)  # noqa: E731
    factor = st.integers(1, 3)
    plan = Plan(
        dp=draw(factor), tp=draw(factor), cp=draw(factor), pp=draw(factor), sp=draw(st.booleans()),
        zero=draw(st.integers(0, 3)), schedule=draw(st.sampled_from(SCHEDULES)), chunks=1,
        microbatches=draw(st.integers(1, 3)), context=draw(st.sampled_from(["ring", "ulysses"])),
        recompute=draw(st.sampled_from(RECOMPUTE)),
    )  # fmt: skip
    assume(plan.ranks <= 12)
    sizes = GPTSizes(
        vocab=exact.VOCAB, context=draw(st.integers(5, 9)), hidden=8, heads=4,
        kv_heads=draw(st.sampled_from([1, 2, 4])), ffn=draw(st.integers(3, 6)), layers=draw(st.integers(2, 4)),
    )  # fmt: skip
    try:
        plan.check(plan.ranks, sizes, 9)
    except ValueError:
        assume(False)
    claim_same_bits(plan, sizes, 9, draw(st.sampled_from([0.0, 0.5])))


# -- with experts ------------------------------------------------------------------------------------------------------

# Few features: a gate's gradient is a product of an output and a gradient, and two blocks make numbers of 40 bits.
OF_EXPERTS = GPTSizes(vocab=exact.VOCAB, context=7, hidden=4, heads=4, kv_heads=2, ffn=5, layers=2, experts=3)
LIMITED = replace(OF_EXPERTS, shared_experts=1, capacity_factor=0.8)
EACH = [
    Plan(dp=2, ep=2, microbatches=2), Plan(dp=3, ep=3), Plan(dp=4, ep=2, zero=1), Plan(dp=2, ep=2, tp=2, zero=2),
    Plan(dp=2, ep=2, cp=2, zero=3, microbatches=2), Plan(tp=3, sp=True), Plan(dp=2, ep=2, tp=2, sp=True, cp=2),
    Plan(dp=4, ep=2, pp=2, microbatches=2, schedule="dualpipe"), Plan(dp=2, ep=2, recompute="full"),
]  # fmt: skip


@pytest.mark.parametrize("plan", EACH, ids=str)
@pytest.mark.parametrize("sizes", [OF_EXPERTS, LIMITED], ids=["dropless", "limited"])
def test_each_token_counts_once_with_experts(plan: Plan, sizes: GPTSizes) -> None:
    claim_same_bits(plan, sizes)


@settings(max_examples=12)
@given(st.data())
def test_each_token_counts_once_with_experts_under_drawn_plans(data: st.DataObject) -> None:
    draw = lambda strategy: data.draw(strategy)  # noqa: E731
    ep, factor = draw(st.integers(1, 3)), st.integers(1, 2)
    plan = Plan(
        dp=ep * draw(factor), ep=ep, tp=draw(factor), cp=draw(factor), pp=draw(factor), sp=draw(st.booleans()),
        zero=draw(st.integers(0, 3)), schedule=draw(st.sampled_from(SCHEDULES)), microbatches=draw(st.integers(1, 2)),
        context=draw(st.sampled_from(["ring", "ulysses"])), recompute=draw(st.sampled_from(RECOMPUTE)),
    )  # fmt: skip
    sizes = draw(st.sampled_from([OF_EXPERTS, LIMITED]))
    assume(plan.ranks <= 12)
    try:
        plan.check(plan.ranks, sizes, 12)
    except ValueError:
        assume(False)
    claim_same_bits(plan, sizes, 12)
