"""Training in 16 bits: every plan does what one rank does, and no step is lost or done by some ranks only."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
import training.trainer
from experiments.lab import whole_numbers as exact
from experiments.lab.changing import changed
from mixed_training import TINY, trained, trainer_of
from parallel.precision import BFLOAT16, rounded
from training import (
    SGD,
    AdamW,
    Batch,
    GPTSizes,
    Plan,
    Trainer,
    whole_parameters,
)
from training_claims import plans

SIXTEEN = ("bfloat16", "float16")
WHOLE = GPTSizes(vocab=exact.VOCAB, context=7, hidden=8, heads=4, kv_heads=2, ffn=5, layers=3)


# -- whole numbers: float32 sums of them are the same in every order --------------------------------------------------


def light_batch(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
    """Return tokens of which each weighs 1 or 2, so that sums stay below 2**24."""
    tokens, labels = exact.batch(seed, step, sequences, context, vocab)
    return Batch(tokens, np.where(labels < 0, labels, labels % vocab + vocab * (1 + labels // vocab % 2)))


def sparse(sizes: Any, unit: str, name: str, seed: int) -> Any:
    """Return a parameter of which most numbers are 0: then no number of the step needs more than 11 bits."""
    whole = exact.small_numbers(sizes, unit, name, seed)
    rng = np.random.default_rng([4, *f"{unit}.{name}".encode()[::-1]])
    return np.where(rng.random(whole.shape) < 0.3, whole, 0.0) if whole.ndim == 2 else whole


@cache
def in_whole_numbers(plan: Plan, dtype: str) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss of one step, and the parameters after it."""

    def program(comm: Any) -> tuple[float, dict[str, np.ndarray]]:
        trainer = Trainer(
            comm, plan, sizes=WHOLE, seed=2, optimizer=SGD(rate=1.0), data=light_batch, dtype=dtype, loss_scale=2
        )
        trainer.step()
        return trainer.history.losses[0], whole_parameters(trainer)

    with exact.in_whole_numbers(), changed(training.trainer, initial=lambda _: sparse):
        return ranks.run(program, plan.ranks).results[-1]


def claim_same_bits(plan: Plan, dtype: str, of_one: str) -> None:
    (loss, parameters), (expected, parameters_of_one) = in_whole_numbers(plan, dtype), in_whole_numbers(Plan(), of_one)
    assert loss == expected
    for name, each in parameters_of_one.items():
        assert (parameters[name] == each).all(), name


@pytest.mark.parametrize("plan", plans(6, WHOLE), ids=str)
def test_what_needs_no_rounding_is_exact_under_every_plan(plan: Plan) -> None:
    claim_same_bits(plan, "float16", "float64")
    assert all(abs(each).max() > 1 for each in in_whole_numbers(Plan(), "float64")[1].values())


# Partial sums of tensor-parallel ranks are rounded, and those of K/V heads that several ranks of Ulysses have.
WHOLE_LAYERS = [
    plan for plan in plans(4, WHOLE) if plan.tp == 1 and (plan.context == "ring" or plan.cp <= WHOLE.kv_heads)
]


@pytest.mark.parametrize("plan", WHOLE_LAYERS, ids=str)
def test_plans_round_where_one_rank_rounds(plan: Plan) -> None:
    claim_same_bits(plan, "bfloat16", "bfloat16")


def test_numbers_of_the_test_before_are_rounded() -> None:
    rounded_, exactly = (in_whole_numbers(Plan(), dtype)[1] for dtype in ("bfloat16", "float64"))
    assert sum((rounded_[name] != each).any() for name, each in exactly.items()) > 10


