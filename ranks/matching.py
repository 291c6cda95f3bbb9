"""Who gets which message: the matching rules of MPI, free of scheduling.

Messages of one source, communicator and tag are taken in the order in which they were sent. A receive that
names its source has no choice and is matched as soon as both sides exist. A receive from ANY_SOURCE has one:
it waits until the scheduler says that nothing can arrive earlier any more (`Mailbox.decide`).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from types import CodeType
from typing import TYPE_CHECKING

from ranks.constants import ANY_SOURCE, ANY_TAG
from ranks.datatypes import Flat, typed_name
from ranks.errors import DatatypeMismatchError, RanksError, TruncationError

if TYPE_CHECKING:
    from ranks.world import RankState

# What an operation's owner is parked on: this operation and all its others, or the first of several.
ALL, ANY = 1, 2

# A mailbox remembers so many taken messages, and half of those that wait, before it makes its heap anew.
_KEPT = 64


class Message:
    """A message on its way or waiting in a mailbox.

    source: the rank of the communicator that sent it. flat: the data. number: which of its sender's messages
    it is. ready_ps: from when on the sender is ready. latency_ps, transfer_ps: L and n*G of its link.
    arrival: when the last byte is there (None until known). sender: the send operation of a rendezvous until
    it is complete. taken: whether it was matched. receive: the operation that has it, receiver: the rank that
    is parked for it, until it has arrived.
    """

    __slots__ = (
        "arrival", "box", "flat", "latency_ps", "number", "pickled", "ready_ps", "receive", "receiver",
        "sender", "source", "tag", "taken", "transfer_ps",
    )  # fmt: skip

    def __init__(self, box: Mailbox, source: int, tag: int, flat: Flat) -> None:
        self.box, self.source, self.tag, self.flat = box, source, tag, flat
        self.number = self.ready_ps = self.latency_ps = self.transfer_ps = 0
        self.taken = self.pickled = False
        self.arrival: int | None = None
        self.sender: Operation | None = None
        self.receive: Operation | None = None
        self.receiver: RankState | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the data."""
        return self.flat.nbytes

    @property
    def origin(self) -> RankState:
        """The rank that sent it."""
        return self.box.context.boxes[self.source].owner

    def visible_ps(self) -> int | None:
        """Return when its receiver can see it: when it has arrived, or when a rendezvous is offered."""
        return self.arrival if self.sender is None else self.ready_ps

    def retire(self) -> None:
        """Be of no use any more."""


class Operation:
    """A posted send, receive or probe (`what`): one side of a message.

    box: the mailbox where both sides meet. peer: the rank of the other side in the communicator. flat: the
    buffer (None for a receive of a pickled object, and for a probe). ready_ps: when it is complete (None
    until known). awaited: how its owner is parked on it. due_ps: when a wildcard's next decision is due.
    problem: why its message does not fit (error, got, expected, remedy). site: where it was posted, kept: what
    its buffer held then, of nonblocking ones.
    """

    __slots__ = (
        "awaited", "box", "due_ps", "flat", "kept", "message", "peer", "posted_ps", "problem", "ready_ps", "site",
        "state", "tag", "what",
    )  # fmt: skip

    def __init__(self, what: str, state: RankState, box: Mailbox, peer: int, tag: int, flat: Flat | None) -> None:
        self.what, self.state, self.box, self.peer, self.tag, self.flat = what, state, box, peer, tag, flat
        self.posted_ps = state.now
        self.awaited = 0
        self.ready_ps: int | None = None
        self.due_ps: int | None = None
        self.message: Message | None = None
        self.problem: tuple[type[RanksError], str, str, str] | None = None
        self.site: tuple[CodeType, int] | None = None
        self.kept: Flat | None = None

    def takes(self, message: Message) -> bool:
        """Return whether this receive or probe fits the message by source and tag."""
        return self.peer in (ANY_SOURCE, message.source) and self.tag in (ANY_TAG, message.tag)

    def complete(self, ready_ps: int) -> None:
        """Note when the operation is complete, and wake its rank if it waits for that."""
        self.ready_ps = ready_ps
        if self.awaited == ALL:
            self.state.world.ready.append(self.state.greenlet)
        elif self.awaited == ANY:
            self.state.world.decide_at(max(ready_ps, self.state.now), self.state)


# A heap's entry: when the message was there, its source, its number, itself.
Arrival = tuple[int, int, int, Message]


class Context:
    """One communicator: its number and the mailboxes of its ranks, in order."""

    __slots__ = ("boxes", "number")

    def __init__(self, number: int, owners: list[RankState]) -> None:
        self.number = number
        self.boxes = [Mailbox(owner, self) for owner in owners]


