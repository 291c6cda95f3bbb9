"""Every plan trains to the loss, the gradients and the parameters of one rank."""

import pytest

import ranks
from training import Plan
from training_claims import Case, claim_equals_one_rank, plans

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
