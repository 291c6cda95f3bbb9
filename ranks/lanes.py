"""Lanes, in which messages wait for their receivers, and the messages of the short way (`quick.py`)."""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ranks.constants import TAG_UB
from ranks.datatypes import WIRE_DTYPES, Flat
from ranks.messages import Message
from ranks.network import Link

if TYPE_CHECKING:
    from ranks.matching import Mailbox

# So many kinds of messages are remembered before all are forgotten: a program may use ever new tags.
_REMEMBERED = 4096
# So many messages of a kind are kept to be used again.
_FREE = 1024


class Kind:
    """What messages of a run have in common: `n_bytes` of `dtype` under `tag`, over a link of one class.

    free: messages that were received and are used again by whoever sends one of the kind next: it is still in cache.
    """

    __slots__ = ("dtype", "free", "link", "n_bytes", "tag", "transfer_ps", "wire_ps")

    def __init__(self, dtype: np.dtype[Any], n_bytes: int, tag: int, link: Link) -> None:
        self.dtype, self.n_bytes, self.tag, self.link = dtype, n_bytes, tag, link
        self.transfer_ps = link.transfer_ps(n_bytes)
        self.wire_ps = link.latency_ps + self.transfer_ps
        self.free: deque[Staged] = deque(maxlen=_FREE)


class Kinds(dict[tuple[int, int, Any, int, int], Kind]):
    """All kinds of a run that are remembered; messages up to `limit` bytes go the short way."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def find(self, link: Link, dtype: Any, n_bytes: int, tag: Any) -> Kind:
        """Return a kind; TypeError if such messages have to go the long way."""
        key = (link.latency_ps, link.fs_per_byte, dtype, n_bytes, tag)
        kind = self.get(key)
        if kind is None:
            good = 0 <= tag <= TAG_UB and isinstance(dtype, np.dtype) and dtype in WIRE_DTYPES
            if not good or n_bytes > self.limit:
                raise TypeError
            if len(self) >= _REMEMBERED:
                self.clear()
            kind = self[key] = Kind(dtype, n_bytes, tag, link)
        return kind


class Lane:
    """The way of messages from one rank of a communicator to another, which both of them know.

    queue: the messages that nobody has taken, in the order sent. is_watched: whether a message is more than the next
    in the queue, because of posted receives or wildcards. waiter: the receiver's greenlet if it is parked for the next
    message without having posted a receive. kind: that of the latest message of the short way; n_sent: how many of
    that kind went here that the counts of the two ranks do not have yet.
    """

    __slots__ = ("box", "is_watched", "kind", "n_sent", "queue", "source", "waiter")

    def __init__(self, box: Mailbox, source: int) -> None:
        self.box, self.source = box, source
        self.queue: list[Message] = []
        self.is_watched = box.alert
        self.waiter: Any = None
        self.kind, self.n_sent = NO_KIND, 0

    def change_kind(self, buf: Any, dest: Any, tag: Any) -> Kind:
        """Return the kind of the next message; TypeError if it has to go the long way."""
        if type(dest) is not int or type(tag) is not int:
            raise TypeError
        self.tally()
        receiver, sender = self.box.owner, self.box.context.boxes[self.source].owner
        link = sender.world.network.link(sender.rank, receiver.rank)
        self.kind = sender.world.kinds.find(link, buf.dtype, buf.nbytes, tag)
        return self.kind

    def tally(self) -> None:
        """Enter the messages sent since the last time into the counts of both ranks: all are going to be received."""
        n_sent, self.n_sent = self.n_sent, 0
        n_bytes = n_sent * self.kind.n_bytes
        sender, receiver = self.box.context.boxes[self.source].owner, self.box.owner
        sender.sends += n_sent
        sender.bytes_sent += n_bytes
        receiver.receives += n_sent
        receiver.bytes_received += n_bytes


class Staged(Message):
    """A message of the short way, in the file `stage`: to write and to read it checks that a buffer is in one piece."""

    __slots__ = ("kind", "stage")

    def __init__(self, kind: Kind) -> None:
        # Message.__init__, but for what its sender will say: thousands may be on their way.
        self.kind, self.tag, self.stage = kind, kind.tag, BytesIO()
        self.latency_ps, self.transfer_ps = kind.link.latency_ps, kind.transfer_ps
        self.number = self.ready_ps = 0
        self.taken = self.pickled = False
        self.arrival = self.sender = self.receive = self.receiver = None

    @property
    def flat(self) -> Flat:
        """A copy of the data."""
        return np.frombuffer(self.stage.getvalue(), self.kind.dtype)

    @flat.setter
    def flat(self, flat: Flat | None) -> None:
        """Do nothing: the stage has the data."""

    @property
    def n_bytes(self) -> int:
        """Size of the data."""
        return self.kind.n_bytes

    def leave_lane(self) -> None:
        """Be received the long way, which counts it as its lane will."""
        receiver = self.box.owner
        receiver.receives -= 1
        receiver.bytes_received -= self.kind.n_bytes

    def retire(self) -> None:
        """Be used again."""
        self.taken = False
        self.kind.free.append(self)


NO_KIND = Kind(np.dtype("V1"), -1, -1, Link(0, 0))