class Mailbox:
    """The messages and receives of one rank in one communicator that wait for each other.

    queues holds the messages that nobody has taken, by source, in the order sent; receives those posted and
    unmatched, in posting order; arrived the same messages as a heap by arrival, kept once a wildcard or a
    probe was posted; n_taken how many have been taken since the heap was made. wanted: the source of the message
    that the owner is parked for without having posted its receive.
    """

    __slots__ = ("arrived", "context", "n_taken", "owner", "probe", "queues", "receives", "wanted")

    def __init__(self, owner: RankState, context: Context) -> None:
        self.owner, self.context = owner, context
        self.queues: dict[int, list[Message]] = {}
        self.receives: list[Operation] = []
        self.probe: Operation | None = None
        self.arrived: list[Arrival] | None = None
        self.n_taken = 0
        self.wanted: int | None = None

    def put(self, message: Message) -> None:
        """Give a message that was sent here to the first receive that fits, or keep it."""
        for receive in self.receives:
            if receive.takes(message):
                # An earlier message that fits too is being kept for a wildcard; this one may not overtake it.
                if receive.peer == ANY_SOURCE or self.first(message.source, receive.tag) is not None:
                    break
                self.receives.remove(receive)
                self.join(receive, message)
                return
        queue = self.queues.get(message.source)
        if queue is None:
            self.queues[message.source] = [message]
        else:
            queue.append(message)
        if self.arrived is not None:
            self.notice(message)
        if self.wanted == message.source:
            self.wake()

    def wake(self) -> None:
        """Let the owner, who is parked for a message, see the one that has come."""
        self.wanted = None
        self.owner.world.ready.append(self.owner.greenlet)

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
        if receive.peer == ANY_SOURCE:
            self.consider(receive)

    def settled(self, source: int, tag: int, until_ps: float) -> Message | None:
        """Return the message that a receive posted now must take, None if that is open yet.

        For a wildcard it is settled once a message is here and nothing can become visible before it any more. A rank
        that goes on could still cause that itself, from its own time `until_ps` on; one that waits cannot.
        """
        if self.receives:
            return None
        if source != ANY_SOURCE:
            return self.first(source, tag)
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
        for message in self.queues.get(source, ()):
            if tag in (ANY_TAG, message.tag):
                return message
        return None

    def earliest(self, tag: int) -> Message | None:
        """Return the visible message that a wildcard would take: earliest first, ties by source.

        Only the first of each source that has the tag is eligible. The heap's top nearly always is.
        """
        heap = self.arrived
        assert heap is not None
        while heap and self._has_lost(heap[0]):
            heappop(heap)
        if heap:
            top = heap[0][3]
            if tag in (ANY_TAG, top.tag) and self.queues[top.source][0] is top:
                return top
        firsts = (self.first(source, tag) for source in self.queues)
        visible = [(m.visible_ps(), m.source, m) for m in firsts if m is not None and m.visible_ps() is not None]
        return min(visible, key=lambda entry: entry[:2])[2] if visible else None

    def take(self, message: Message) -> None:
        """Remove a message from its queue."""
        self.queues[message.source].remove(message)
        if self.arrived is not None:
            self.n_taken += 1
            if self.n_taken > _KEPT + len(self.arrived) // 2:
                self.arrived = [entry for entry in self.arrived if not self._has_lost(entry)]
                heapify(self.arrived)
                self.n_taken = 0

    def _has_lost(self, entry: Arrival) -> bool:
        """Return whether the message of a heap entry was taken, and perhaps used again since."""
        _, source, number, message = entry
        return message.taken or number != message.number or source != message.source or message.box is not self

    def withdraw(self, receive: Operation) -> None:
        """Take back a posted receive that is unmatched, and match those that it had kept from their message."""
        self.receives.remove(receive)
        self._rematch()

    def watch(self) -> None:
        """From now on keep the messages by arrival too, for wildcards."""
        if self.arrived is None:
            self.arrived = []
            for queue in self.queues.values():
                for message in queue:
                    visible_ps = message.visible_ps()
                    if visible_ps is not None:
                        heappush(self.arrived, (visible_ps, message.source, message.number, message))

    def notice(self, message: Message) -> None:
        """Tell the wildcards and the probe of this box that a message became visible."""
        visible_ps = message.visible_ps()
        if visible_ps is None:
            return
        if self.arrived is not None:
            heappush(self.arrived, (visible_ps, message.source, message.number, message))
            for receive in self.receives:
                if receive.peer == ANY_SOURCE and receive.takes(message):
                    self._decide_at(max(receive.posted_ps, visible_ps), receive)
        probe = self.probe
        if probe is not None and probe.takes(message):
            if probe.peer == ANY_SOURCE:
                self.consider(probe)
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
        self.receives.remove(wild)
        self.take(message)
        self.join(wild, message)
        self._rematch()

    def on_offer(self, wish: Operation) -> list[Message]:
        """Return what a receive or probe may have, whatever the clock says: each source's first that fits.

        What an earlier receive may have is left to that one.
        """
        earlier = self.receives[: self.receives.index(wish)] if wish in self.receives else self.receives
        sources = self.queues if wish.peer == ANY_SOURCE else [wish.peer]
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
                self.receives.remove(receive)
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
