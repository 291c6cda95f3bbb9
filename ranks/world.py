"""The scheduler: many ranks as greenlets in one thread, and the events that need virtual time in order.

A rank runs until it blocks; its own clock runs with it. Most of what ranks do does not depend on who runs
first, so they run in any order. What does depend on it waits in a queue of events and happens when no rank
can run any more, earliest first: by then, everything that could come before it has happened. These are a
message's way through shared ports, the choice of a wildcard, the first of several requests, and a poll.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from ranks.asking import AnyOf, ByTheClock
from ranks.lanes import Kinds
from ranks.matching import Context, Mailbox
from ranks.messages import ALL, Message, Operation
from ranks.network import Network
from ranks.wires import DECIDE, POLL, Event, Ports, Wires

if TYPE_CHECKING:
    from ranks.agreement import Ledger
    from ranks.faults import Faults
    from ranks.trace import Trace

T = TypeVar("T")

# Messages up to this size go the short way; the stages of larger ones would hold too much memory.
STAGED_BYTES = 1024

# After so many unsuccessful polls in a row, see whether they can ever succeed.
IDLE_POLLS = 100_000

# A rank may catch so many GreenletExit, one in each `finally` that communicates, when its run is over.
REFUSALS = 100
# Ranks that caught more: freeing them would throw another one at them.
ABANDONED: list[RankGreenlet | None] = []


class RankGreenlet(greenlet):
    """The thread of control of one rank."""

    __slots__ = ("state",)
    state: RankState


class RankState:
    """One rank: its clock, its counts, and what it is parked on.

    awaits: what a parked rank waits for: an operation, a list of them (all), an `AnyOf`, a `Ledger`, or the box,
    source, tag and buffer of a receive that is not posted.
    backlog: sends that have yet to take their turn at the out-port. number: that of its latest message.
    """

    __slots__ = (
        "awaits", "backlog", "bytes_received", "bytes_sent", "greenlet", "in_port", "now", "number", "open", "out_port",
        "rank", "receives", "sends", "world",
    )  # fmt: skip

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank = world, rank
        self.now = self.sends = self.receives = self.bytes_sent = self.bytes_received = self.backlog = self.number = 0
        self.greenlet: RankGreenlet | None = None
        self.awaits: Any = None
        self.open: dict[Operation, None] | None = None
        self.in_port: Any = None
        self.out_port: Any = None

    @property
    def node(self) -> int:
        """The node that the rank is on."""
        return self.rank // self.world.network.ranks_per_node

    def decide(self, time_ps: int) -> None:
        """Wake the rank from waiting for the first of several requests, if it still does."""
        if isinstance(self.awaits, AnyOf) and self.awaits.is_due(time_ps):
            self.awaits = None
            self.world.ready.append(self.greenlet)


class World:
    """All ranks of one run, who is ready, and the events to come."""

    def __init__(
        self, size: int, network: Network, buffering: str, seed: int, *, trace: Trace | None, check: bool
    ) -> None:
        self.size, self.network, self.buffering, self.seed = size, network, buffering, seed
        self.trace, self.check = trace, check
        self.overhead_ps = network.overhead_ps
        limits = {"none": -1, "eager": network.eager_limit, "infinite": 1 << 62}
        self.eager_limit = limits[buffering]
        self.ready: deque[Any] = deque()
        self.times: list[int] = []
        self.events: dict[int, list[Event]] = {}
        self.event_number = 0
        self.time_ps = 0
        self.idle_polls, self.n_done = 0, -1
        self.contexts: list[Context] = []
        self.closed = False
        self.faults: Faults | None = None
        self.refusals: Counter[int] = Counter()
        self.starting = True
        self.failure: tuple[int, BaseException] | None = None
        self.livelock = False
        self.disagreement: Ledger | None = None
        self.hub = getcurrent()
        self.ranks = [RankState(self, rank) for rank in range(size)]
        self.is_quick = not (network.shared_node_port or network.jitter_ps or check)
        self.kinds = Kinds(min(self.eager_limit, STAGED_BYTES))
        self.wires = (Ports if network.ports else Wires)(self)
        self.asking = ByTheClock(self)
        self.ports = self.wires if isinstance(self.wires, Ports) else None
        self._handlers: tuple[Callable[[int, list[Event]], None], ...] = (
            self.wires.inject, self.wires.arrive, self._decide, self._poll,
        )  # fmt: skip

    def new_context(self, owners: list[RankState]) -> Context:
        """Return a new communicator of these ranks."""
        self.contexts.append(Context(len(self.contexts), owners))
        return self.contexts[-1]

    def mailboxes_of(self, state: RankState) -> list[Mailbox]:
        """Return a rank's mailboxes in all communicators."""
        return [box for context in self.contexts for box in context.boxes if box.owner is state]

    def tally(self) -> None:
        """Enter the messages of the short way into the counts of their ranks."""
        for context in self.contexts:
            for box in context.boxes:
                for lane in box.lanes.values():
                    lane.tally()

    def break_things(self, faults: Faults) -> None:
        """Let these faults happen in the run, which has not begun."""
        self.faults, self.is_quick = faults, False

    def replay(self) -> str:
        """Return the arguments of `ranks.run` that make this world's choices again."""
        return f"buffering={self.buffering!r}, seed={self.seed}"

    # -- running ---------------------------------------------------------------------------------------------

    def drive(self, body: Callable[[RankState], Any]) -> None:
        """Run `body(state)` on every rank until all have returned, one fails, or none can move.

        All greenlets are started from the hub: one that is started from another one inherits its depth, and
        hundreds in a row would reach the recursion limit.
        """
        guarded = self._guarded(body)
        for state in self.ranks:
            state.greenlet = RankGreenlet(guarded)
            state.greenlet.state = state
            state.greenlet.switch(state)
            if self.failure is not None:
                return
        self.starting = False
        while self.ready or self.times:
            if self.livelock:
                return
            if self.ready:
                self.ready.popleft().switch()
                if self.failure is not None:
                    return
            else:
                self.fire()

    def _guarded(self, body: Callable[[RankState], Any]) -> Callable[[RankState], None]:
        def guarded(state: RankState) -> None:
            try:
                body(state)
            except GreenletExit:
                if not self.closed:
                    raise
            except BaseException as problem:
                if not self.closed:
                    self.failure = (state.rank, problem)
                elif not isinstance(problem, Exception):  # an interrupt, which is meant for the whole program
                    raise

        return guarded

    def park(self, state: RankState) -> None:
        """Let others run until `state` is woken; the parking rank itself does the scheduler's work.

        So a rank that is woken by the very event that it lets happen goes on without a switch.
        """
        if self.closed:
            self._leave(state)
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

    def wait(self, operation: Operation) -> None:
        """Park the owner of `operation` until the time of its completion is known."""
        if operation.ready_ps is None:
            state = operation.state
            operation.awaited = ALL
            if state.awaits is None:
                state.awaits = operation
            self.park(state)
            state.awaits = None

    def _leave(self, state: RankState) -> NoReturn:
        """End a rank of a closed world; one that swallows the GreenletExit again and again is left as it is."""
        self.refusals[state.rank] += 1
        if self.refusals[state.rank] > REFUSALS:
            ABANDONED.append(state.greenlet)
            self.hub.switch()
        raise GreenletExit

    def close(self) -> None:
        """End all ranks that are still parked; their `finally` blocks run."""
        self.closed = True
        for state in self.ranks:
            if state.greenlet is not None and state.greenlet:
                state.greenlet.throw(GreenletExit)
        self.ready.clear()

    def fail(self, state: RankState, problem: BaseException) -> NoReturn:
        """End the run at once with `problem` of this rank."""
        self.failure = (state.rank, problem)
        self.hub.switch()
        raise GreenletExit

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

    def decide_at(self, time_ps: int, chooser: Mailbox | RankState) -> None:
        """Let a wildcard or a Waitany be decided at `time_ps`, when nothing earlier can happen any more."""
        rank = chooser.owner.rank if isinstance(chooser, Mailbox) else chooser.rank
        self.event_number += 1
        self.schedule(time_ps, DECIDE, rank, self.event_number, chooser)

    def poll(self, state: RankState, look: Callable[[], T]) -> T:
        """Return what `look()` sees once all that happens up to the rank's own time has happened.

        Seeing nothing (a false value) takes time, so that a loop of polls ends.
        """
        if self.idle_polls >= IDLE_POLLS:
            self._check_progress()
        self.catch_up(state)
        seen = look()
        if seen:
            self.idle_polls = 0
        else:
            state.now += self.network.poll_ps
            self.idle_polls += 1
        return seen

    def is_past(self, time_ps: int) -> bool:
        """Return whether all that can happen up to `time_ps` has happened: no rank can run, no event is due."""
        return not self.ready and not self.starting and not (self.times and self.times[0] <= time_ps)

    def catch_up(self, state: RankState) -> None:
        """Let all that happens up to the rank's own time happen."""
        self.event_number += 1
        self.schedule(state.now, POLL, state.rank, self.event_number, state)
        self.park(state)

    def _check_progress(self) -> None:
        """End the run as a livelock if ranks only poll, for something that can no longer come."""
        self.idle_polls = 0
        self.tally()
        n_done, before = sum(state.sends + state.receives for state in self.ranks), self.n_done
        self.n_done = n_done
        if n_done == before and not self._something_is_to_come():
            self.livelock = True
            self.hub.switch()

    def _something_is_to_come(self) -> bool:
        """Return whether something other than a poll is going to happen by itself."""
        if any(event[0] != POLL for events in self.events.values() for event in events):
            return True
        now = min(state.now for state in self.ranks if state.greenlet and state.awaits is None)
        boxes = (box for context in self.contexts for box in context.boxes)
        times = [m.visible_ps() for box in boxes for lane in box.lanes.values() for m in lane.queue]
        times += [operation.ready_ps for state in self.ranks for operation in state.open or ()]
        return any(time_ps is not None and time_ps > now for time_ps in times)

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
        kind = events[0][0]
        if kind != POLL:
            self.idle_polls = 0
        self._handlers[kind](time_ps, events)

    def _decide(self, time_ps: int, events: list[Event]) -> None:
        for _, _, _, chooser in events:
            chooser.decide(time_ps)

    def _poll(self, time_ps: int, events: list[Event]) -> None:
        self.ready.extend(state.greenlet for _, _, _, state in events)

    # -- messages --------------------------------------------------------------------------------------------

    def handshake(self, message: Message, posted_ps: int) -> None:
        """Start the transfer of a rendezvous message: both sides are ready."""
        self.wires.start(max(message.ready_ps, posted_ps, self.time_ps), message)
