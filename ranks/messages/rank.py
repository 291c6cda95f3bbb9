"""A rank as its messages know it: what it has sent and received, and what it has under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranks.engine.rank import FIRST, Rank
from ranks.engine.scheduler import Scheduler
from ranks.messages.message import TRAFFIC_SHIFT
from ranks.messages.operation import Operation


class RankState(Rank):
    """A rank that sends and receives.

    scheduler: The scheduler of its run.
    sent, received: Its traffic so far: messages << TRAFFIC_SHIFT, plus bytes.
    backlog:   Messages that have yet to take their turn at its out-port.
    n_posted:  How many of its receives have had to wait for their message, by which they know their order.
    box:       Its mailbox in the communicator that it got last; `boxes` are all that it has.
    open:      Its nonblocking operations whose requests are not finished; None before the first.
    receiving: The operation that it uses for its blocking receives, one after the other.
    in_port, out_port: The ports of its network, if that has some.
    """

    __slots__ = (
        "backlog", "box", "in_port", "n_posted", "open", "out_port", "received", "receiving", "scheduler", "sent",
    )  # fmt: skip

    def __init__(self, rank: int, node: int, seed: int) -> None:
        super().__init__(rank, node, seed)
        self.sent = self.received = self.backlog = self.n_posted = 0
        self.box: Any = None
        self.open: dict[Operation, None] | None = None
        self.receiving: Any = None
        self.in_port: Any = None
        self.out_port: Any = None
        self.scheduler: Scheduler

    @property
    def boxes(self) -> list[Any]:
        """Its mailboxes, one in each of its communicators, latest first."""
        found, box = [], self.box
        while box is not None:
            found.append(box)
            box = box.older
        return found

    @property
    def sends(self) -> int:
        """How many messages it has sent."""
        return self.sent >> TRAFFIC_SHIFT

    @property
    def receives(self) -> int:
        """How many messages it has received."""
        return self.received >> TRAFFIC_SHIFT

    @property
    def bytes_sent(self) -> int:
        """How many bytes it has sent."""
        return self.sent % (1 << TRAFFIC_SHIFT)

    @property
    def bytes_received(self) -> int:
        """How many bytes it has received."""
        return self.received % (1 << TRAFFIC_SHIFT)

    def progress(self) -> tuple[int, int]:
        """Return what changes with all that the rank does but to poll and to work."""
        return self.sent, self.received

    def awaited(self) -> Sequence[Any]:
        """Return what the rank waits for while it is parked: what it said, or the message of a blocking receive."""
        is_receiving = self.receiving is not None and self.receiving.waiting
        return self.awaits or ((self.receiving,) if is_receiving else ())

    def next_ps(self, after_ps: int) -> int | None:
        """Return when the next thing that is on its way to this rank will be there, as far as known."""
        times = [message.visible_ps() for box in self.boxes for lane in box.lanes.values() for message in lane.queue]
        times += [operation.ready_ps for operation in self.open or ()]
        return min((time_ps for time_ps in times if time_ps is not None and time_ps > after_ps), default=None)

    def decide(self, time_ps: int) -> None:
        """Wake the rank from waiting for the first of several operations, if it still does."""
        if self.enough == FIRST and any(o.ready_ps is not None and o.ready_ps <= time_ps for o in self.awaits):
            self.awaits = ()
            self.scheduler.ready.append(self.greenlet)
