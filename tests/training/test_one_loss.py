"""Every plan trains to the loss, the gradients and the parameters of one rank."""

from typing import Any

import numpy as np
import pytest

import ranks
from training import Plan, train
from training_claims import SMALL, Case, alone, claim_equals_one_rank, plans

EACH = [
    Plan(dp=2), Plan(dp=3, zero=1), Plan(dp=3, zero=2, microbatches=2), Plan(dp=3, zero=3, microbatches=2),
    Plan(tp=2), Plan(tp=3), Plan(tp=4, sp=True), Plan(cp=2), Plan(cp=3, context="ulysses"),
    Plan(pp=2, microbatches=3), Plan(pp=3, microbatches=4, schedule="gpipe"),
    Plan(pp=2, microbatches=4, schedule="zb-h1"), Plan(pp=2, microbatches=4, chunks=2, schedule="interleaved"),
    Plan(microbatches=5),
]  # fmt: skip


@pytest.mark.parametrize("plan", EACH, ids=str)
def test_one_direction(plan: Plan) -> None:
    ranks.run(lambda comm: claim_equals_one_rank(comm, plan, Case()), plan.ranks)


@pytest.mark.parametrize("plan", plans(4), ids=str)
def test_several_directions(plan: Plan) -> None:
    ranks.run(lambda comm: claim_equals_one_rank(comm, plan, Case(steps=1)), plan.ranks)


@pytest.mark.parametrize("plan", [Plan(tp=3), Plan(tp=2, sp=True, dp=2), Plan(tp=5, cp=2, microbatches=2)], ids=str)
def test_smoothed_labels(plan: Plan) -> None:
    case = Case(label_smoothing=0.2)
    ranks.run(lambda comm: claim_equals_one_rank(comm, plan, case), plan.ranks)
    assert alone(case)[0].losses != alone(Case())[0].losses


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, np.nan, "0.1", True])
def test_smoothing_that_makes_no_sense_is_refused(smoothing: Any) -> None:
    with pytest.raises(ValueError, match=r"train: got label_smoothing=.*, expected a number from 0 up, below 1"):
        ranks.run(lambda comm: train(comm, sizes=SMALL, steps=0, label_smoothing=smoothing), 1)
