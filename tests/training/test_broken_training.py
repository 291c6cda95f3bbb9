"""Faults of public training code, each of which the claims reject; without it they hold for the same plan and data."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ranks
from experiments.lab.training_faults import FAULTS, SETTINGS, Fault, bf16, sends_that_wait
from training import AdamW, GPTSizes, Plan, train

SIZES = GPTSizes(vocab=13, context=9, hidden=8, heads=2, kv_heads=2, ffn=11, layers=2)
# Clips, decays what decays much, and takes large steps, so that no fault is hidden.
OPTIMIZER = AdamW(rate=0.05, decay=0.5, clip=0.1, epsilon=1e-3)


def history(plan: Plan, fault: Fault, steps: int) -> Any:
    """Return losses and gradient norms."""
    setting = SETTINGS[fault.setting]
    trained = ranks.run(
        lambda comm: train(
            comm, plan, sizes=SIZES, batch=9, seed=5, optimizer=OPTIMIZER, steps=steps, dtype=np.float64, **setting
        ),
        plan.ranks,
    ).results[0]
    return np.array([trained.losses, trained.grad_norms])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_of_training_is_rejected(fault: Fault) -> None:
    steps = 12 if fault.name == "restarted" else 3
    alone = history(Plan(), fault, steps)
    np.testing.assert_allclose(history(fault.plan, fault, steps), alone, rtol=1e-9)
    with fault.present():
        wrong = history(fault.plan, fault, steps)
    assert abs(wrong / alone - 1).max() > 1e-5, "the fault changed neither losses nor gradient norms"
    np.testing.assert_allclose(history(fault.plan, fault, 1), alone[:, :1], rtol=1e-9)  # it is gone again


def test_blocking_sends_hang_without_buffers() -> None:
    plan = Plan(pp=2, microbatches=3)

    def program(comm: Any) -> list[float]:
        return train(comm, plan, sizes=SIZES, batch=3, steps=1).losses

    ranks.run(program, 2, buffering="none")
    with sends_that_wait(), pytest.raises(ranks.DeadlockError):
        ranks.run(program, 2, buffering="none")


def test_bf16_rounds_to_nearest_even() -> None:
    x = np.random.default_rng(0).standard_normal(10_000) * 10.0 ** np.arange(-20, 20).repeat(250)
    x = np.append(x, [1 + 2**-8, 1 + 3 * 2**-8, 2**-100, 0, -0.0]).astype(np.float32)
    unit = 2.0 ** (np.floor(np.log2(np.abs(np.where(x == 0, 1, x)).astype(np.float64))) - 7)
    assert (bf16(x) == np.round(x / unit) * unit).all()


def test_a_gradient_that_overflows_is_an_error_before_anything_changes() -> None:
    from training import Trainer

    def program(comm: Any) -> None:
        trainer = Trainer(comm, Plan(dp=2), sizes=SIZES, optimizer=replace(OPTIMIZER, rate=0.1))
        trainer.states["block.0"].x[:] = np.inf
        before = trainer.states["table"].x.copy()
        with pytest.raises(FloatingPointError, match="train: got loss nan"), np.errstate(all="ignore"):
            trainer.step()
        assert (trainer.states["table"].x == before).all()
        assert trainer.history.losses == []

    ranks.run(program, 2)
