"""Who gets which message: the matching rules of MPI, free of scheduling.

Messages of one source, communicator and tag are taken in the order in which they were sent. A receive that
names its source has no choice and is matched as soon as both sides exist. A receive from ANY_SOURCE has one:
`wildcards.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from typing import Any

from ranks.messages.lane import Lane
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.messages.wildcards import Wildcards
from ranks.words.constants import ANY_SOURCE, ANY_TAG

Join = Callable[[Operation, Message], None]


class Context:
    """One communicator.

    number:   Its number in the run; that of the world is 0. A hidden one has the number of the one that it belongs to.
    boxes:    The mailboxes of its ranks, in order.
    ledgers:  What not all of its ranks have announced yet.
    join:     What starts the transfer of a matched message.
    size:     How many mailboxes it has.
    hidden:   The context of the same ranks for what collectives send, out of reach of the program's wildcards and
              tags; None until somebody asks for it.
    """

    __slots__ = ("boxes", "hidden", "join", "ledgers", "number", "size")

    def __init__(self, number: int, owners: Sequence[RankState], join: Join) -> None:
        self.number, self.join = number, join
        self.ledgers: dict[Any, Any] = {}
        self.hidden: Context | None = None
        self.boxes: list[Mailbox] = []
        self.size = len(owners)
        for owner in owners:
            box = Mailbox(owner, self)
            self.boxes.append(box)
            box.older, owner.box = owner.box, box


class Mailbox:
    """The messages and receives of one rank in one communicator that wait for each other.

    owner:    The rank.
    context:  The communicator.
    lanes:    The ways of messages from other ranks that were used or waited for, by source.
    wild:     What waits here for any source, or probes; None until something did for the first time.
    n_named:  How many receives are posted in its lanes.
    older:    The rank's mailbox in the communicator that it got before this one; None in its first.
    """

    __slots__ = ("context", "lanes", "n_named", "older", "owner", "wild")

    def __init__(self, owner: RankState, context: Context) -> None:
        self.owner, self.context = owner, context
        self.lanes: dict[int, Lane] = {}
        self.wild: Wildcards | None = None
        self.n_named = 0
        self.older: Mailbox | None = None

    def lane(self, source: int) -> Lane:
        """Return the lane from a rank of the communicator."""
        lane = self.lanes.get(source)
        if lane is None:
            lane = self.lanes[source] = Lane(self, source)
        return lane

    def watch(self) -> Wildcards:
        """Return what keeps the order of arrivals here; from the first time on each message is entered there."""
        if self.wild is None:
            self.wild = Wildcards(self)
            for lane in self.lanes.values():
                lane.direct = False
                self.wild.show_first(lane)
        return self.wild

    def receives(self) -> Iterable[Operation]:
        """Return the receives that are posted and unmatched, in posting order."""
        named = [lane.posted for lane in self.lanes.values() if lane.posted]
        named += [[lane.waiter] for lane in self.lanes.values() if lane.waiter is not None]
        return merge(*named, self.wild.posted if self.wild else (), key=lambda receive: receive.order)

    # -- messages that come ------------------------------------------------------------------------------------

    def put(self, lane: Lane, message: Message) -> None:
        """Give a message that was sent here to the first receive that fits, or keep it."""
        waiter = lane.waiter
        if waiter is not None and waiter.tag in (ANY_TAG, message.kind.tag):
            lane.waiter, lane.direct = None, self.wild is None
            if message.arrival is not None and message.sender is None:  # as `join` does, without the calls
                waiter.message, waiter.ready_ps = message, message.arrival
                waiter.waiting = 0
                self.owner.scheduler.ready.append(self.owner.greenlet)
            else:
                self.join(waiter, message)
            return
        if lane.posted:
            receive = self._taker(lane, message)
            if receive is not None:
                lane.forget(receive)
                self.join(receive, message)
                return
        lane.queue.append(message)
        if self.wild is not None:
            self.wild.notice(lane, message)

    def _taker(self, lane: Lane, message: Message) -> Operation | None:
        """Return the receive from this source that must have a new message."""
        for receive in lane.posted or ():
            if receive.takes(message):
                # An earlier wildcard may match it; and it must not overtake a message that is reserved for a wildcard.
                if self._wild_comes_first(receive, message) or (lane.queue and lane.first(receive.tag) is not None):
                    return None
                return receive
        return None

    def _wild_comes_first(self, receive: Operation, message: Message) -> bool:
        """Return whether a wildcard that was posted before a receive may have the message."""
        if self.wild is None:
            return False
        return any(wild.order < receive.order and wild.takes(message) for wild in self.wild.posted)

    # -- receives that are posted --------------------------------------------------------------------------------

    def post(self, receive: Operation, until_ps: float) -> None:
        """Match a new receive, or keep it until its message is sent.

        until_ps: the time from which on its rank itself may cause what comes next; infinite for one that waits.
        """
        wild = None
        if receive.peer == ANY_SOURCE:
            wild = self.wild or self.watch()
            message = wild.settled(receive.tag, until_ps)
        else:
            message = self.first(receive.peer, receive.tag)
            if message is not None and self.is_promised(message):
                message = None
        if message is not None:
            self.take(message)
            receive.message = message
            self.context.join(receive, message)
            return
        self.owner.n_posted += 1
        receive.order = self.owner.n_posted
        if wild is not None:
            wild.posted.append(receive)
            wild.consider(receive)
        else:
            self.lane(receive.peer).post(receive)

    def first(self, source: int, tag: int) -> Message | None:
        """Return the message that a receive with this source and tag must take, None if there is none yet."""
        lane = self.lanes.get(source)
        return lane.first(tag) if lane is not None else None

    def is_promised(self, message: Message, before: int | None = None) -> bool:
        """Return whether a posted receive may have the message; before: only receives of a lower order count."""
        named, wild = message.lane.posted, self.wild
        if not named and (wild is None or not wild.posted):
            return False
        return any(
            receive.takes(message) and (before is None or receive.order < before)
            for receives in (named or (), wild.posted if wild is not None else ())
            for receive in receives
        )

    def take(self, message: Message) -> None:
        """Remove a message from its queue."""
        lane = message.lane
        lane.queue.remove(message)
        message.taken = True
        if self.wild is not None and lane.queue:
            self.wild.show_first(lane)

    def withdraw(self, receive: Operation) -> None:
        """Take back a posted receive that is unmatched, and match those that it had kept from their message."""
        if receive.peer == ANY_SOURCE:
            self.watch().posted.remove(receive)
        else:
            self.lanes[receive.peer].forget(receive)
        self.rematch()

    def forget_receives(self) -> None:
        """Take back all receives: their rank is gone."""
        for lane in self.lanes.values():
            lane.posted = lane.waiter = None
            lane.direct = self.wild is None
        self.n_named = 0
        if self.wild is not None:
            self.wild.posted.clear()

    def rematch(self) -> None:
        """Match the receives that an earlier wildcard had kept from their message."""
        for receive in list(self.receives()) if self.n_named else ():
            if receive.peer == ANY_SOURCE:
                continue
            message = self.first(receive.peer, receive.tag)
            if message is not None and not self.is_promised(message, receive.order):
                message.lane.forget(receive)
                self.take(message)
                if message.arrival is not None:  # it was there before, and could be had only now
                    message.arrival = max(message.arrival, self.owner.scheduler.time_ps)
                self.join(receive, message)
        if self.wild is not None:
            self.wild.look()

    def on_offer(self, wish: Operation) -> list[Message]:
        """Return what a receive or probe may have, whatever the clock says: each source's first that fits.

        What an earlier receive may have is left to that one.
        """
        before = wish.order if wish.what == "receive" else None
        sources = self.lanes if wish.peer == ANY_SOURCE else [wish.peer]
        firsts = [self.first(source, wish.tag) for source in sources]
        return [message for message in firsts if message is not None and not self.is_promised(message, before)]

    def join(self, receive: Operation, message: Message) -> None:
        """Let `receive` have `message`, and start its transfer if it has waited for that."""
        receive.message = message
        message.taken = True
        self.context.join(receive, message)
