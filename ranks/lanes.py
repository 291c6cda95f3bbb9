"""Messages of the short way (`quick.py`), and the lanes that use them again."""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import Any

import numpy as np

from ranks.constants import TAG_UB
from ranks.datatypes import WIRE_DTYPES, Flat
from ranks.matching import Mailbox, Message
from ranks.network import Link

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


class Kinds(dict[tuple[Link, Any, int, int], Kind]):
    """All kinds of a run that are remembered; messages up to `limit` bytes go the short way."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def find(self, link: Link, dtype: Any, n_bytes: int, tag: Any) -> Kind:
        """Return a kind; TypeError if such messages have to go the long way."""
        kind = self.get((link, dtype, n_bytes, tag))
        if kind is None:
            good = type(tag) is int and 0 <= tag <= TAG_UB and isinstance(dtype, np.dtype) and dtype in WIRE_DTYPES
            if not good or n_bytes > self.limit:
                raise TypeError
            if len(self) >= _REMEMBERED:
                self.clear()
            kind = self[link, dtype, n_bytes, tag] = Kind(dtype, n_bytes, tag, link)
        return kind


class Lane:
    """The short way from one rank to another.

    queue: the messages there that nobody has taken, also those of the long way. kind: that of the latest message.
    """

    __slots__ = ("box", "kind", "link", "queue")

    def __init__(self, box: Mailbox, source: int, link: Link) -> None:
        self.box, self.link, self.kind = box, link, NO_KIND
        self.queue = box.queues.setdefault(source, [])


class Staged(Message):
    """A message of the short way, in the file `stage`: to write and to read it checks that a buffer is in one piece."""

    __slots__ = ("kind", "stage")

    def __init__(self, kind: Kind) -> None:
        super().__init__(None, 0, kind.tag, None)  # type: ignore[arg-type]  # its sender will say; the stage has the data
        self.kind, self.stage = kind, BytesIO()
        self.latency_ps, self.transfer_ps = kind.link.latency_ps, kind.transfer_ps

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

    def retire(self) -> None:
        """Be used again."""
        self.taken, self.number = False, 0
        self.kind.free.append(self)


NO_KIND = Kind(np.dtype("V1"), -1, -1, Link(0, 0))
