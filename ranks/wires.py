"""When messages leave and arrive: the clock of `network.py`, without ports and with them."""

from __future__ import annotations

import random
from heapq import heappush
from typing import TYPE_CHECKING, Any

from ranks.messages import Message

if TYPE_CHECKING:
    from ranks.world import World

# Kinds of events, in the order in which they happen at one time: messages first, so that a decision or a poll
# at that time sees them.
INJECT, ARRIVE, DECIDE, POLL = range(4)
# Kind, rank, number, and the message, mailbox or rank that it happens to; events of one time happen in this order.
Event = tuple[int, int, int, Any]


class Wires:
    """Messages that never wait for each other: the arrival is known when the message leaves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.network = world.network

    def set_costs(self, message: Message) -> None:
        """Look up L and n*G of the message's link, and draw its jitter."""
        network, source = self.network, message.origin.rank
        link = network.link(source, message.box.owner.rank)
        message.transfer_ps = message.n_bytes * link.fs_per_byte // 1000
        message.latency_ps = link.latency_ps
        if network.jitter_ps:
            draw = random.Random(f"{self.world.seed}/{source}/{message.number}")
            message.latency_ps += draw.randrange(network.jitter_ps + 1)

    def start(self, time_ps: int, message: Message) -> None:
        """Let a message leave at `time_ps`, as its sender is ready (eager) or both sides are (rendezvous)."""
        message.arrival = time_ps + message.latency_ps + message.transfer_ps
        if message.sender is not None:
            self.release(message, time_ps + message.transfer_ps)

    def release(self, message: Message, time_ps: int) -> None:
        """Complete the send of a rendezvous message whose last byte has left."""
        sender, message.sender = message.sender, None
        assert sender is not None
        sender.complete(time_ps)

    def inject(self, time_ps: int, events: list[Event]) -> None:
        """Without ports nothing waits for its turn to leave."""
        raise NotImplementedError

    def arrive(self, time_ps: int, events: list[Event]) -> None:
        """Without ports nothing waits for its turn to arrive."""
        raise NotImplementedError


class Port:
    """One direction of a rank's or a node's port: busy until `free_ps`."""

    __slots__ = ("free_ps",)

    def __init__(self) -> None:
        self.free_ps = 0


class Ports(Wires):
    """Messages that take turns at the out-port of their sender and the in-port of their receiver.

    A message leaves at once if its sender has no other one still waiting to leave: later sends of that rank
    come later. Otherwise, and at ports that ranks share, its turn is an event. Arrivals always are.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        for state in world.ranks:
            state.out_port, state.in_port = Port(), Port()
        self.shared = self.network.shared_node_port
        nodes = range(world.ranks[-1].node + 1 if self.shared else 0)
        self.node_out, self.node_in = [Port() for _ in nodes], [Port() for _ in nodes]

    def start(self, time_ps: int, message: Message) -> None:
        """Let a message take its turn at the out-port at `time_ps`."""
        origin, owner = message.origin, message.box.owner
        if origin is owner:
            if message.sender is not None:
                origin.backlog -= 1
            super().start(time_ps, message)
        elif message.sender is None and not origin.backlog and not (self.shared and origin.node != owner.node):
            self.leave(time_ps, message, origin.out_port, origin.rank)
        else:
            if message.sender is None:
                origin.backlog += 1
            self.world.schedule(time_ps, INJECT, origin.rank, message.number, message)

    def inject(self, time_ps: int, events: list[Event]) -> None:
        """Let messages that had to wait leave, when their turn has come."""
        for _, _, _, message in events:
            origin = message.origin
            origin.backlog -= 1
            between_nodes = self.shared and origin.node != message.box.owner.node
            port = self.node_out[origin.node] if between_nodes else origin.out_port
            self.leave(time_ps, message, port, origin.rank)

    def leave(self, time_ps: int, message: Message, port: Port, source: int) -> None:
        """Let a message leave through `port` as soon as it is free; `source` is its sender in the world."""
        begin_ps = port.free_ps if port.free_ps > time_ps else time_ps
        port.free_ps = begin_ps + message.transfer_ps
        if message.sender is not None:
            self.release(message, port.free_ps)
        # World.schedule, without the call: here a large simulation spends its time.
        begin_ps += message.latency_ps
        events = self.world.events.get(begin_ps)
        if events is None:
            self.world.events[begin_ps] = [(ARRIVE, source, message.number, message)]
            heappush(self.world.times, begin_ps)
        else:
            events.append((ARRIVE, source, message.number, message))

    def arrive(self, time_ps: int, events: list[Event]) -> None:
        """Let messages whose first bytes are there fill the in-port, and hand them to their receivers."""
        ready = self.world.ready
        for _, _, _, message in events:
            box = message.box
            owner = box.owner
            port = owner.in_port
            if self.shared and message.origin.node != owner.node:
                port = self.node_in[owner.node]
            begin_ps = port.free_ps if port.free_ps > time_ps else time_ps
            message.arrival = port.free_ps = begin_ps + message.transfer_ps
            if message.receiver is not None:
                ready.append(message.receiver.greenlet)
            elif message.receive is not None:
                receive, message.receive = message.receive, None
                receive.complete(message.arrival)
            elif box.heads is not None:
                box.notice(message)
