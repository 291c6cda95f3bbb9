"""Training in 16 bits: every plan does what one rank does, and no step is lost or done by some ranks only."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import ranks
import training.trainer
from experiments.lab import whole_numbers as exact
from experiments.lab.training_faults import changed
from parallel.precision import rounded, wide
from training import SGD, AdamW, Batch, DynamicScale, GPTSizes, History, Plan, Trainer, train, whole_parameters
from training_claims import SMALL, plans

SIXTEEN = ("bfloat16", "float16")
WHOLE = GPTSizes(vocab=exact.VOCAB, context=7, hidden=8, heads=4, kv_heads=2, ffn=5, layers=3)


# -- whole numbers: float32 sums of them are the same in every order ------------------------------------------------


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


EACH = [plan for n in (4, 6) for plan in plans(n, WHOLE)]


@pytest.mark.parametrize("plan", EACH, ids=str)
def test_what_needs_no_rounding_is_exact_under_every_plan(plan: Plan) -> None:
    claim_same_bits(plan, "float16", "float64")
    assert all(abs(each).max() > 1 for each in in_whole_numbers(Plan(), "float64")[1].values())


# Partial sums of tensor-parallel ranks are rounded, and those of K/V heads that several ranks of Ulysses have.
WHOLE_LAYERS = [plan for plan in EACH if plan.tp == 1 and (plan.context == "ring" or plan.cp <= WHOLE.kv_heads)]


@pytest.mark.parametrize("plan", WHOLE_LAYERS, ids=str)
def test_plans_round_where_one_rank_rounds(plan: Plan) -> None:
    claim_same_bits(plan, "bfloat16", "bfloat16")


def test_numbers_of_the_test_before_are_rounded() -> None:
    rounded_, exactly = (in_whole_numbers(Plan(), dtype)[1] for dtype in ("bfloat16", "float64"))
    assert sum((rounded_[name] != each).any() for name, each in exactly.items()) > 10
