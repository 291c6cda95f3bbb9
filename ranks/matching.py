"""Who gets which message: the matching rules of MPI, free of scheduling.

Messages of one source, communicator and tag are taken in the order in which they were sent. A receive that
names its source has no choice and is matched as soon as both sides exist. A receive from ANY_SOURCE has one:
it waits until the scheduler says that nothing can arrive earlier any more (`Mailbox.decide`).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from ranks.constants import ANY_SOURCE, ANY_TAG
from ranks.datatypes import typed_name
from ranks.errors import DatatypeMismatchError, RanksError, TruncationError
from ranks.lanes import Lane
from ranks.messages import Message, Operation

if TYPE_CHECKING:
    from ranks.agreement import Ledger
    from ranks.world import RankState

# A mailbox keeps so many entries in its heap, and two for each source, before it makes the heap anew.
_KEPT = 64


class Context:
    """One communicator: its number, the mailboxes of its ranks, in order, and what not all of them announced yet."""

    __slots__ = ("boxes", "ledgers", "number")

    def __init__(self, number: int, owners: list[RankState]) -> None:
        self.number = number
        self.ledgers: dict[Any, Ledger] = {}
        self.boxes = [Mailbox(owner, self) for owner in owners]


class Mailbox:
    """The messages and receives of one rank in one communicator that wait for each other.

    lanes holds the messages that nobody has taken, by source; receives those posted and unmatched, in posting
    order. heads is there once a wildcard or a probe was posted: a heap of (when it became visible, source) for the
    first message of each source, as soon as it is visible; entries may be out of date. alert: whether a message that
    is sent, or taken, concerns more than its lane: there are receives or heads. awaited: the rank whose first message
    the owner is parked for without having posted its receive.
    """

    __slots__ = ("alert", "awaited", "context", "heads", "lanes", "owner", "probe", "receives")

    def __init__(self, owner: RankState, context: Context) -> None:
        self.owner, self.context = owner, context
        self.lanes: dict[int, Lane] = {}
        self.receives: list[Operation] = []
        self.probe: Operation | None = None
        self.heads: list[tuple[int, int]] | None = None
        self.alert = False
        self.awaited: int | None = None

    def lane(self, source: int) -> Lane:
        """Return the lane from a rank of the communicator."""
        lane = self.lanes.get(source)
        if lane is None:
            lane = self.lanes[source] = Lane(self, source)
            if source == self.awaited:
                lane.waiter, self.awaited = self.owner.greenlet, None
        return lane

    def put(self, message: Message) -> None:
        """Give a message that was sent here to the first receive that fits, or keep it."""
        for receive in self.receives:
            if receive.takes(message):
                # An earlier message that fits too is being kept for a wildcard; this one may not overtake it.
                if receive.peer == ANY_SOURCE or self.first(message.source, receive.tag) is not None:
                    break
                self._forget(receive)
                self.join(receive, message)
                return
        lane = self.lanes.get(message.source) or self.lane(message.source)
        lane.queue.append(message)
        if self.heads is not None:
            self.notice(message)
        if lane.waiter is not None:
            self.owner.world.ready.append(lane.waiter)
            lane.waiter = None
        lane.is_watched = self.alert

    def post(self, receive: Operation) -> None:
        """Match a new receive, or keep it until its message is sent."""
        if receive.peer == ANY_SOURCE:
            self.watch()
            message = self.settled(ANY_SOURCE, receive.tag, receive.posted_ps)
        else:
            message = self.first(receive.peer, receive.tag)
            if message is not None and any(earlier.takes(message) for earlier in self.receives):
                message = None
        if message is not None:
            self.take(message)
            self.join(receive, message)
            return
        self.receives.append(receive)
        self.alert = True
        if receive.peer != ANY_SOURCE:
            self.lane(receive.peer).is_watched = True
        if receive.peer == ANY_SOURCE:
            self.consider(receive)

    def _forget(self, receive: Operation) -> None:
        """Take a posted receive off the list."""
        self.receives.remove(receive)
        self.alert = bool(self.receives) or self.heads is not None

    def settled(self, source: int, tag: int, until_ps: float) -> Message | None:
        """Return the message that a receive posted now must take, None if that is open yet.

        For a wildcard it is settled once a message is here and nothing can become visible before it any more. A rank
        that goes on could still cause that itself, from its own time `until_ps` on; one that waits cannot.
        """
        if self.receives:
            return None
        if source != ANY_SOURCE:
            return self.first(source, tag)
        if self.owner.world.ready:  # whoever runs may cause anything
            return None
        message = self.earliest(tag)
        if message is None:
            return None
        visible_ps = message.visible_ps()
        assert visible_ps is not None
        return message if visible_ps <= until_ps and self.owner.world.is_past(visible_ps) else None

    def post_probe(self, probe: Operation) -> None:
        """Complete a blocking probe when its message is visible; its rank has no other one."""
        self.probe = probe
        self.watch()
        if probe.peer == ANY_SOURCE:
            self.consider(probe)
        else:
            self._look(probe)

    def first(self, source: int, tag: int) -> Message | None:
        """Return the message that a receive with this source and tag must take, None if there is none yet."""
        if source in self.lanes:
            for message in self.lanes[source].queue:
                if tag in (ANY_TAG, message.tag):
                    return message
        return None

    def earliest(self, tag: int) -> Message | None:
        """Return the visible message that a wildcard would take: earliest first, ties by source.

        Only the first of each source that has the tag is eligible. The heap's top nearly always is.
        """
        heads, lanes = self.heads, self.lanes
        assert heads is not None
        while heads:
            visible_ps, source = heads[0]
            queue = lanes[source].queue
            if queue and queue[0].visible_ps() == visible_ps:
                if tag in (ANY_TAG, queue[0].tag):
                    return queue[0]
                break
            heappop(heads)
        firsts = (self.first(source, tag) for source in lanes)
        visible = [(m.visible_ps(), m.source, m) for m in firsts if m is not None and m.visible_ps() is not None]
        return min(visible, key=lambda entry: entry[:2])[2] if visible else None

    def take(self, message: Message) -> None:
        """Remove a message from its queue."""
        lane = self.lanes[message.source]
        lane.queue.remove(message)
        if self.heads is not None:
            self.show_first(lane)

    def show_first(self, lane: Lane) -> None:
        """Enter a lane's first message into `heads`, if it is visible."""
        heads = self.heads
        assert heads is not None
        visible_ps = lane.queue[0].visible_ps() if lane.queue else None
        if visible_ps is None:
            return
        heappush(heads, (visible_ps, lane.source))
        if len(heads) > _KEPT + 2 * len(self.lanes):
            heads[:] = {(seen, source) for seen, source in heads if self._is_first(seen, source)}
            heapify(heads)

    def _is_first(self, visible_ps: int, source: int) -> bool:
        queue = self.lanes[source].queue
        return bool(queue) and queue[0].visible_ps() == visible_ps

    def withdraw(self, receive: Operation) -> None:
        """Take back a posted receive that is unmatched, and match those that it had kept from their message."""
        self._forget(receive)
        self._rematch()

    def watch(self) -> None:
        """From now on keep the messages by arrival too, for wildcards."""
        if self.heads is None:
            self.heads, self.alert = [], True
            for lane in self.lanes.values():
                lane.is_watched = True
                self.show_first(lane)

    def notice(self, message: Message) -> None:
        """Tell the wildcards and the probe of this box that a message became visible."""
        visible_ps = message.visible_ps()
        if visible_ps is None:
            return
        if self.heads is not None:
            lane = self.lanes[message.source]
            if lane.queue and lane.queue[0] is message:
                self.show_first(lane)
            for receive in self.receives:
                if receive.peer == ANY_SOURCE and receive.takes(message):
                    self._decide_at(max(receive.posted_ps, visible_ps), receive)
        probe = self.probe
        if probe is not None and probe.takes(message):
            if probe.peer == ANY_SOURCE:
                self._decide_at(max(probe.posted_ps, visible_ps), probe)
            else:
                self._look(probe)

    def _look(self, probe: Operation) -> None:
        """Complete a probe that names its source, unless its message may go to a receive posted earlier."""
        message = self.first(probe.peer, probe.tag)
        if message is None or message.visible_ps() is None:
            return
        if not any(receive.takes(message) for receive in self.receives):
            self.found(probe, message)

    def found(self, probe: Operation, message: Message) -> None:
        """Complete the probe of this box: it sees `message`."""
        self.probe = None
        probe.message = message
        visible_ps = message.visible_ps()
        assert visible_ps is not None
        probe.complete(max(probe.posted_ps, visible_ps, self.owner.world.time_ps))

    def consider(self, wild: Operation) -> None:
        """Ask for a decision at the time at which a wildcard could be matched, as far as is known now."""
        found = self._candidate(wild)
        if found is not None:
            self._decide_at(found[1], wild)

    def _candidate(self, wild: Operation) -> tuple[Message, int] | None:
        """Return the message that a wildcard would take, as far as is known now, and from when on it could."""
        message = self.earliest(wild.tag)
        if message is None:
            return None
        visible_ps = message.visible_ps()
        assert visible_ps is not None
        return message, max(wild.posted_ps, visible_ps)

    def _decide_at(self, due_ps: int, wild: Operation) -> None:
        """Ask for a decision at `due_ps`, unless one is due earlier anyway."""
        if wild.due_ps is None or due_ps < wild.due_ps:
            wild.due_ps = due_ps
            self.owner.world.decide_at(due_ps, self)

    def decide(self, time_ps: int) -> None:
        """Match the wildcards that can be matched at `time_ps`: nothing can become visible earlier."""
        wilds = [r for r in self.receives if r.peer == ANY_SOURCE]
        for wild in wilds:
            message = self._due(wild, time_ps)
            if message is not None:
                self.match(wild, message)
        if self.probe is not None and self.probe.peer == ANY_SOURCE:
            message = self._due(self.probe, time_ps)
            if message is not None:
                self.found(self.probe, message)

    def match(self, wild: Operation, message: Message) -> None:
        """Let a posted wildcard have a message that waits here."""
        self._forget(wild)
        self.take(message)
        self.join(wild, message)
        self._rematch()

    def on_offer(self, wish: Operation) -> list[Message]:
        """Return what a receive or probe may have, whatever the clock says: each source's first that fits.

        What an earlier receive may have is left to that one.
        """
        earlier = self.receives[: self.receives.index(wish)] if wish in self.receives else self.receives
        sources = self.lanes if wish.peer == ANY_SOURCE else [wish.peer]
        firsts = [self.first(source, wish.tag) for source in sources]
        return [m for m in firsts if m is not None and not any(receive.takes(m) for receive in earlier)]

    def _due(self, wild: Operation, time_ps: int) -> Message | None:
        wild.due_ps = None
        found = self._candidate(wild)
        if found is None:
            return None
        message, due_ps = found
        if due_ps <= time_ps:
            return message
        self._decide_at(due_ps, wild)
        return None

    def _rematch(self) -> None:
        """Match the receives that an earlier wildcard had kept from their message."""
        for index, receive in enumerate(list(self.receives)):
            if receive.peer == ANY_SOURCE:
                continue
            message = self.first(receive.peer, receive.tag)
            earlier = self.receives[: self.receives.index(receive)] if index else []
            if message is not None and not any(other.takes(message) for other in earlier):
                self._forget(receive)
                self.take(message)
                if message.arrival is not None:  # it was there before, and could be had only now
                    message.arrival = max(message.arrival, self.owner.world.time_ps)
                self.join(receive, message)
        if self.probe is not None and self.probe.peer != ANY_SOURCE:
            self._look(self.probe)

    def join(self, receive: Operation, message: Message) -> None:
        """Let `receive` have `message`: check, copy, and find out when both sides are complete."""
        receive.message = message
        message.taken = True
        message.leave_lane()
        into, came = receive.flat, message.flat
        if into is not None and into.dtype is came.dtype and into.size == came.size:
            into[...] = came
        else:
            receive.problem = misfit(receive, message)
            if receive.problem is None and into is not None:
                into[: came.size] = came
        if message.sender is not None:
            self.owner.world.handshake(message, receive.posted_ps)
        if message.arrival is not None:
            receive.complete(message.arrival)
        else:
            message.receive = receive


def misfit(receive: Operation, message: Message) -> tuple[type[RanksError], str, str, str] | None:
    """Return why a matched message cannot go into the receive's buffer: (error, got, expected, remedy)."""
    flat, came = receive.flat, message.flat
    sent = f"from rank {message.source}, tag {message.tag}"
    if flat is None:
        if message.pickled:
            return None
        got = f"a buffer of {typed_name(came.dtype, message.n_bytes)} {sent}"
        return DatatypeMismatchError, got, "a pickled object", "receive it with Recv, or send it with send"
    if flat.dtype != came.dtype:
        got = f"{typed_name(came.dtype, message.n_bytes)} {sent}"
        return DatatypeMismatchError, got, f"{flat.dtype.name}", "use one dtype on both sides"
    if came.size > flat.size:
        got = f"{typed_name(came.dtype, message.n_bytes)} {sent}"
        expected = f"at most {typed_name(flat.dtype, flat.nbytes)}"
        return TruncationError, got, expected, "receive into a larger buffer, or Probe for the size first"
    return None
