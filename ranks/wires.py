"""When messages leave and arrive: the clock of `network.py`, without ports and with them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ranks.matching import Message

if TYPE_CHECKING:
    from ranks.world import World

# Kinds of events, in the order in which they happen at one time: messages first, so that a decision or a poll
# at that time sees them.
INJECT, ARRIVE, DECIDE, POLL = range(4)


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

    def inject(self, time_ps: int, message: Message) -> None:
        """Without ports nothing waits for its turn to leave."""
        raise NotImplementedError

    def arrive(self, time_ps: int, message: Message) -> None:
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

    def inject(self, time_ps: int, message: Message) -> None:
        """Let a message that had to wait leave, when its turn has come."""
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
        self.world.schedule(begin_ps + message.latency_ps, ARRIVE, source, message.number, message)

    def arrive(self, time_ps: int, message: Message) -> None:
        """Let a message whose first byte is there fill the in-port, and hand it to its receiver."""
        owner = message.box.owner
        port = owner.in_port
        if self.shared and message.origin.node != owner.node:
            port = self.node_in[owner.node]
        begin_ps = port.free_ps if port.free_ps > time_ps else time_ps
        message.arrival = port.free_ps = begin_ps + message.transfer_ps
        if message.receiver is not None:
            self.world.ready.append(message.receiver.greenlet)
        elif message.receive is not None:
            receive, message.receive = message.receive, None
            receive.complete(message.arrival)
        elif message.box.arrived is not None:
            message.box.notice(message)
