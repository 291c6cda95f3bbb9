"""A message on its way, and what messages of one kind have in common."""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import Any

import numpy as np

from ranks.words.datatypes import Flat, Scattered

# Received messages of one kind are reused: at most so many are kept, with so many bytes together.
_FREE, _FREE_BYTES = 1024, 1 << 20


# One number counts both messages and bytes, because each addition takes a fiftieth of the time of a message.
TRAFFIC_SHIFT = 64


class Kind:
    """What messages of a run have in common; it is worked out once for all of them.

    dtype:        The dtype of their elements.
    n_bytes:      Their size.
    tag:          Their tag.
    is_object:    Whether they hold a pickled object.
    is_buffered:  Whether a standard send of one is buffered.
    traffic:      What one adds to the traffic of a rank.
    latency_ps, transfer_ps: L and n*G of their link, and `wire_ps` the sum of both.
    free:         Messages of the kind that were received, to be used again while they are still in cache.
    """

    __slots__ = (
        "dtype", "free", "is_buffered", "is_object", "latency_ps", "n_bytes", "tag", "traffic",
        "transfer_ps", "wire_ps",
    )  # fmt: skip

    def __init__(
        self, dtype: Any, n_bytes: int, tag: int, *, is_object: bool = False, is_buffered: bool = False,
        latency_ps: int = 0, transfer_ps: int = 0, recycles: bool = False,
    ) -> None:  # fmt: skip
        self.dtype, self.n_bytes, self.tag, self.is_object, self.is_buffered = (
            dtype, n_bytes, tag, is_object, is_buffered,
        )  # fmt: skip
        self.traffic = (1 << TRAFFIC_SHIFT) + n_bytes
        self.latency_ps, self.transfer_ps, self.wire_ps = latency_ps, transfer_ps, latency_ps + transfer_ps
        self.free: deque[Message] = deque(maxlen=min(_FREE, _FREE_BYTES // max(1, n_bytes)) if recycles else 0)


class Message:
    """A message from its send until it is received.

    kind:      What it has in common with others.
    lane:      The way that it takes, which knows both ends.
    stage:     A file with a copy of the data: to write and to read it checks that a buffer is in one piece.
    data:      The array of its sender, if that is blocked in the send and so cannot write to it; else None.
    number:    Which of its sender's messages it is, from 1; 0 where nobody asks.
    ready_ps:  From when on its sender is ready.
    latency_ps, transfer_ps: L and n*G, with what jitter and faults add.
    arrival:   When its last byte is there; None until that is known.
    sender:    The send operation of a rendezvous, until the data has left; None for a buffered message.
    receive:   The operation that has it and waits for its arrival; None before and after.
    taken:     Whether it has left its queue: matched, probed by Mprobe, or withdrawn.
    """

    __slots__ = (
        "arrival", "data", "kind", "lane", "latency_ps", "number", "ready_ps", "receive", "sender", "stage", "taken",
        "transfer_ps",
    )  # fmt: skip

    lane: Any

    def __init__(self, kind: Kind) -> None:
        self.kind, self.stage = kind, BytesIO()
        self.latency_ps, self.transfer_ps = kind.latency_ps, kind.transfer_ps
        self.number = self.ready_ps = 0
        self.data: Flat | None = None
        self.arrival: int | None = None
        self.sender: Any = None
        self.receive: Any = None
        self.taken = False

    @property
    def tag(self) -> int:
        """The tag."""
        return self.kind.tag

    @property
    def n_bytes(self) -> int:
        """The size of the data."""
        return self.kind.n_bytes

    @property
    def source(self) -> int:
        """The rank of the communicator that sent it."""
        source: int = self.lane.source
        return source

    @property
    def origin(self) -> Any:
        """The state of the rank that sent it."""
        return self.lane.sender

    @property
    def owner(self) -> Any:
        """The state of the rank that it is for."""
        return self.lane.box.owner

    def visible_ps(self) -> int | None:
        """Return when its receiver can see it: when it has arrived, or when a rendezvous is offered."""
        return self.arrival if self.sender is None else self.ready_ps

    def discard(self) -> None:
        """Keep this object for another message of its kind, and empty its stage, whose data has another size."""
        self.stage.seek(0)
        self.stage.truncate()
        self.kind.free.append(self)

    def keep_data(self) -> None:
        """Copy the data, since the sender's array is about to be the sender's again."""
        if self.data is not None:
            self.stage.seek(0)
            self.stage.write(self.data.data)
            self.data = None

    def copy_into(self, buf: Any) -> None:
        """Write the data into a buffer of the same dtype, at least as large."""
        if type(buf) is Scattered:
            buf.scatter(np.frombuffer(self.stage.getbuffer(), self.kind.dtype) if self.data is None else self.data)
        elif self.data is None:
            self.stage.seek(0)
            self.stage.readinto(buf)
        else:
            buf.reshape(-1)[: self.data.size] = self.data

    def as_bytes(self) -> bytes:
        """Return a copy of the data."""
        return self.stage.getvalue() if self.data is None else self.data.tobytes()
