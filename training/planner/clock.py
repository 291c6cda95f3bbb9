"""A pipeline on the clock, with messages as this network sends them; `training/pipeline/clock.py` has the plain one.

A small message is buffered: it leaves at once and travels while its receiver computes. A large message is not: it
leaves when its receiver asks for it, and the receiver waits until it has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from collectives.arrays import Array
from training.pipeline import Op, Schedule, make_schedule
from training.pipeline.check import one_by_one, runnable

KINDS = "FIWB"
_NONE = -1


class Turn(NamedTuple):
    """An operation as numbers: whose, which, and the place of the operation whose message it waits for, if any."""

    rank: int
    kind: int
    stage: int
    microbatch: int
    waits_for: int
    sends: bool
    ends: bool


@dataclass(frozen=True, eq=False)
class Order:
    """The operations of a schedule, each behind what it needs; by rank the stages, and `counts` of activations."""

    schedule: Schedule
    turns: tuple[Turn, ...]
    stages: tuple[tuple[int, ...], ...]
    counts: tuple[tuple[Array, Array], ...]


@lru_cache(maxsize=256)
def order_of(name: str, pp: int, microbatches: int, chunks: int) -> Order:
    """Return the order of a named schedule."""
    schedule = make_schedule(name, pp, microbatches, chunks)
    places = schedule.places
    known: dict[Op, int] = {}
    readers = {needed for op, all_ in schedule.needs.items() for needed in all_ if places[needed] != places[op]}
    lasts = {op for ops in schedule.operations for op in {op.stage: op for op in ops if op.kind in "WB"}.values()}
    turns: list[Turn] = []
    for rank, (op,) in runnable(schedule, one_by_one(schedule)):
        comes = [known[needed] for needed in schedule.needs[op] if places[needed] != rank]
        known[op] = len(turns)
        waits_for = comes[0] if comes else _NONE
        turns.append(Turn(rank, KINDS.index(op.kind), op.stage, op.microbatch, waits_for, op in readers, op in lasts))
    stages = tuple(schedule.stages_of(rank) for rank in range(pp))
    counts = tuple(_counts(schedule.operations[rank], stages[rank]) for rank in range(pp))
    return Order(schedule, tuple(turns), stages, counts)


def _counts(operations: Sequence[Op], stages: Sequence[int]) -> tuple[Array, Array]:
    """Return for how many microbatches a rank keeps activations, and how many wait, after each half of an operation.

    They are arrays (operations, stages of the rank), of the different rows only.
    """
    change = {"F": [(1, 0)], "I": [(-1, 1)], "W": [(0, -1)], "B": [(-1, 1), (0, -1)]}
    kept, waits = [[0] * len(stages)], [[0] * len(stages)]
    for op in operations:
        place = stages.index(op.stage)
        for of_kept, of_waiting in change[op.kind]:
            kept.append([*kept[-1]])
            waits.append([*waits[-1]])
            kept[-1][place] += of_kept
            waits[-1][place] += of_waiting
    both = np.unique(np.hstack([kept, waits]), axis=0)
    return both[:, : len(stages)], both[:, len(stages) :]


class Wire(NamedTuple):
    """The time of a message between stages, on its way and on each side's processor; and whether it is buffered."""

    wire_ps: float
    overhead_ps: float
    is_eager: bool


def played(
    order: Order, takes: Sequence[Sequence[tuple[float, ...]]], wires: Sequence[Wire],
    sums: Sequence[tuple[float, float]],
) -> list[dict[int, float]]:  # fmt: skip
    """Return for each rank when the last backward of each of its stages ends.

    takes: the times of F, I and W, by microbatch and stage. wires: by microbatch. sums: for how long those of a
    stage's gradients keep a port, in all and at once. A message that meets them leaves after what is sent at once.
    """
    free = [0.0] * order.schedule.p
    busy, at_once = [0.0] * order.schedule.p, [0.0] * order.schedule.p
    sent = [0.0] * len(order.turns)
    ends: list[dict[int, float]] = [{} for _ in free]
    for place, (rank, kind, stage, microbatch, waits_for, sends, is_last) in enumerate(order.turns):
        now = free[rank]
        if waits_for != _NONE:
            wire_ps, overhead_ps, is_eager = wires[microbatch]
            ready = sent[waits_for]
            if is_eager:
                ready += wire_ps
            now = (ready if ready > now else now) + (overhead_ps if is_eager else overhead_ps + wire_ps)
        forward, of_input, weight = takes[microbatch][stage]
        now += forward if kind == 0 else weight if kind == 2 else of_input
        if sends:
            now += wires[microbatch].overhead_ps
            sent[place] = now if now >= busy[rank] else min(busy[rank], now + at_once[rank])
        if kind == 3:  # its first half sends
            now += weight
        if kind >= 2:
            ends[rank][stage] = now
        if is_last:
            busy[rank] = max(busy[rank], now) + sums[stage][0]
            at_once[rank] = sums[stage][1]
        free[rank] = now
    return ends


def run_of_sums(ready: Sequence[tuple[float, float, float]]) -> float:
    """Return when each of some sums (r, T, b) is done: ready at r, it takes T, of which it keeps others waiting for b.

    e_k = max(r_k, e_{k-1}) + b_k, and none is done before r_k + T_k: latencies of several sums overlap.

        run_of_sums([(0, 5, 3), (1, 5, 3), (2, 5, 3)])  # 9
    """
    ends = list(accumulate(ready, lambda end, each: max(each[0], end) + each[2], initial=0.0))
    return max((max(end, at + takes) for end, (at, takes, _) in zip(ends[1:], ready, strict=True)), default=0.0)