# -- numbers as they come ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", SIXTEEN)
@pytest.mark.parametrize("zero", range(4))
def test_two_copies_are_two_microbatches_to_the_last_bit(zero: int, dtype: str) -> None:
    """The same sequences go through the same products, and a + b is b + a; only the table has four gradients to sum."""
    plain: dict[str, Any] = {"dtype": dtype, "optimizer": SGD(rate=1.0), "sizes": TINY}
    found, parameters = trained(Plan(dp=2, zero=zero), 1, **plain)
    expected, of_one = trained(Plan(microbatches=2), 1, **plain)
    assert found.losses == expected.losses
    for name, each in of_one.items():
        if name == "table.weight":
            np.testing.assert_allclose(parameters[name], each, rtol=2**-21, atol=2**-24)
        else:
            assert (parameters[name] == each).all(), name


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_no_plan_loses_more_than_twice_what_one_rank_does(dtype: str) -> None:
    """Errors are those of roundings, which are as good as drawn: of the whole gradient they have about one size."""

    def gradient(plan: Plan, dtype: str) -> np.ndarray:
        _, after = trained(plan, 1, dtype=dtype, optimizer=SGD(rate=1.0))
        return np.concatenate([after[name].ravel() - each.ravel() for name, each in begin.items()])

    _, begin = trained(Plan(), 0)
    exactly = gradient(Plan(), "float64")
    lost = np.linalg.norm(gradient(Plan(), dtype) - exactly)
    # One rounding loses up to 2**-8 or 2**-11 of a number: the whole gradient loses as much, and no ten times as much.
    unit = {"bfloat16": 2**-8, "float16": 2**-11}[dtype]
    assert 0.1 * unit < lost / np.linalg.norm(exactly) < 10 * unit
    for plan in (Plan(dp=2, zero=2), Plan(tp=2), Plan(tp=2, sp=True), Plan(cp=3), Plan(cp=2, context="ulysses")):
        assert np.linalg.norm(gradient(plan, dtype) - exactly) < 2 * lost, plan


@pytest.mark.parametrize("plan", [Plan(), Plan(dp=2, zero=1), Plan(dp=3, zero=3), Plan(tp=2, pp=2)], ids=str)
def test_parameters_are_the_master_copy_rounded(plan: Plan) -> None:
    begin, in_float32 = (trained(plan, 0, dtype=dtype)[1] for dtype in ("bfloat16", "float32"))
    assert all((begin[name] == each).all() for name, each in in_float32.items())

    def program(comm: Any) -> None:
        trainer = trainer_of(comm, plan, dtype="bfloat16")
        for _ in range(2):
            trainer.step()
        whole = whole_parameters(trainer)
        for unit, state in trainer.states.items():
            assert {str(each.dtype) for each in (state.gradient, *state.updated_arrays().values())} == {"float32"}
            for name, mine in state.parameters().items():
                expected = rounded(state.parts[name].of(whole[f"{unit}.{name}"]), trainer.dtype)
                assert mine.dtype == trainer.dtype
                assert (mine == expected).all()

    ranks.run(program, plan.ranks)


# -- sums -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=30), st.sampled_from([0, 2]))
def test_gradients_are_summed_in_float32(numbers: list[float], zero: int) -> None:
    """After m additions at most (m-1) 2**-24 of the sum of sizes is lost; of bfloat16's sums it would be 2**-8."""
    sizes = GPTSizes(vocab=2, context=1, hidden=1, heads=1, kv_heads=1, ffn=1, layers=1)

    def program(comm: Any) -> float:
        state = trainer_of(comm, Plan(dp=1, zero=zero), sizes=sizes, dtype="bfloat16").states["norm"]
        for number in numbers:
            state.add({"gain": np.array([number], np.float32), "bias": np.zeros(1, np.float32)})
        state.ready()
        state.end()
        return float(state.sum[0])

    [found] = ranks.run(program, 1).results
    allowed = (len(numbers) - 1) * 2.0**-24 * math.fsum(map(abs, numbers)) * (1 + 2.0**-20)
    assert abs(found - math.fsum(numbers)) <= allowed


def test_sums_and_steps_counted_in_bfloat16_stay_where_they_are() -> None:
    """Why sums and counters are wider: 256 + 1 is 256 in bfloat16, and Adam corrects its bias for step 256 for ever."""
    counter, gradient, x = np.array(0, BFLOAT16), np.ones(1, np.float32), np.zeros((2, 1), np.float32)
    for _ in range(300):
        counter += np.array(1, BFLOAT16)
    assert counter == 256
    for place, step in enumerate((300, int(counter))):
        state = {"mean": np.ones(1, np.float32), "square": np.ones(1, np.float32)}
        AdamW(rate=1.0, beta2=0.999, decay=0).update(step, x[place], gradient, state, [])
    expected = np.sqrt((1 - 0.999**300) / (1 - 0.999**256))
    np.testing.assert_allclose(x[0] / x[1], expected, rtol=1e-5)
    assert expected > 1.05
