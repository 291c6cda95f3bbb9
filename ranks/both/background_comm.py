"""The communicator of an operation in the background: its calls ask the rank to make them, and wait without blocking.

Tags are shifted by a block for each operation, so that several under way do not take each other's messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import count
from typing import Any, Literal

import numpy as np
from greenlet import getcurrent, greenlet

from ranks.both.kept import kept
from ranks.both.nodes import nodes_of, placement
from ranks.comm.communicator import Comm
from ranks.words.callsite import calling_lines
from ranks.words.constants import TAG_UB, mpi_of
from ranks.words.errors import InvalidTagError

# Tags of one operation: as many as every MPI has.
TAGS = 32_768
_OFFERED = "Send, Ssend, Recv, Sendrecv, Isend, Issend or Irecv"
_HARMLESS = {"Get_rank", "Get_size", "Get_name", "Get_group"}


def background_comm(comm: Any, number: int) -> Any:
    """Return a communicator like `comm` for the operation of this number: same kind, size, rank and clock."""
    base: Any = type(comm)
    kind = _kind_like(base)
    if isinstance(comm, Comm):
        made = kind(comm._transport, comm._state, comm._context, comm.rank)
        made._carrier = comm._hidden()
    else:
        made = kind(comm)
        made._carrier = comm
    made._plain, made._number, made._nested = comm, number, count()
    made._mpi = _Names(mpi_of(comm))
    known = {key: kept(comm, key, lambda: None) for key in (nodes_of, placement)}
    made._kept = {key: fact for key, fact in known.items() if fact is not None}
    return made


def tag_block(comm: Any, number: int) -> int:
    """Return what to add to the tags of this operation; after some thousands of them blocks are used again."""
    limit = TAG_UB if isinstance(comm, Comm) else comm.Get_attr(mpi_of(comm).TAG_UB)
    n_blocks = (limit + 1) // TAGS - 1
    return int(TAGS * (1 + number % n_blocks))


class _Deferred:
    """What is different in the background."""

    _plain: Any
    _carrier: Any
    _mpi: Any
    _number: int
    _nested: Any
    _shift = 0

    def Send(self, buf: Any, dest: int, tag: int = 0) -> None:
        self._wait([self._post("Isend", buf, dest, tag)])

    def Ssend(self, buf: Any, dest: int, tag: int = 0) -> None:
        self._wait([self._post("Issend", buf, dest, tag)])

    def Recv(self, buf: Any, source: int | None = None, tag: int | None = None, status: Noted | None = None) -> None:
        self._wait([self._post("Irecv", buf, source, tag)], status)

    def Sendrecv(
        self,
        sendbuf: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int | None = None,
        recvtag: int | None = None,
        status: Noted | None = None,
    ) -> None:
        sending = self._post("Isend", sendbuf, dest, sendtag)
        receiving = self._post("Irecv", recvbuf, source, recvtag)
        self._wait([receiving, sending], status)

    def Isend(self, buf: Any, dest: int, tag: int = 0) -> Posted:
        return self._post("Isend", buf, dest, tag)

    def Issend(self, buf: Any, dest: int, tag: int = 0) -> Posted:
        return self._post("Issend", buf, dest, tag)

    def Irecv(self, buf: Any, source: int | None = None, tag: int | None = None) -> Posted:
        return self._post("Irecv", buf, source, tag)

    def _post(self, call: str, buf: Any, peer: int | None, tag: int | None) -> Posted:
        if not isinstance(tag, (int, np.integer)) or not 0 <= tag < TAGS:
            raise InvalidTagError(
                self._plain.rank, f"{call} in the background", got=f"tag={tag}",
                expected=f"a tag from 0 to {TAGS - 1}, by which operations under way are told apart",
                remedy="name the tag, or call the operation itself instead of starting it",
            )  # fmt: skip
        peer = self._mpi.ANY_SOURCE if peer is None else peer
        return Posted(self, on_rank(getattr(self._carrier, call), buf, peer, tag + self._shift))

    def _where(self) -> Any:
        """Return what a checked communicator says of this call: the rank's own lines."""
        return on_rank(calling_lines)

    def _wait(self, posted: Iterable[Posted], *statuses: Any) -> None:
        """Go back to the rank until all that was posted is complete; `statuses` are for the first ones."""
        waiting = list(posted)
        for each, status in zip(waiting, statuses, strict=False):
            if not isinstance(status, Noted | None):
                raise TypeError(
                    f"status: got an object of type {type(status).__name__} in the background, expected "
                    "mpi_of(comm).Status(); remedy: make the status by mpi_of(comm).Status()"
                )
            each.status = status
        _rank().switch(waiting)


