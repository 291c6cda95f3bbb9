"""The scheduler: many ranks as greenlets in one thread, and the events that need virtual time in order.

A rank runs until it blocks; its own clock runs with it. Most of what ranks do does not depend on who runs
first, so they run in any order. What does depend on it waits in a queue of events and happens when no rank
can run any more, earliest first: by then, everything that could come before it has happened. These are a
message's way through shared ports, the choice of a wildcard, the first of several requests, and a poll.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from heapq import heappop, heappush
from typing import Any, NoReturn

from greenlet import GreenletExit, getcurrent

from ranks.engine.events import POLL, Event
from ranks.engine.process import SharedState
from ranks.engine.rank import ALL, Rank, RankGreenlet
from ranks.words.errors import RankExitError, RanksError

__tracebackhide__ = True  # pytest shows the frames of the program, not of this module

# When a run is over, a rank may catch so many GreenletExit: one in each `finally` that communicates.
REFUSALS = 100
# Ranks that caught more: freeing them would throw another one at them.
ABANDONED: list[RankGreenlet | None] = []

Handler = Callable[[int, list[Event]], None]


class Leave(GreenletExit):
    """What ends a rank from outside: the run is over, or a fault has crashed it."""


class Scheduler:
    """All ranks of one run, who is ready, and the events to come.

    ready:     The greenlets that can go on, in the order in which they could.
    times:     A heap of the virtual times at which something happens; `events` has what, by time.
    time_ps:   The time of the latest event.
    starting:  Whether not all ranks have begun; no event happens before.
    failure:   The rank that ended the run, and with which exception; None while all is well.
    livelock:  Whether the run ended because ranks only poll, for something that can no longer come.
    handlers:  What lets the events of each kind happen; the rooms above fill it in.
    beside:    What ranks do beside their programs: each such work has a thread of control and a clock of its own.
    """

    def __init__(self, ranks: Sequence[Any]) -> None:
        self.ranks = ranks
        self.ready: deque[Any] = deque()
        self.times: list[int] = []
        self.events: dict[int, list[Event]] = {}
        self.event_number = 0
        self.time_ps = 0
        self.starting, self.closed, self.livelock = True, False, False
        self.failure: tuple[Rank, BaseException] | None = None
        self.refusals: Counter[int] = Counter()
        self.hub = getcurrent()
        self.shared = SharedState()
        self.beside: list[Any] = []
        self.handlers: list[Handler] = [_unexpected, _unexpected, self._decide, self._poll]

    # -- running ---------------------------------------------------------------------------------------------

    def drive(self, body: Callable[[Any], Any]) -> None:
        """Run `body(state)` on every rank until all have returned, one fails, or none can move."""
        self.start(body)
        while (self.ready or self.times) and self.failure is None and not self.livelock:
            if self.ready:
                self.ready.popleft().switch()
            else:
                self.fire()

    def start(self, body: Callable[[Any], Any]) -> None:
        """Let all ranks run until they block for the first time.

        All greenlets are started from the hub: one that is started from another one inherits its depth, and
        hundreds in a row would reach the recursion limit.
        """
        guarded, context = self._guarded(body), copy_context()
        for state in self.ranks:
            state.greenlet = RankGreenlet(guarded)
            state.greenlet.state = state
            if context:  # an empty one is made when the rank first sets a variable
                state.greenlet.gr_context = context.copy()
            state.greenlet.switch()
            if self.failure is not None:
                return
        self.starting = False

    def begin_beside(self, state: Any, body: Callable[[Any], Any]) -> None:
        """Let `body(state)` run beside the rank that is running, once that lets others run.

        It is started here, and comes back at once: started by whoever lets it run, it would inherit that one's depth.
        """
        rank, guarded = getcurrent(), self._guarded(body)

        def run() -> None:
            rank.switch()
            guarded()

        self.beside = [each for each in self.beside if each.greenlet]
        self.beside.append(state)
        state.greenlet = RankGreenlet(run, self.hub)
        state.greenlet.state = state
        state.greenlet.gr_context = copy_context()
        state.greenlet.switch()
        self.ready.append(state.greenlet)

    def _guarded(self, body: Callable[[Any], Any]) -> Callable[[], None]:
        """Return what a greenlet runs: the body, whose end or exception becomes that of the rank."""

        def guarded() -> None:
            # An argument would be held as long as the rank lives.
            state: Rank = getcurrent().state  # type: ignore[attr-defined]  # a RankGreenlet
            try:
                body(state)
            except Leave:
                pass
            except SystemExit as exit_:
                if exit_.code not in (None, 0) and not self.closed:
                    self.failure = state, _exit_error(state, exit_.code)
            except GreenletExit:
                if not self.closed:
                    self.failure = state, _exit_error(state, "GreenletExit")
            except BaseException as problem:
                if not self.closed:
                    if isinstance(problem, RuntimeError) and self.shared.is_left_changed():
                        problem = _because(problem, self.shared.error(state, "its end"))
                    self.failure = state, problem
                elif not isinstance(problem, Exception):  # an interrupt, which is meant for the whole program
                    raise
            if self.failure is None and not self.closed and self.shared.is_left_changed():
                self.failure = state, self.shared.error(state, "its end")

        return guarded

    def park(self, state: Rank) -> None:
        """Let others run until `state` is woken; the parking rank itself does the scheduler's work.

        So a rank that is woken by the very event that it lets happen goes on without a switch.
        """
        if self.closed:
            self._leave(state)
        shared = self.shared  # as `has_changed` does, without the call
        filters = warnings.filters
        if shared.is_watched and (
            sys.stdout is not shared.stdout or sys.stderr is not shared.stderr
            or filters is not shared.filters or len(filters) != shared.n_rules
        ):  # fmt: skip
            shared.refuse(state)
        ready = self.ready
        if not ready:
            while not ready and self.times and not (self.starting or self.livelock):
                self.fire()
        if self.starting or not ready:
            self.hub.switch()
        else:
            woken = ready.popleft()
            if woken is not state.greenlet:
                woken.switch()
        if self.closed:
            self._leave(state)

    def let_others_run(self, state: Rank) -> None:
        """Let all that can run do so before `state` goes on."""
        self.ready.append(state.greenlet)
        self.park(state)

    def park_for(self, state: Rank, awaits: Sequence[Any], enough: int = ALL) -> None:
        """Park a rank until all or the first of what it awaits is there, and say meanwhile what that is."""
        state.awaits, state.enough = awaits, enough
        self.park(state)
        state.awaits = ()

    def _leave(self, state: Rank) -> NoReturn:
        """End a rank of a closed world; one that swallows the GreenletExit again and again is left as it is."""
        self.refusals[state.rank] += 1
        if self.refusals[state.rank] > REFUSALS:
            ABANDONED.append(state.greenlet)
            self.hub.switch()
        raise Leave

    def close(self) -> None:
        """End all ranks that are still parked; their `finally` blocks run."""
        self.closed = True
        for state in (*self.beside, *self.ranks):
            if state.greenlet is not None and state.greenlet:
                state.greenlet.throw(Leave)
        self.ready.clear()

    def fail(self, state: Rank, problem: BaseException) -> NoReturn:
        """End the run at once with `problem` of this rank."""
        self.failure = state, problem
        self.hub.switch()
        raise Leave

    # -- events ----------------------------------------------------------------------------------------------

    def schedule(self, time_ps: int, kind: int, rank: int, number: int, subject: Any) -> None:
        """Let an event happen at `time_ps`; at one time, by kind, then by rank, then by number."""
        event = (kind, rank, number, subject)
        bucket = self.events.get(time_ps)
        if bucket is None:
            self.events[time_ps] = [event]
            heappush(self.times, time_ps)
        else:
            bucket.append(event)

    def schedule_next(self, time_ps: int, kind: int, rank: int, subject: Any) -> None:
        """Schedule an event with a number of its own, so that those of one rank happen in the order asked for."""
        self.event_number += 1
        self.schedule(time_ps, kind, rank, self.event_number, subject)

    def is_past(self, time_ps: int) -> bool:
        """Return whether all that can happen up to `time_ps` has happened: no rank can run, no event is due."""
        return not self.ready and not self.starting and not (self.times and self.times[0] <= time_ps)

    def catch_up(self, state: Rank) -> None:
        """Let all that happens up to the rank's own time happen."""
        self.schedule_next(state.now, POLL, state.rank, state)
        self.park(state)

    def fire(self) -> None:
        """Let the events of the earliest time happen, those of the first kind only: they may cause others."""
        time_ps = self.time_ps = heappop(self.times)
        events = self.events.pop(time_ps)
        if len(events) > 1:
            events.sort()
            if events[0][0] != events[-1][0]:
                n = sum(event[0] == events[0][0] for event in events)
                self.events[time_ps] = events[n:]
                heappush(self.times, time_ps)
                del events[n:]
        self.handlers[events[0][0]](time_ps, events)

    def _decide(self, time_ps: int, events: list[Event]) -> None:
        for _, _, _, chooser in events:
            chooser.decide(time_ps)

    def _poll(self, time_ps: int, events: list[Event]) -> None:
        self.ready.extend(state.greenlet for _, _, _, state in events)


def _unexpected(time_ps: int, events: list[Event]) -> None:
    raise AssertionError(f"no room above handles {events}")


def _because(effect: BaseException, cause: BaseException) -> BaseException:
    """Return the error that explains another, which it keeps."""
    cause.__cause__ = effect
    return cause


def _exit_error(state: Rank, code: object) -> RanksError:
    error = RankExitError(
        state.rank, "the end of its program", got=f"an exit with {code!r}",
        expected="a return, or an exit with 0 or None", remedy="see why this rank gave up, or return instead",
    )  # fmt: skip
    error.code = code
    return error
