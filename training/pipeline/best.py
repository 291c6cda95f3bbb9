"""The shortest schedule under a limit of memory, by exact search: what the named ones are to be compared with."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from typing import Any

from training.pipeline.schedule import Op, Schedule

Pass = tuple[int, int]  # stage and kind; kinds are counted from F on
Counts = tuple[tuple[int, ...], ...]  # for each stage, how many of its passes of each kind have ended
Running = tuple[tuple[Pass, Any] | None, ...]  # for each rank, its pass and the time left, or None
State = tuple[Counts, Running]
Started = tuple[Pass | None, ...]  # by rank


@dataclass(frozen=True)
class _Search:
    """What is searched: ranks of stages, microbatches, the time of each kind of pass, and the most activations."""

    holders: tuple[int, ...]
    m: int
    takes: tuple[Any, ...]
    limit: int

    @cached_property
    def stages(self) -> list[list[int]]:
        """The stages of each rank."""
        return [[s for s, holder in enumerate(self.holders) if holder == r] for r in range(1 + max(self.holders))]

    def can_start(self, counts: Counts, rank: int) -> Iterator[Pass]:
        """Yield the passes that an idle rank could start now."""
        kept = sum(counts[stage][0] - counts[stage][-1] for stage in self.stages[rank])
        for stage in self.stages[rank]:
            own = counts[stage]
            if own[0] < self.m and kept < self.limit and (stage == 0 or counts[stage - 1][0] > own[0]):
                yield stage, 0
            if own[1] < own[0] and (stage == len(counts) - 1 or counts[stage + 1][1] > own[1]):
                yield stage, 1
            if len(own) > 2 and own[2] < own[1]:
                yield stage, 2

    def after(self, state: State) -> Iterator[tuple[Any, State, Started]]:
        """Yield what can come next: the time to it, the state when the next pass ends, and the passes started now."""
        counts, running = state
        options: list[list[Pass | None]] = [
            [None] if run else [*self.can_start(counts, rank), None] for rank, run in enumerate(running)
        ]
        for started in product(*options):
            now = [(new, self.takes[new[1]]) if new else run for new, run in zip(started, running, strict=True)]
            step = min((left for _, left in filter(None, now)), default=None)
            idles = (rank for rank, run in enumerate(now) if run is None)
            if step is None or any(self.is_idle(rank, options[rank], step) for rank in idles):
                continue
            ended = {run[0] for run in now if run and run[1] == step}
            after = tuple(tuple(n + ((s, k) in ended) for k, n in enumerate(own)) for s, own in enumerate(counts))
            left = tuple((run[0], run[1] - step) if run and run[1] > step else None for run in now)
            yield step, (after, left), started

    def is_idle(self, rank: int, could: list[Pass | None], step: Any) -> bool:
        """Return whether a rank gains nothing if it lets so much time pass without any pass that it could start.

        One that ends within that time is in nobody's way. But an F takes memory, which a rank of several stages may
        want for an F of another one.
        """
        alone = len(self.stages[rank]) == 1
        return any(each and self.takes[each[1]] <= step and (each[1] or alone) for each in could)

    def least(self, state: State) -> Any:
        """Return a time that no schedule can do without from here."""
        counts, running = state
        spent = {run[0]: self.takes[run[0][1]] - run[1] for run in running if run}
        left = [
            [(self.m - n) * self.takes[k] - spent.get((s, k), 0) for k, n in enumerate(own)]
            for s, own in enumerate(counts)
        ]
        work = [sum(sum(left[stage]) for stage in stages) for stages in self.stages]
        # The last gradient still goes down to stage 0, whose weights wait for it.
        way = [
            left[s][0] + left[s][1] + s * self.takes[1] + sum(self.takes[2:])
            for s, own in enumerate(counts)
            if own[1] < self.m
        ]
        return max(work + way)


def shortest_schedule(
    p: int,
    microbatches: int,
    activations: int,
    F: Any = 1,
    I: Any = 1,
    W: Any = 1,
    *,
    split: bool = True,
    holders: Sequence[int] | None = None,
    most_states: int = 100_000,
) -> Schedule:
    """Return a schedule on p ranks that is as short as any in which ranks keep so many activations at most.

        play(shortest_schedule(3, 4, activations=2)).length  # 17
        play(shortest_schedule(3, 4, activations=3)).length  # 14, which is that of ZB-H1

    Microbatches are alike: in any schedule the k-th pass of each stage and kind can serve microbatch k instead of the
    one that it serves. So only schedules that take them in order are searched, what promises most first (A*).

    split:        I and W may be apart; False: a backward pass is one B.
    holders:      The rank of each stage, such as (0, 1, 1, 0) for a V of two ranks. None: stage s is on rank s.
    most_states:  A search that has seen so many states gives up.
    Raises:       ValueError if the numbers make no schedule, if there is none that keeps so few activations, or if the
                  search gave up.
    """
    held = tuple(range(p)) if holders is None else tuple(holders)
    if min(p, microbatches, activations) < 1 or min(F, I, W) < 0 or {*held} != {*range(p)}:
        raise ValueError(
            f"shortest_schedule: got p={p}, microbatches={microbatches}, activations={activations}, times {F}, {I}, "
            f"{W} and stages on ranks {held}, expected numbers from 1 up, times from 0 up and a stage or more on each "
            "rank; remedy: change what does not fit"
        )
    search = _Search(held, microbatches, (F, I, W) if split else (F, I + W), activations)
    start: State = (((0,) * len(search.takes),) * len(held), (None,) * p)
    reached: dict[State, tuple[Any, State | None, Started]] = {start: (0, None, ())}
    numbers = count()  # so that equal promises are taken in order, the later state first
    ahead = [(search.least(start), 0, start)]
    while ahead:
        promised, _, state = heapq.heappop(ahead)
        time = reached[state][0]
        if promised > time + search.least(state):
            continue  # reached earlier since then
        if all(own[-1] == microbatches for own in state[0]):
            orders = _orders(p, state, reached, "FIW" if split else "FB")
            return Schedule("shortest", p, len(held), microbatches, orders)
        for step, following, started in search.after(state):
            if following not in reached or time + step < reached[following][0]:
                reached[following] = (time + step, state, started)
                heapq.heappush(ahead, (time + step + search.least(following), -next(numbers), following))
        if len(reached) > most_states:
            raise ValueError(
                f"shortest_schedule: got p={p} and microbatches={microbatches}, expected a search of at most "
                f"{most_states} states; remedy: take fewer, or times with a smaller common denominator"
            )
    raise ValueError(
        f"shortest_schedule: got activations={activations}, expected at least the "
        f"{max(map(held.count, held))} stages of a rank; remedy: allow more"
    )


def _orders(p: int, state: State, reached: dict[State, Any], kinds: str) -> tuple[tuple[Op, ...], ...]:
    """Return the orders of the ranks on the way to a state."""
    orders: list[list[Pass]] = [[] for _ in range(p)]
    while reached[state][1] is not None:
        _, state, started = reached[state]
        for order, new in zip(orders, started, strict=True):
            if new is not None:
                order.insert(0, new)
    return tuple(
        tuple(Op(kinds[new[1]], new[0], order[:i].count(new)) for i, new in enumerate(order)) for order in orders
    )
