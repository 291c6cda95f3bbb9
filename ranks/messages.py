"""What is sent: messages on their way, and the posted sends, receives and probes that are their two sides."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING

from ranks.constants import ANY_SOURCE, ANY_TAG
from ranks.datatypes import Flat
from ranks.errors import RanksError

if TYPE_CHECKING:
    from ranks.matching import Mailbox
    from ranks.world import RankState

# What an operation's owner is parked on: this operation and all its others, or the first of several.
ALL, ANY = 1, 2


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

    def leave_lane(self) -> None:
        """Be received the long way."""

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
