"""How messages of collectives travel: their tags, and how arrays travel as bytes if MPI does not know their dtype."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from collectives.arrays import Array
from ranks import hidden

_MPI_DTYPES = frozenset(np.dtype(code) for code in "?bBhHiIlLqQefdgFDG")
# Tags that every MPI has, and programs hardly use.
_tags = count(32_200)


def new_tag() -> int:
    """Return a message tag that no other algorithm has."""
    return next(_tags)


def carrier(comm: Any, dtype: np.dtype[Any]) -> Any:
    """Return what a collective of `comm` sends and receives arrays of `dtype` on, out of the program's reach."""
    inner = hidden(comm)
    return inner if dtype in _MPI_DTYPES else _AsBytes(inner)


class _AsBytes:
    """A communicator whose messages are flat arrays of any dtype, which travel as bytes."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._comm)  # for isinstance: all but messages is as with the communicator itself

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Send(self, buf: Array, dest: int, tag: int) -> None:
        self._comm.Send(buf.view(np.uint8), dest, tag)

    def Recv(self, buf: Array, source: int, tag: int) -> None:
        self._comm.Recv(buf.view(np.uint8), source, tag)

    def Isend(self, buf: Array, dest: int, tag: int) -> Any:
        return self._comm.Isend(buf.view(np.uint8), dest, tag)

    def Irecv(self, buf: Array, source: int, tag: int) -> Any:
        return self._comm.Irecv(buf.view(np.uint8), source, tag)

    def Sendrecv(
        self, sent: Array, dest: int, sendtag: int, came: Array, source: int, recvtag: int, status: Any = None
    ) -> None:
        self._comm.Sendrecv(sent.view(np.uint8), dest, sendtag, came.view(np.uint8), source, recvtag, status)
