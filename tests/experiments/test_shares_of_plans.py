"""Claims about who has what under a plan: all ranks together have everything, and a picture draws what each has."""

from collections import Counter
from collections.abc import Iterable

import pytest

from experiments.lab.shares_of_plans import shares_of_plan
from experiments.pictures.shares_of_plans import shares_of_plans
from training import GPTSizes, Plan

SIZES = GPTSizes(vocab=11, context=7, hidden=12, heads=3, kv_heads=3, ffn=10, layers=5)
BATCH = 5


def times_there(intervals: Iterable[tuple[float, float]]) -> set[int]:
    """Return in how many of the intervals numbers between 0 and 1 lie."""
    every = list(intervals)
    return {sum(begin <= (place + 0.5) / 97 < end for begin, end in every) for place in range(97)}


@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(dp=3, zero=1),
        Plan(dp=2, cp=2, zero=3),
        Plan(tp=3, sp=True),
        Plan(pp=2, tp=2, schedule="zb-v", microbatches=2),
        Plan(dp=2, pp=2, zero=2, microbatches=2),
    ],
    ids=str,
)
def test_all_ranks_together_have_every_unit_and_every_token(plan: Plan) -> None:
    every = shares_of_plan(plan, SIZES, BATCH)
    for unit in SIZES.units():
        held, updated = zip(*[share.units[unit] for share in every if unit in share.units], strict=True)
        stages = sum(unit in share.units for share in every) * plan.pp // len(every)
        assert times_there(held) == {stages * (1 if plan.zero == 3 else plan.data)}
        assert times_there(updated) == {stages * (1 if plan.zero else plan.data)}
    seen = Counter((row, token) for share in every for row in share.rows for token in share.tokens)
    times = plan.pp * (1 if plan.sp else plan.tp)
    assert seen == {(row, token): times for row in range(BATCH) for token in range(SIZES.context)}


def test_a_picture_has_a_box_for_each_part_that_a_rank_has() -> None:
    plans = {name: shares_of_plan(plan, SIZES, BATCH) for name, plan in (("a", Plan(pp=2)), ("b", Plan(cp=2)))}
    figure = shares_of_plans(plans, SIZES, BATCH)
    every = [share for shares in plans.values() for share in shares]
    units = len(SIZES.units())
    boxes = sum(units + 2 * len(share.units) + BATCH + len(share.rows) * len(share.tokens) for share in every)
    (drawn,) = figure.axes[0].collections
    assert len(drawn.get_paths()) == boxes
    assert [text.get_text() for text in figure.axes[0].texts][:2] == ["a", "b"]
