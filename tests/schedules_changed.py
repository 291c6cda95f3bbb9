"""Pipeline schedules with something changed, for tests that show what is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from training.pipeline import Op, Schedule


def with_rank(schedule: Schedule, rank: int, ops: Sequence[Op]) -> Schedule:
    """Return the schedule with other operations on one rank."""
    orders = [*schedule.operations]
    orders[rank] = tuple(ops)
    return replace(schedule, operations=tuple(orders))
