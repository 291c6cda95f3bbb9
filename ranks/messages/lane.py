"""The way of messages from one rank of a communicator to another."""

from __future__ import annotations

from typing import Any

from ranks.messages.message import Kind, Message
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.words.constants import ANY_TAG

# Equal to the kind of no buffer, so the first message of a lane always determines its kind.
NO_KIND = Kind(None, -1, -1)


class Lane:
    """The way of messages from one rank of a communicator to another, which both of them know.

    box:     The mailbox of the rank that receives.
    source:  The rank of the communicator that sends; `sender` is its state.
    queue:   The messages that nobody has taken, in the order sent.
    posted:  The receives from this source that have no message yet, in the order posted; None before the first.
    waiter:  The receive that the other rank is blocked in, if nothing else was posted here; None otherwise.
    direct:  Whether a message that comes can only be queued: no receive and no wildcard waits for it.
    kind:    The kind of the latest message, if a standard send of one is buffered.
    """

    __slots__ = ("box", "direct", "kind", "posted", "queue", "sender", "source", "waiter")

    def __init__(self, box: Any, source: int) -> None:
        self.box, self.source = box, source
        self.sender: RankState = box.context.boxes[source].owner
        self.queue: list[Message] = []
        self.posted: list[Operation] | None = None
        self.waiter: Operation | None = None
        self.direct = box.wild is None
        self.kind: Any = NO_KIND

    def first(self, tag: int) -> Message | None:
        """Return the message that a receive with this tag must take, None if there is none yet."""
        for message in self.queue:
            if tag in (ANY_TAG, message.kind.tag):
                return message
        return None

    def post(self, receive: Operation) -> None:
        """Keep a receive until its message is sent."""
        if self.posted is None:
            self.posted = []
        self.posted.append(receive)
        self.box.n_named += 1
        self.direct = False

    def forget(self, receive: Operation) -> None:
        """Take a posted receive off the list."""
        assert self.posted is not None
        self.posted.remove(receive)
        self.box.n_named -= 1
        self.direct = not self.posted and self.box.wild is None
