"""Checks of the buffers of nonblocking calls, which belong to the call until it is complete."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ranks.messages.observer import Observer
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.words.callsite import current_call, site_of
from ranks.words.constants import PROC_NULL
from ranks.words.errors import InvalidBufferError, ReceiveBufferError, SendBufferChangedError


class BufferChecks(Observer):
    """Finds buffers that are written too early, or that overlap; and -1 given as a rank, which means PROC_NULL.

    scrambled:  So many receives, the first ones, have other bytes in their buffer while they are under way. If a
                program reads such a buffer too early, its outcome changes.
    receives:   Where each receive so far was posted, and by which rank.
    """

    def __init__(self, scrambled: int = 0) -> None:
        self.scrambled = scrambled
        self.receives: list[tuple[int, str]] = []
        self.inverted: set[Operation] = set()

    def posted(self, operation: Operation) -> None:
        """Remember what a buffer holds; raise if it overlaps with that of another operation under way."""
        buf = operation.buf
        if not isinstance(buf, np.ndarray):
            return
        self.uses(operation.state, buf, writes=operation.what == "receive")
        operation.kept = _copy(buf)
        if operation.what == "receive":
            self.receives.append((operation.state.rank, site_of(operation.site)))
            if len(self.receives) <= self.scrambled:
                raw = _raw(buf)
                np.invert(raw, out=raw)
                self.inverted.add(operation)

    def uses(self, state: RankState, buf: Any, *, writes: bool) -> None:
        """Raise if a buffer overlaps with that of an operation under way, and one of the two is written to."""
        if isinstance(buf, np.ndarray) and buf.size:
            for other in state.open or ():
                is_written = writes or other.what == "receive"
                if isinstance(other.buf, np.ndarray) and is_written and np.may_share_memory(buf, other.buf):
                    self._refuse_overlap(state, other)

    def _refuse_overlap(self, state: RankState, other: Operation) -> None:
        call = current_call()
        raise InvalidBufferError(
            state.rank, call.text, site=call.site,
            got=f"a buffer that overlaps with that of {other.name()} at {site_of(other.site)}, which is not complete",
            expected="memory of its own for each while one of them is written to",
            remedy="Wait for the first, or use another array",
        )  # fmt: skip

    def finishing(self, operation: Operation) -> None:
        """Raise if the buffer of a nonblocking operation no longer holds what it held when that was posted."""
        kept, buf = operation.kept, operation.buf
        if kept is None:
            return
        operation.kept = None
        raw: Any = _raw(buf)
        before = kept
        if operation in self.inverted:
            self.inverted.remove(operation)
            before = np.invert(kept)
        different = np.flatnonzero(raw != before)
        if operation.what == "receive":
            raw[...] = kept
        if not different.size:
            return
        call = current_call()
        kind: Any = SendBufferChangedError if operation.what == "send" else ReceiveBufferError
        raise kind(
            operation.state.rank, operation.name(), site=site_of(operation.site),
            got=f"a buffer whose element {int(different[0]) // buf.itemsize} was written before the Wait",
            expected=f"no change until it is complete, in {call.text} at {call.site}",
            remedy="write to it after the Wait, or send a copy" if operation.what == "send" else
            "use it after the Wait, or receive into another array",
        )  # fmt: skip

    def nobody(self, state: RankState, value: Any) -> None:
        """Warn of a rank that is -1 by computation, not by name."""
        if value is not PROC_NULL:
            call = current_call()
            who = f"rank {state.rank}: {call.text} at {call.site}"
            warnings.warn(
                f"{who}: got {int(value)} as a rank, which is PROC_NULL: nothing is sent or received; remedy: write "
                "ranks.PROC_NULL if that is meant, else take it modulo comm.size",
                stacklevel=2,
            )


def _raw(buf: Any) -> Any:
    return buf.reshape(-1).view(np.uint8)


def _copy(buf: Any) -> Any:
    return _raw(buf).copy()
