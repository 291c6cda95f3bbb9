"""What a schedule costs: who sends how much to whom, step by step, is data, and the LogGP model gives the time.

For algorithms whose ranks do different things (trees, p that is no power of two, nodes) there is no short closed
form. Their cost is a recurrence over the steps of all ranks, which this file evaluates without the simulator's code.
"""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from collectives.costs import Cost, Machine

_INJECT, _ARRIVE = range(2)


class Step(NamedTuple):
    """One step of a rank: send n_bytes to `to` and receive from `source` at the same time, then reduce `reduced` bytes.

    Either side may be None. Messages of one rank to another are received in the order in which they are sent.
    """

    to: int | None
    n_bytes: int
    source: int | None
    reduced: int = 0


Schedule = Callable[[int], Iterable[Step]]


def scheduled_cost(machine: Machine, schedule: Schedule) -> Cost:
    """Return the cost of `schedule(rank)` on every rank of `machine`; exact on any network without jitter.

    scheduled_cost(Machine.of(ranks.presets["alpha-beta"], 2), lambda rank: [Step(1 - rank, 10, 1 - rank)]).rounds  # 1
    """
    clock = _Clock(machine)
    clock.run([iter(schedule(rank)) for rank in range(machine.p)])
    exact = None if machine.network.jitter_ps else max(clock.now)
    return Cost(max(clock.depth), clock.sends, clock.bytes_sent, exact, exact)


class _Message:
    """offered_ps, posted_ps: when each side was ready. left_ps: when its sender goes on. depth: length of its chain."""

    __slots__ = ("arrival_ps", "depth", "dest", "left_ps", "n_bytes", "number", "offered_ps", "posted_ps", "source")

    def __init__(self, source: int, dest: int) -> None:
        self.source, self.dest = source, dest
        self.n_bytes = self.number = self.depth = 0
        self.offered_ps: int | None = None
        self.posted_ps: int | None = None
        self.left_ps: int | None = None
        self.arrival_ps: int | None = None


class _Clock:
    """The clocks and ports of all ranks. Requests for ports are served when no rank can move, earliest first."""

    def __init__(self, machine: Machine) -> None:
        p = machine.p
        self.machine, self.network = machine, machine.network
        self.now, self.depth, self.sends, self.bytes_sent = [0] * p, [0] * p, [0] * p, [0] * p
        self.ports: defaultdict[tuple[str, int], int] = defaultdict(int)  # when each is free again
        self.channels: defaultdict[tuple[int, int], deque[_Message]] = defaultdict(deque)
        self.ready: deque[int] = deque(range(p))
        self.events: list[tuple[int, int, int, int, _Message]] = []

    def run(self, programs: list[Iterable[Step]]) -> None:
        """Play all ranks to their ends."""
        playing = [self._play(rank, steps) for rank, steps in enumerate(programs)]
        while self.ready or self.events:
            if self.ready:
                next(playing[self.ready.popleft()], None)
            else:
                time_ps, kind, _, _, message = heappop(self.events)
                (self._leave if kind == _INJECT else self._arrive)(time_ps, message)
        if any(inspect.getgeneratorstate(steps) != inspect.GEN_CLOSED for steps in playing):
            raise ValueError("scheduled_cost: got a schedule in which ranks wait for each other for ever")

    def _play(self, rank: int, steps: Iterable[Step]) -> Generator[None, None, None]:
        now, network = self.now, self.network
        for to, n_bytes, source, reduced in steps:
            sent = None if to is None else self._send(rank, to, n_bytes)
            if source is not None:
                came = self._receive(source, rank)
                while came.arrival_ps is None:
                    yield
                now[rank] = max(now[rank], came.arrival_ps) + network.overhead_ps
                self.depth[rank] = max(self.depth[rank], came.depth)
            if sent is not None:
                while sent.left_ps is None:
                    yield
                now[rank] = max(now[rank], sent.left_ps)
            now[rank] += network.reduce_ps(reduced)

    def _message(self, source: int, dest: int, *, offers: bool) -> _Message:
        """Return the oldest message of a channel that has only the other side yet, or a new one."""
        queue = self.channels[source, dest]
        if queue and (queue[0].offered_ps is None) == offers:
            return queue.popleft()
        queue.append(_Message(source, dest))
        return queue[-1]

    def _send(self, rank: int, to: int, n_bytes: int) -> _Message:
        self.now[rank] += self.network.overhead_ps
        self.sends[rank] += 1
        self.bytes_sent[rank] += n_bytes
        message = self._message(rank, to, offers=True)
        message.n_bytes, message.number, message.depth = n_bytes, self.sends[rank], self.depth[rank] + 1
        message.offered_ps = self.now[rank]
        if self.machine.is_eager(n_bytes):
            message.left_ps = message.offered_ps
            self._start(message.offered_ps, message)
        elif message.posted_ps is not None:
            self._start(max(message.offered_ps, message.posted_ps), message)
        return message

    def _receive(self, source: int, rank: int) -> _Message:
        message = self._message(source, rank, offers=False)
        message.posted_ps = self.now[rank]
        if message.offered_ps is not None and message.left_ps is None:
            self._start(max(message.offered_ps, message.posted_ps), message)
        return message

    def _start(self, time_ps: int, message: _Message) -> None:
        """Let a message ask for its out-port: its rank's own at once, since only that rank uses it."""
        if self._goes_through_node(message):
            heappush(self.events, (time_ps, _INJECT, message.source, message.number, message))
        else:
            self._leave(time_ps, message)

    def _goes_through_node(self, message: _Message) -> bool:
        nodes = self.machine.nodes
        return self.network.ports and self.network.shared_node_port and nodes[message.source] != nodes[message.dest]

    def _leave(self, time_ps: int, message: _Message) -> None:
        link = self.machine.link(message.source, message.dest)
        begin_ps = self._served_ps("out", time_ps, message)
        if message.left_ps is None:
            message.left_ps = begin_ps + link.transfer_ps(message.n_bytes)
            self.ready.append(message.source)
        heappush(self.events, (begin_ps + link.latency_ps, _ARRIVE, message.source, message.number, message))

    def _arrive(self, time_ps: int, message: _Message) -> None:
        transfer_ps = self.machine.link(message.source, message.dest).transfer_ps(message.n_bytes)
        message.arrival_ps = self._served_ps("in", time_ps, message) + transfer_ps
        self.ready.append(message.dest)

    def _served_ps(self, direction: str, time_ps: int, message: _Message) -> int:
        """Return when a message that asks for a port at `time_ps` gets it, and occupy it."""
        if not self.network.ports:
            return time_ps
        rank = message.source if direction == "out" else message.dest
        through_node = self._goes_through_node(message)
        port = (f"node {direction}", self.machine.nodes[rank]) if through_node else (direction, rank)
        begin_ps = max(self.ports[port], time_ps)
        transfer_ps = self.machine.link(message.source, message.dest).transfer_ps(message.n_bytes)
        self.ports[port] = begin_ps + transfer_ps
        return begin_ps
