"""Which part of the model and of a batch each rank has under a plan, read off its trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ranks
from collectives.arrays import block_bounds
from training import GPTSizes, Plan, Trainer

Interval = tuple[float, float]


@dataclass(frozen=True)
class ShareOfPlan:
    """What one rank has between two steps, and which tokens it sees.

    units:   For each unit of parameters that it has, which of the unit's numbers it keeps, and which it updates, as
             intervals of 0 to 1. Tensor-parallel ranks come one after the other in it, and what all of them have
             (norms, and biases behind a sum) is counted with each.
    rows:    Its sequences. tokens: the positions of its tokens between matrices.
    """

    units: dict[str, tuple[Interval, Interval]]
    rows: range
    tokens: list[int]


def shares_of_plan(plan: Plan, sizes: GPTSizes, batch: int) -> list[ShareOfPlan]:
    """Return the share of each rank.

    shares_of_plan(Plan(dp=2, zero=1), GPTSizes(), 8)[1].units["norm"]  # ((0.0, 1.0), (0.5, 1.0))
    """

    def program(comm: Any) -> ShareOfPlan:
        trainer = Trainer(comm, plan, sizes=sizes, batch=batch)
        bounds = block_bounds(batch, plan.dp)
        copy = comm.rank // (plan.cp * plan.tp) % plan.dp  # of the model, counted along the mesh

        def interval(place: slice, n: int) -> Interval:
            begin, end = ((trainer.tensor.rank + edge / n) / plan.tp for edge in (place.start, place.stop))
            return begin, end

        units = {
            unit: (interval(state.held, state.n), interval(state.updated, state.n))
            for unit, state in trainer.states.items()
        }
        return ShareOfPlan(units, range(bounds[copy], bounds[copy + 1]), trainer.cut.positions.tolist())

    return ranks.run(program, plan.ranks).results
