"""A schedule on a virtual clock: when each operation runs, how long ranks idle, how many activations they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import Any

from training.pipeline.check import Group, check_schedule, one_by_one, runnable
from training.pipeline.schedule import Op, Schedule

Time = Any  # int, Fraction or float: what comes in is only added, compared and subtracted


@dataclass(frozen=True)
class Timeline:
    """When the operations of a schedule run: times[rank][i] is start and end of schedule.operations[rank][i].

    What is one value a rank is a tuple in the order of ranks.
    """

    schedule: Schedule
    times: tuple[tuple[tuple[Time, Time], ...], ...]

    @property
    def length(self) -> Time:
        """The time from 0, when the first operation starts, to the end of the last."""
        return max(end for ops in self.times for _, end in ops)

    @property
    def busy(self) -> tuple[Time, ...]:
        """The time that each rank computes; a pass that runs while another does takes no time of its own."""
        return tuple(
            sum(end - max(start, before) for (start, end), (_, before) in zip(ops, ((0, 0), *ops), strict=False))
            for ops in self.times
        )

    @property
    def bubbles(self) -> tuple[Time, ...]:
        """The time that each rank idles from the start of its first operation to the end of its last."""
        spans = (ops[-1][1] - ops[0][0] if ops else 0 for ops in self.times)
        return tuple(span - busy for span, busy in zip(spans, self.busy, strict=True))

    @property
    def idle(self) -> tuple[Time, ...]:
        """The time that each rank idles in the whole step, also before its first operation and after its last."""
        length = self.length
        return tuple(length - busy for busy in self.busy)

    @property
    def peaks(self) -> tuple[int, ...]:
        """The most activations that each rank keeps at once, one a stage and microbatch, from its F to its B or W."""
        change = {"F": 1, "B": -1, "I": 0, "W": -1}
        return tuple(max(accumulate((change[op.kind] for op in ops), initial=0)) for ops in self.schedule.operations)

    @property
    def messages(self) -> int:
        """The messages of all ranks: an operation that reads a result of another rank gets one."""
        places = self.schedule.places
        return sum(places[needed] != places[op] for op, read in self.schedule.needs.items() for needed in read)


def play(schedule: Schedule, F: Any = 1, I: Any = 1, W: Any = 1, latency: Time = 0, FB: Any = None) -> Timeline:
    """Return when each operation runs if every one starts as soon as its rank is free and what it reads is there.

        play(make_schedule("1f1b", 4, 8)).idle       # (9, 9, 9, 9), which is (p - 1)(F + I + W)
        play(make_schedule("zb-h1", 4, 8)).bubbles   # (3, 2, 1, 0), (p - 1)(F + I - W) on rank 0
        play(make_schedule("gpipe", 2, 1), F=[1, 5], I=0).bubbles  # (6, 0): rank 0 waits for F and B of rank 1

    F, I, W:  The time of a forward pass, of the half of a backward pass that gives the gradient of the stage's input,
              and of the half that gives those of its weights; B takes I + W. Each is one number, or one for each stage.
              Whole numbers and Fractions give exact times.
    latency:  The time of a message to another rank. A send takes its rank no time.
    FB:       The time of an F and the B right after it if a rank runs the two at once, as DualPipe does to hide the
              communication of one behind the other. They start and end together. None runs one after the other.
    Raises:   ValueError if a time is negative, if there are not as many as stages, if check_schedule would raise, or
              if operations that are to run at once wait for each other.
    """
    check_schedule(schedule)
    takes = {kind: _times(kind, given, schedule.stages) for kind, given in zip("FIW", (F, I, W), strict=True)}
    takes["B"] = [i + w for i, w in zip(takes["I"], takes["W"], strict=True)]
    (between,) = _times("latency", latency, 1)
    together = None if FB is None else _times("FB", FB, schedule.stages)
    times: list[list[tuple[Time, Time]]] = [[] for _ in range(schedule.p)]
    ends: dict[Op, Time] = {}
    for rank, group in runnable(schedule, one_by_one(schedule) if together is None else _paired(schedule)):
        start = times[rank][-1][1] if times[rank] else 0
        for needed in (needed for op in group for needed in schedule.needs[op]):
            start = max(start, ends[needed] + (between if schedule.places[needed] != rank else 0))
        kind, stage, _ = group[0]
        end = start + (together[stage] if together and len(group) > 1 else takes[kind][stage])
        times[rank] += [(start, end)] * len(group)
        ends.update(dict.fromkeys(group, end))
    if len(ends) < len(schedule.places):
        raise ValueError(
            f"play: got FB={FB!r} with {schedule.name}, expected passes that can run at once, but some pairs wait for "
            "each other; remedy: leave FB out"
        )
    return Timeline(schedule, tuple(map(tuple, times)))


def _paired(schedule: Schedule) -> list[list[Group]]:
    """Return the orders of all ranks, with each F and the B right after it in one group, unless B needs that F."""
    orders = []
    for ops in schedule.operations:
        order: list[Group] = []
        for op in ops:
            before = order[-1] if order else ()
            if op.kind == "B" and len(before) == 1 and before[0].kind == "F" and before[0] not in schedule.needs[op]:
                order[-1] = (*before, op)
            else:
                order.append((op,))
        orders.append(order)
    return orders


def _times(name: str, given: Any, stages: int) -> list[Time]:
    """Return one time for each stage; a latency has no stages."""
    many = isinstance(given, Sequence) and name != "latency"
    times = list(given) if many else [given] * stages
    right = [isinstance(time, Real) and 0 <= float(time) < float("inf") for time in times]
    if not all(right) or len(times) != stages:
        each = "" if name == "latency" else f", or {stages} of them, one for each stage"
        raise ValueError(f"play: got {name}={given!r}, expected a number from 0 up{each}; remedy: pass times")
    return times
