"""Faults of public training code, each of which the claims reject; without it they hold for the same plan and data."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import ranks
from experiments.lab.faults_of_steps import sends_that_wait
from experiments.lab.training_faults import FAULTS, Fault, keywords
from training import AdamW, GPTSizes, Plan, train

SIZES = GPTSizes(vocab=13, context=9, hidden=8, heads=2, kv_heads=2, ffn=11, layers=2)
# Clips, decays what decays much, and takes large steps, so that no fault is hidden.
OPTIMIZER = AdamW(rate=0.05, beta2=0.999, decay=0.5, clip=0.1, epsilon=1e-3)


def history(plan: Plan, setting: str, steps: int) -> Any:
    """Return losses and gradient norms."""
    told = keywords(setting, SIZES)
    trained = ranks.run(
        lambda comm: train(comm, plan, batch=9, seed=5, optimizer=OPTIMIZER, steps=steps, **told), plan.ranks
    ).results[0]
    return np.array([trained.losses, trained.grad_norms])


@cache
def of_one_rank(setting: str, steps: int) -> Any:
    """Return what one rank makes of a setting that several faults have."""
    return history(Plan(), setting, steps)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_of_training_is_rejected(fault: Fault) -> None:
    steps = {"restarted": 12, "own-scaler": 5, "bf16-counter": 270}.get(fault.name, 3)
    alone = of_one_rank(fault.setting, steps)
    if fault.plan != Plan():
        np.testing.assert_allclose(history(fault.plan, fault.setting, steps), alone, rtol=1e-9)
    with fault.present():
        wrong = history(fault.plan, fault.setting, steps)
    assert not np.isclose(wrong, alone, rtol=1e-5, atol=0).all(), "the fault changed neither losses nor gradient norms"
    np.testing.assert_allclose(history(fault.plan, fault.setting, 1), alone[:, :1], rtol=1e-9)  # it is gone again


def test_blocking_sends_hang_without_buffers() -> None:
    plan = Plan(pp=2, microbatches=3)

    def program(comm: Any) -> list[float]:
        return train(comm, plan, sizes=SIZES, batch=3, steps=1).losses

    ranks.run(program, 2, buffering="none")
    with sends_that_wait(), pytest.raises(ranks.DeadlockError):
        ranks.run(program, 2, buffering="none")


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
