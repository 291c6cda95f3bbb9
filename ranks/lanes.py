"""Messages of the short way (`quick.py`), and the lanes that use them again."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from ranks.constants import TAG_UB
from ranks.datatypes import WIRE_DTYPES, Flat
from ranks.matching import Mailbox, Message
from ranks.network import Link


class Kind:
    """What messages of a lane have in common: `n_bytes` of `dtype` under `tag`; `free` ones are used again."""

    __slots__ = ("dtype", "free", "n_bytes", "tag", "transfer_ps", "wire_ps")

    def __init__(self, dtype: np.dtype[Any], n_bytes: int, tag: int, link: Link) -> None:
        self.dtype, self.n_bytes, self.tag = dtype, n_bytes, tag
        self.transfer_ps = link.transfer_ps(n_bytes)
        self.wire_ps = link.latency_ps + self.transfer_ps
        self.free: list[Staged] = []


class Lane:
    """The short way from one rank to another.

    queue: the messages there that nobody has taken, also those of the long way. kind: that of the latest message.
    """

    __slots__ = ("box", "kind", "kinds", "limit", "link", "queue")

    def __init__(self, box: Mailbox, source: int, link: Link, limit: int) -> None:
        self.box, self.link, self.limit = box, link, limit
        self.queue = box.queues.setdefault(source, [])
        self.kinds: dict[tuple[Any, int, int], Kind] = {}
        self.kind = NO_KIND

    def turn_to(self, dtype: Any, n_bytes: int, tag: Any) -> Kind:
        """Make the kind of the next message the latest; TypeError if it has to go the long way."""
        kind = self.kinds.get((dtype, n_bytes, tag))
        if kind is None:
            good = type(tag) is int and 0 <= tag <= TAG_UB and isinstance(dtype, np.dtype) and dtype in WIRE_DTYPES
            if not good or n_bytes > self.limit:
                raise TypeError
            if len(self.kinds) >= KINDS:
                self.kinds.clear()
            kind = self.kinds[dtype, n_bytes, tag] = Kind(dtype, n_bytes, tag, self.link)
        self.kind = kind
        return kind


class Staged(Message):
    """A message of the short way, in the file `stage`: to write and to read it checks that a buffer is in one piece."""

    __slots__ = ("kind", "stage")

    def __init__(self, lane: Lane, kind: Kind, source: int) -> None:
        super().__init__(lane.box, source, kind.tag, None)  # type: ignore[arg-type]  # `flat` is made of the stage
        self.kind, self.stage = kind, BytesIO()
        self.latency_ps, self.transfer_ps = lane.link.latency_ps, kind.transfer_ps

    @property
    def flat(self) -> Flat:
        """A copy of the data."""
        return np.frombuffer(self.stage.getvalue(), self.kind.dtype)

    @flat.setter
    def flat(self, flat: Flat | None) -> None:
        """Do nothing: the stage has the data."""

    def retire(self) -> None:
        """Be used again."""
        self.taken, self.number = False, 0
        self.kind.free.append(self)


# A lane remembers so many kinds.
KINDS = 16
NO_KIND = Kind(np.dtype("V1"), -1, -1, Link(0, 0))
