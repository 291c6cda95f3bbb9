"""The shortest schedule under a limit of memory, by exact search: what the named ones are to be compared with."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, product
from typing import Any

from training.pipeline.schedule import Op, Schedule

Counts = tuple[tuple[int, ...], ...]  # for each rank, how many of its passes of each kind have ended
Running = tuple[tuple[int, Any] | None, ...]  # for each rank, the kind of its pass and the time left, or None
State = tuple[Counts, Running]


@dataclass(frozen=True)
class _Search:
    """What is searched: p stages, one a rank, m microbatches, and the time of each kind of pass, F first."""

    p: int
    m: int
    takes: tuple[Any, ...]
    limit: int

    def can_start(self, counts: Counts, rank: int) -> Iterator[int]:
        """Yield the kinds of passes that a rank could start now."""
        own = counts[rank]
        if own[0] < self.m and own[0] - own[-1] < self.limit and (rank == 0 or counts[rank - 1][0] > own[0]):
            yield 0
        if own[1] < own[0] and (rank == self.p - 1 or counts[rank + 1][1] > own[1]):
            yield 1
        if len(own) > 2 and own[2] < own[1]:
            yield 2

    def after(self, state: State) -> Iterator[tuple[Any, State, tuple[int | None, ...]]]:
        """Yield what can come next: the time to it, the state when the next pass ends, and the kinds started now."""
        counts, running = state
        options: list[list[int | None]] = [
            [None] if running[rank] else [*self.can_start(counts, rank), None] for rank in range(self.p)
        ]
        for started in product(*options):
            now = [(k, self.takes[k]) if k is not None else run for k, run in zip(started, running, strict=True)]
            step = min((left for _, left in filter(None, now)), default=None)
            # A rank that idles although a pass would end before anything else does gains nothing.
            idles = (rank for rank in range(self.p) if now[rank] is None)
            if step is None or any(self.takes[k] <= step for rank in idles for k in options[rank] if k is not None):
                continue
            ended = tuple(
                tuple(n + (run is not None and run == (k, step)) for k, n in enumerate(own))
                for own, run in zip(counts, now, strict=True)
            )
            left = tuple((run[0], run[1] - step) if run and run[1] > step else None for run in now)
            yield step, (ended, left), started

    def least(self, state: State) -> Any:
        """Return a time that no schedule can do without from here."""
        counts, running = state
        bounds = []
        for rank, (own, run) in enumerate(zip(counts, running, strict=True)):
            spent = self.takes[run[0]] - run[1] if run else 0
            left = [(self.m - n) * time for n, time in zip(own, self.takes, strict=True)]
            bounds.append(sum(left) - spent)
            if own[1] < self.m:  # the last gradient still goes down to stage 0, whose weights wait for it
                before = sum(left[:2]) - (spent if run and run[0] < 2 else 0)
                bounds.append(before + rank * self.takes[1] + sum(self.takes[2:]))
        return max(bounds)


def shortest_schedule(
    p: int,
    microbatches: int,
    activations: int,
    F: Any = 1,
    I: Any = 1,
    W: Any = 1,
    *,
    split: bool = True,
    most_states: int = 100_000,
) -> Schedule:
    """Return a schedule of p stages on p ranks that is as short as any in which ranks keep so many activations at most.

        play(shortest_schedule(3, 4, activations=2)).length  # 17
        play(shortest_schedule(3, 4, activations=3)).length  # 14, which is that of ZB-H1

    Microbatches are alike: in any schedule the k-th pass of each stage and kind can serve microbatch k instead of the
    one that it serves. So only schedules that take them in order are searched, what promises most first (A*).

    split:        I and W may be apart; False: a backward pass is one B.
    most_states:  A search that has seen so many states gives up.
    Raises:       ValueError if the numbers make no schedule, or if the search gave up.
    """
    if min(p, microbatches, activations) < 1 or min(F, I, W) < 0:
        raise ValueError(
            f"shortest_schedule: got p={p}, microbatches={microbatches}, activations={activations} and times {F}, {I}, "
            f"{W}, expected numbers from 1 up, and times from 0 up; remedy: leave room for one activation at least"
        )
    search = _Search(p, microbatches, (F, I, W) if split else (F, I + W), activations)
    start: State = (((0,) * len(search.takes),) * p, (None,) * p)
    reached: dict[State, tuple[Any, State | None, tuple[int | None, ...]]] = {start: (0, None, ())}
    numbers = count()  # so that equal promises are taken in order, the later state first
    ahead = [(search.least(start), 0, start)]
    while ahead:
        promised, _, state = heapq.heappop(ahead)
        time = reached[state][0]
        if promised > time + search.least(state):
            continue  # reached earlier since then
        if all(own[-1] == microbatches for own in state[0]):
            return Schedule("shortest", p, p, microbatches, _orders(p, state, reached, "FIW" if split else "FB"))
        for step, following, started in search.after(state):
            if following not in reached or time + step < reached[following][0]:
                reached[following] = (time + step, state, started)
                heapq.heappush(ahead, (time + step + search.least(following), -next(numbers), following))
        if len(reached) > most_states:
            break
    raise ValueError(
        f"shortest_schedule: got p={p} and microbatches={microbatches}, expected a search of at most {most_states} "
        "states; remedy: take fewer, or times with a smaller common denominator"
    )


def _orders(p: int, state: State, reached: dict[State, Any], kinds: str) -> tuple[tuple[Op, ...], ...]:
    """Return the orders of the ranks on the way to a state."""
    orders: list[list[int]] = [[] for _ in range(p)]
    while reached[state][1] is not None:
        _, state, started = reached[state]
        for order, kind in zip(orders, started, strict=True):
            if kind is not None:
                order.append(kind)
    return tuple(
        tuple(Op(kinds[kind], rank, order[: i + 1].count(kind) - 1) for i, kind in enumerate(order))
        for rank, order in enumerate(each[::-1] for each in orders)
    )