class Noted:
    """A status in the background: that of MPI, but for the tag, which is as the operation knows it."""

    def __init__(self) -> None:
        self._status: Any = None
        self._shift = 0

    def Get_tag(self) -> int:
        """Return the message's tag."""
        return int(self._status.Get_tag()) - self._shift

    tag = property(Get_tag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


class Posted:
    """A nonblocking send or receive that an operation in the background has posted."""

    def __init__(self, comm: _Deferred, request: Any) -> None:
        self._comm, self.request = comm, request
        self.status: Noted | None = None

    def __bool__(self) -> bool:
        return bool(self.request)

    def note(self, status: Any) -> None:
        """Pass on the status of the message, which is complete now."""
        if self.status is not None:
            self.status._status, self.status._shift = status, self._comm._shift

    def Wait(self, status: Noted | None = None) -> Literal[True]:
        """Wait until the message is sent or received."""
        return self.Waitall([self], [status])

    @classmethod
    def Waitall(cls, requests: Iterable[Posted], statuses: list[Any] | None = None) -> Literal[True]:
        """Wait until all messages are sent or received."""
        posted = list(requests)
        if posted:
            posted[0]._comm._wait(posted, *statuses or ())
        return True

    def __getattr__(self, name: str) -> Any:
        return _refused(name)(self)


class _Names:
    """The names of MPI that fit a communicator in the background: requests and statuses are its own."""

    Request, Status = Posted, Noted

    def __init__(self, names: Any) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._names, name)


def on_rank(function: Callable[..., Any], *args: Any) -> Any:
    """Return function(*args) as called by the rank itself, since a call that blocks would block this greenlet only."""
    return _rank().switch(partial(function, *args))


def _rank() -> greenlet:
    """Return the greenlet of the rank for which this one works."""
    rank = getcurrent().parent
    assert rank is not None
    return rank


def _announce(self: Any, name: str, arguments: dict[str, Any]) -> None:
    """Let simulated ranks compare `start` in the order of the communicator's collectives, all else in its own order."""
    number = (self._number, next(self._nested)) if self._shift else None
    plain = self._plain
    if number is None:
        on_rank(plain._announce, name, arguments)
    else:
        on_rank(plain._transport.announce, plain._state, plain._context, number, name, arguments)


@cache
def _kind_like(base: type[Any]) -> Any:
    """Return the class of communicators in the background that are of class `base` too; it refuses all other calls."""
    own: dict[str, Any] = {
        name: _refused(name)
        for name in dir(base)
        if not name.startswith("_") and name not in _HARMLESS and callable(getattr(base, name))
    }
    own |= {name: value for name, value in vars(_Deferred).items() if not name.startswith("__")}
    own["_hidden"] = lambda self: self  # what it sends is apart from all else already
    if issubclass(base, Comm):
        own["_announce"] = _announce
    else:
        own["handle"] = None  # by which `kept` would find what is kept for the communicator itself
    return type(f"{base.__name__}InBackground", (base,), own)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{name}: got a call by an operation in the background, expected {_OFFERED}; remedy: call the operation "
            "itself instead of starting it"
        )

    return refuse
