"""When messages leave and arrive: the clock of `network/model.py`, without ports and with them."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush

from ranks.engine.events import ARRIVE, INJECT, Event
from ranks.engine.rank import ALL
from ranks.engine.scheduler import Scheduler
from ranks.messages.message import TRAFFIC_SHIFT, Message
from ranks.messages.rank import RankState


class Wires:
    """Messages that never wait for each other: the arrival is known when the message leaves."""

    def offer(self, origin: RankState) -> None:
        """Hear that a rank offers a message by rendezvous."""

    def withdraw(self, origin: RankState) -> None:
        """Hear that a rank takes back what it has offered."""

    def start(self, time_ps: int, message: Message) -> None:
        """Let a message leave at `time_ps`, as its sender is ready (buffered) or both sides are (rendezvous)."""
        message.arrival = time_ps + message.latency_ps + message.transfer_ps
        if message.sender is not None:
            release(message, time_ps + message.transfer_ps)


def release(message: Message, time_ps: int) -> None:
    """Complete the send of a rendezvous message whose last byte has left."""
    sender, message.sender = message.sender, None
    assert sender is not None
    sender.complete(time_ps)


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

    def __init__(self, scheduler: Scheduler, ranks: Sequence[RankState], *, shared: bool) -> None:
        self.scheduler, self.shared = scheduler, shared
        for state in ranks:
            state.out_port, state.in_port = Port(), Port()
        nodes = range(ranks[-1].node + 1 if shared else 0)
        self.node_out, self.node_in = [Port() for _ in nodes], [Port() for _ in nodes]

    def offer(self, origin: RankState) -> None:
        """Let later messages of a rank wait for their turn behind what it offers."""
        origin.backlog += 1

    def withdraw(self, origin: RankState) -> None:
        """Let later messages leave without what was taken back."""
        origin.backlog -= 1

    def depart(self, message: Message, now: int) -> bool:
        """Let a message leave as its sender is ready; return False: it is queued too."""
        lane = message.lane
        origin = lane.sender
        message.number, message.ready_ps, message.arrival = origin.sent >> TRAFFIC_SHIFT, now, None
        if message.sender is not None:
            origin.backlog += 1
        elif origin.backlog or origin is lane.box.owner:
            self.start(now, message)
        else:
            self.leave(now, message, origin.out_port, origin.rank)
        return False

    def start(self, time_ps: int, message: Message) -> None:
        """Let a message take its turn at the out-port at `time_ps`."""
        origin, owner = message.origin, message.owner
        if origin is owner:
            if message.sender is not None:
                origin.backlog -= 1
            super().start(time_ps, message)
        elif message.sender is None and not origin.backlog and not (self.shared and origin.node != owner.node):
            self.leave(time_ps, message, origin.out_port, origin.rank)
        else:
            if message.sender is None:
                origin.backlog += 1
            self.scheduler.schedule(time_ps, INJECT, origin.rank, message.number, message)

    def inject(self, time_ps: int, events: list[Event]) -> None:
        """Let messages that had to wait leave, when their turn has come."""
        for _, _, _, message in events:
            origin = message.origin
            origin.backlog -= 1
            between_nodes = self.shared and origin.node != message.owner.node
            port = self.node_out[origin.node] if between_nodes else origin.out_port
            self.leave(time_ps, message, port, origin.rank)

    def leave(self, time_ps: int, message: Message, port: Port, source: int) -> None:
        """Let a message leave through `port` as soon as it is free; `source` is its sender in the world."""
        begin_ps = port.free_ps if port.free_ps > time_ps else time_ps
        port.free_ps = begin_ps + message.transfer_ps
        if message.sender is not None:
            release(message, port.free_ps)
        # This is Scheduler.schedule without the call, because a large simulation spends its time here.
        begin_ps += message.latency_ps
        events = self.scheduler.events.get(begin_ps)
        if events is None:
            self.scheduler.events[begin_ps] = [(ARRIVE, source, message.number, message)]
            heappush(self.scheduler.times, begin_ps)
        else:
            events.append((ARRIVE, source, message.number, message))

    def arrive(self, time_ps: int, events: list[Event]) -> None:
        """Let messages whose first bytes are there fill the in-port, and hand them to their receivers."""
        for _, _, _, message in events:
            lane = message.lane
            box = lane.box
            owner = box.owner
            port = owner.in_port
            if self.shared and lane.sender.node != owner.node:
                port = self.node_in[owner.node]
            begin_ps = port.free_ps if port.free_ps > time_ps else time_ps
            message.arrival = port.free_ps = begin_ps + message.transfer_ps
            receive = message.receive
            if receive is not None:
                message.receive = None
                if receive.waiting == ALL:  # as `complete` does, without the call
                    receive.waiting, receive.ready_ps = 0, message.arrival
                    self.scheduler.ready.append(receive.state.greenlet)
                else:
                    receive.complete(message.arrival)
            elif box.wild is not None:
                box.wild.notice(lane, message)
