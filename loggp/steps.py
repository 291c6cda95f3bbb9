"""The cost of a schedule that says step by step what each rank does: few ranks and messages, in any order.

Rounds of many ranks are played by `player.py`. Both evaluate the LogGP model without the simulator's code.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from heapq import heappop, heappush
from itertools import pairwise
from operator import index
from typing import NamedTuple

from loggp.machine import Cost, Machine

_LEAVE, _ARRIVE = range(2)


class Step(NamedTuple):
    """What a rank does next: send n_bytes to `to`, receive from `source` meanwhile, then reduce `reduced` bytes.

    to: the rank, or the list of ranks, to which it sends at once; None: it sends nothing.
    n_bytes: the bytes of each of these messages, or a list of the bytes for each rank.
    source: the rank, or the list of ranks, from which it receives at once; None: it receives nothing.
    waits: whether the step ends only when its messages have left; if not, the rank waits for them after its last step.
    tag: messages between two ranks with the same tag are received in the order in which they are sent.
    """

    to: int | list[int] | None
    n_bytes: int | list[int]
    source: int | list[int] | None
    reduced: int = 0
    waits: bool = True
    tag: int = 0


Schedule = Callable[[int], Iterable[Step]]


def scheduled_cost(machine: Machine, schedule: Schedule, alike: int | None = None) -> Cost:
    """Return the cost of `schedule(rank)` on every rank of `machine`; exact on any network without jitter.

        pair = Machine.of(ranks.presets["alpha-beta"], 2)
        scheduled_cost(pair, lambda rank: [Step(1 - rank, 10_000, 1 - rank)]).time_ps  # 2000000

    alike: ranks whose numbers differ by a multiple of `alike` do the same relative to their own number. So only the
    first `alike` ranks are played, and each receives what ranks like it have sent. None: all ranks are played.

    Raises:  ValueError naming the rank and the step with a wrong rank or size; ValueError naming messages that are
             sent and never received, or awaited and never sent.
    """
    p = machine.p
    few = p if alike is None else alike
    if not 0 < few <= p or p % few:
        raise ValueError(
            f"scheduled_cost: got alike={alike} on {p} ranks, expected a divisor of {p}; remedy: leave out `alike`"
        )
    clock = _Clock(machine, few)
    clock.run([schedule(rank) for rank in range(few)])
    exact = None if machine.network.jitter_ps else max(clock.now)
    times = p // few
    return Cost(max(clock.depth), clock.sends * times, clock.bytes_sent * times, exact, exact)


def cost_in_step(machine: Machine, sizes: Iterable[tuple[int, int]]) -> Cost:
    """Return the cost if all links are alike and every rank does the same steps, so that no rank waits.

    sizes: for each step, the bytes that a rank sends to one rank and receives from one, and those that it then reduces.
    """
    steps = list(sizes)
    prices_ps = {step: machine.slowest_ps(step[0]) + machine.network.reduce_ps(step[1]) for step in {*steps}}
    time_ps = sum(prices_ps[step] for step in steps)
    p, n_bytes = machine.p, sum(sent for sent, _ in steps)
    return Cost(len(steps), [len(steps)] * p, [n_bytes] * p, time_ps, time_ps)


def cost_of_chain(machine: Machine, n_bytes: int, n_reductions: int) -> Cost:
    """Return the cost if n_bytes pass from each rank to the next, and n_reductions of the ranks reduce them first."""
    network, p = machine.network, machine.p
    far = sum(here != there for here, there in pairwise(machine.nodes))
    time_ps = far * network.message_ps(network.inter, n_bytes) + n_reductions * network.reduce_ps(n_bytes)
    time_ps += (p - 1 - far) * network.message_ps(network.intra, n_bytes)
    exact = None if network.jitter_ps else time_ps
    return Cost(p - 1, [1] * (p - 1) + [0], [n_bytes] * (p - 1) + [0], exact, exact)


def extended_cost(few: int, n: int, play: Callable[[int], Cost]) -> Cost:
    """Return the estimated cost of n items of a pipeline from those of `few` and of twice as many.

    play(n): the cost of n items, such as segments or ranks. `few` must be enough to fill the pipeline, so that every
    further item takes as long as the one before. sends and bytes_sent of the result are empty.
    """
    shorter, longer = play(few), play(2 * few)
    further = n - 2 * few
    rounds = longer.rounds + (longer.rounds - shorter.rounds) * further // few
    if shorter.expected_ps is None or longer.expected_ps is None:
        return Cost(rounds, [], [], None, None)
    about_ps = longer.expected_ps + (longer.expected_ps - shorter.expected_ps) * further // few
    return Cost(rounds, [], [], None, None, about_ps)


class _Message:
    """offered_ps: when its sender was ready. posted_ps: when its receiver was. left_ps: when its sender goes on.

    out_port, in_port: the ports that it takes, each for transfer_ps.
    """

    __slots__ = (
        "arrival_ps", "depth", "dest", "in_port", "latency_ps", "left_ps", "number", "offered_ps", "out_port",
        "posted_ps", "source", "transfer_ps",
    )  # fmt: skip
    source: int
    dest: int
    out_port: int
    in_port: int
    latency_ps: int
    transfer_ps: int
    number: int
    depth: int

    def __init__(self) -> None:
        self.offered_ps: int | None = None
        self.posted_ps: int | None = None
        self.left_ps: int | None = None
        self.arrival_ps: int | None = None


class _Clock:
    """The clocks and ports of all ranks. Requests for ports are served when no rank can move, earliest first.

    out_free, in_free: when the port of each rank, and behind these of each node, is free again. n_waiting: how many
    sends of each rank have yet to ask for their port: others of that rank must then wait for their turn too.
    """

    def __init__(self, machine: Machine, alike: int) -> None:
        self.machine, self.alike, self.p = machine, alike, machine.p
        self.network = network = machine.network
        self.overhead_ps, self.through_nodes = network.overhead_ps, network.ports and network.shared_node_port
        self.now, self.depth, self.sends, self.bytes_sent = ([0] * alike for _ in range(4))
        self.n_waiting = [0] * alike
        n_ports = alike + max(machine.nodes[:alike]) + 1
        self.out_free, self.in_free = [0] * n_ports, [0] * n_ports
        # A channel is known by its receiver, by how far its sender is from there, and by the tag.
        self.channels: defaultdict[tuple[int, int, int], deque[_Message]] = defaultdict(deque)
        self.ready: deque[int] = deque(range(alike))
        self.events: list[tuple[int, int, int, int, _Message]] = []

    def run(self, programs: list[Iterable[Step]]) -> None:
        """Play all ranks to their ends."""
        playing = [self._play(rank, steps) for rank, steps in enumerate(programs)]
        ready, events = self.ready, self.events
        while ready or events:
            if ready:
                next(playing[ready.popleft()], None)
            else:
                time_ps, kind, _, _, message = heappop(events)
                if kind == _LEAVE:
                    self.n_waiting[message.source] -= 1
                    self._leave(time_ps, message)
                else:
                    self._arrive(time_ps, message)
        left_over = self._left_over()
        if left_over:
            told = left_over if len(left_over) < 4 else [*left_over[:3], f"{len(left_over) - 3} more"]
            raise ValueError(
                f"scheduled_cost: got a schedule in which {' and '.join(told)}, expected every message to "
                "be sent and received; remedy: let a receive name the rank and the tag of its message, and let no rank "
                "wait before it sends what others wait for"
            )

    def _left_over(self) -> list[str]:
        """Return what waits when nothing can happen any more: first receives, then messages."""
        receives, messages = [], []
        for (rank, distance, tag), queue in self.channels.items():
            for message in queue:
                if message.posted_ps is not None:
                    receives.append(f"rank {rank} waits for rank {(rank + distance) % self.p} to send with tag {tag}")
                else:
                    source = message.source
                    to = (source - distance) % self.p
                    messages.append(f"rank {source} sends with tag {tag} what rank {to} never receives")
        return receives + messages

    def _play(self, rank: int, steps: Iterable[Step]) -> Generator[None, None, None]:
        now, depth, reduce_ps = self.now, self.depth, self.machine.network.reduce_ps
        late: list[_Message] = []
        for number, step in enumerate(steps):
            try:
                to, n_bytes, source, reduced, waits, tag = step
                dests = _listed(to)
                sizes = [n_bytes] * len(dests) if isinstance(n_bytes, int) else _listed(n_bytes)
                sent = [self._send(rank, dest, size, tag) for dest, size in zip(dests, sizes, strict=True)]
                coming = [self._receive(each, rank, tag) for each in _listed(source)]
                if reduced < 0:
                    raise ValueError
            except (TypeError, ValueError) as problem:
                raise type(problem)(
                    f"scheduled_cost: rank {rank}, step {number}: got {step!r:.200}, expected a Step with ranks from "
                    f"0 to {self.p - 1}, and 0 bytes or more for each destination; remedy: take ranks modulo "
                    f"{self.p}, and None for nobody"
                ) from problem
            for came in coming:
                while came.arrival_ps is None:
                    yield
                now[rank] = max(now[rank], came.arrival_ps) + self.overhead_ps
                depth[rank] = max(depth[rank], came.depth)
            if not waits:
                late += [message for message in sent if message.left_ps is None]
                sent = []
            for message in sent:
                while message.left_ps is None:
                    yield
                now[rank] = max(now[rank], message.left_ps)
            if reduced:
                now[rank] += reduce_ps(reduced)
        for message in late:
            while message.left_ps is None:
                yield
            now[rank] = max(now[rank], message.left_ps)

    def _send(self, rank: int, to: int, n_bytes: int, tag: int) -> _Message:
        if not (0 <= to < self.p and n_bytes >= 0):
            raise ValueError
        queue = self.channels[to % self.alike, (rank - to) % self.p, tag]
        message = queue.popleft() if queue and queue[0].offered_ps is None else _Message()
        self.sends[rank] += 1
        self.bytes_sent[rank] += n_bytes
        self.now[rank] = message.offered_ps = offered_ps = self.now[rank] + self.overhead_ps
        here, there, dest = self.machine.nodes[rank], self.machine.nodes[to], to % self.alike
        link = self.network.intra if here == there else self.network.inter
        is_through_node = self.through_nodes and here != there
        message.source, message.dest, message.out_port, message.in_port = rank, dest, rank, dest
        if is_through_node:
            message.out_port, message.in_port = self.alike + here, self.alike + self.machine.nodes[dest]
        message.latency_ps, message.transfer_ps = link.latency_ps, link.transfer_ps(n_bytes)
        message.number, message.depth = self.sends[rank], self.depth[rank] + 1
        if self.machine.is_eager(n_bytes):
            message.left_ps = offered_ps
            if self.n_waiting[rank] or is_through_node:
                self._queue(offered_ps, message)
            else:
                self._leave(offered_ps, message)
        else:
            self.n_waiting[rank] += 1
            if message.posted_ps is not None:
                self._handshake(message)
        if message.posted_ps is None:
            queue.append(message)
        return message

    def _receive(self, source: int, rank: int, tag: int) -> _Message:
        if not 0 <= source < self.p:
            raise ValueError
        queue = self.channels[rank, (source - rank) % self.p, tag]
        if queue and queue[0].offered_ps is not None:
            message = queue.popleft()
            message.posted_ps = self.now[rank]
            if message.left_ps is None:
                self._handshake(message)
        else:
            message = _Message()
            message.posted_ps = self.now[rank]
            queue.append(message)
        return message

    def _handshake(self, message: _Message) -> None:
        """Let a message that is not buffered ask for its port: both sides are ready."""
        self.n_waiting[message.source] -= 1
        self._queue(max(message.offered_ps or 0, message.posted_ps or 0), message)

    def _queue(self, time_ps: int, message: _Message) -> None:
        self.n_waiting[message.source] += 1
        heappush(self.events, (time_ps, _LEAVE, message.source, message.number, message))

    def _leave(self, time_ps: int, message: _Message) -> None:
        """Let a message take its out-port, as soon as that is free; its rank goes on when it has left."""
        if self.network.ports:
            time_ps = max(self.out_free[message.out_port], time_ps)
            self.out_free[message.out_port] = time_ps + message.transfer_ps
        if message.left_ps is None:
            message.left_ps = time_ps + message.transfer_ps
            self.ready.append(message.source)
        heappush(self.events, (time_ps + message.latency_ps, _ARRIVE, message.source, message.number, message))

    def _arrive(self, time_ps: int, message: _Message) -> None:
        """Let a message whose first byte is there take its in-port, as soon as that is free."""
        message.arrival_ps = time_ps + message.transfer_ps
        if self.network.ports:
            message.arrival_ps = max(self.in_free[message.in_port], time_ps) + message.transfer_ps
            self.in_free[message.in_port] = message.arrival_ps
        self.ready.append(message.dest)


def _listed(numbers: int | Iterable[int] | None) -> list[int]:
    if isinstance(numbers, int):
        return [numbers]
    return [] if numbers is None else [*map(index, numbers if isinstance(numbers, Iterable) else [numbers])]
