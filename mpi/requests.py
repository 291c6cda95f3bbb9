"""Requests: what nonblocking calls return, all of which can wait in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self
from weakref import WeakValueDictionary

import numpy as np

import ranks
from mpi.constants import UNDEFINED
from mpi.errors import WrongTypeError, left_out, wrong
from mpi.handles import CONSTANTS, constant
from mpi.status import Status
from ranks.comm.requests import _active, _test
from ranks.comm.transfers import Transfers
from ranks.messages.operation import Operation, Work
from ranks.words.datatypes import typed_name
from ranks.words.errors import TruncationError

# Requests that were asked for their number.
_numbered: WeakValueDictionary[int, Request] = WeakValueDictionary()


class Request(ranks.Request):
    """A request of a nonblocking call. False once it is complete or freed.

    _post:  What begins the operation of a persistent one and returns it; None otherwise, and once it is freed.
    _room:  The memory that a pickled object is received into, or its size in bytes; None if it receives none.
    special: The class that a request must have for a copy of this one; None for any.
    _then:  What is to be done once it is complete; its result is that of `wait`.
    """

    __slots__ = ("__weakref__", "_post", "_room", "_then")
    special: ClassVar[Any] = None

    def __new__(cls, request: Request | None = None, *args: Any) -> Self:
        if request is not None and not isinstance(request, (ranks.Request, Transfers)):
            raise TypeError(f"Request: got {request!r:.60}, expected a Request; remedy: pass one, or nothing")
        if request is not None and cls.special is not None and request and not isinstance(request, cls.special):
            raise TypeError(
                f"{cls.__name__}: got another kind of request, expected a {cls.special.__name__}; remedy: pass one"
            )
        return super().__new__(cls)

    def __init__(self, request: Request | None = None) -> None:
        super().__init__()
        self._room: Any = None
        self._then: Callable[[], Any] | None = None
        self._post: Callable[[], Operation] | None = None
        if request is not None:
            self._comm, self._operation = request._comm, request._operation
            self._room, self._then, self._post = request._room, request._then, request._post

    @staticmethod
    def _checked(request: Any) -> Any:
        """Return a persistent request, or raise if it is none."""
        if not isinstance(request, Request):
            raise wrong(WrongTypeError, f"{request!r:.60}", "a Prequest", "pass a list of them")
        return request if isinstance(request, Prequest) else Prequest(request)

    @classmethod
    def _of(cls, comm: Any, operation: Operation, room: Any = None, then: Any = None) -> Self:
        self = cls()
        self._comm, self._operation, self._room, self._then = comm, operation, room, then
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return self is other or (self._operation is other._operation and self._post is other._post)

    def __bool__(self) -> bool:
        return self._operation is not None or self._post is not None

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        for name in ("REQUEST_NULL",):
            if CONSTANTS[name] is self:
                return name
        return (type(self), (CONSTANTS["REQUEST_NULL"],)) if not self else super().__reduce__()

    def _finish(self, status: Any) -> Any:
        operation = self._operation
        message = None if operation is None else operation.message
        room: Any = self._room
        if isinstance(room, np.ndarray):
            memory, room = room, room.size
            if message is not None and message.n_bytes <= room:
                memory[: message.n_bytes] = np.frombuffer(message.as_bytes(), np.uint8)
        got = super()._finish(status)
        if message is not None and room is not None and message.n_bytes > room:
            kind = message.kind
            raise self._comm._error(  # type: ignore[union-attr]  # it had one while it was under way
                TruncationError, f"{typed_name(kind.dtype, kind.n_bytes)} from rank {message.source}",
                f"an object of at most {room} B, since irecv was given no larger buffer",
                "pass a buffer to irecv, or use recv",
            )  # fmt: skip
        if isinstance(operation, Work) and status is not None and operation.found is not None:
            status.fill(*operation.found)
        if operation is not None and self._then is not None:
            got = self._then()
        return got

    def Wait(self, status: Any = None) -> Literal[True]:
        """Wait until the request is complete."""
        ranks.Request.wait(self, status)  # not that of a subclass, which may take other arguments
        return True

    def Test(self, status: Any = None) -> bool:
        """Return whether the request is complete now; if not, a little time passes."""
        return ranks.Request.test(self, status)[0]

    # -- several -----------------------------------------------------------------------------------------------

    @classmethod
    def waitall(cls, requests: Sequence[Any], statuses: Any = None) -> list[Any]:
        """Wait until all requests are complete, and return the objects received."""
        return super().waitall(requests, _room_for(requests, statuses))

    @classmethod
    def testall(cls, requests: Sequence[Any], statuses: Any = None) -> tuple[bool, list[Any] | None]:
        """Return (True, the objects received) if all requests are complete now."""
        return super().testall(requests, _room_for(requests, statuses))

    @classmethod
    def waitsome(cls, requests: Sequence[Any], statuses: Any = None) -> tuple[list[int] | None, list[Any] | None]:
        """Wait until a request is complete, and return the indices and objects of all that are."""
        found: list[Any] | None = None if statuses is None else []
        complete, objects = super().waitsome(requests, _room_for(requests, found))
        _hand_out(complete, found, statuses)
        return complete, objects

    @classmethod
    def testsome(cls, requests: Sequence[Any], statuses: Any = None) -> tuple[list[int] | None, list[Any] | None]:
        """Return the indices and objects of all requests that are complete now."""
        found: list[Any] | None = None if statuses is None else []
        complete, objects = super().testsome(requests, _room_for(requests, found))
        _hand_out(complete, found, statuses)
        return complete, objects

    @classmethod
    def Get_status_any(cls, requests: Sequence[Any], status: Any = None) -> tuple[int, bool]:
        """Return (index, True) of a request that is complete now, and leave it as it is."""
        if not _active(requests):
            if status is not None:
                Request().wait(status)
            return UNDEFINED, True
        complete = _test(requests, "any")
        if complete and status is not None:
            requests[complete[0]].Get_status(status)
        return (complete[0], True) if complete else (UNDEFINED, False)

    @classmethod
    def Get_status_all(cls, requests: Sequence[Any], statuses: Any = None) -> bool:
        """Return whether all requests are complete now, and leave them as they are."""
        complete = not _active(requests) or bool(_test(requests, "all"))
        if complete and statuses is not None:
            for request, status in zip(requests, _room_for(requests, statuses), strict=False):
                request.Get_status(status)
        return complete

    @classmethod
    def Get_status_some(cls, requests: Sequence[Any], statuses: Any = None) -> list[int] | None:
        """Return the indices of all requests that are complete now, and leave them as they are."""
        if not _active(requests):
            return None
        complete = _test(requests, "some")
        if statuses is not None:
            for index, status in zip(complete, _room_for(complete, statuses), strict=False):
                requests[index].Get_status(status)
        return complete

    get_status_any, get_status_all, get_status_some = Get_status_any, Get_status_all, Get_status_some

    # -- handles -------------------------------------------------------------------------------------------------

    def free(self) -> None:
        """Free the request, if there is one."""
        if self and CONSTANTS["REQUEST_NULL"] is not self:
            self.Free()

    @property
    def handle(self) -> int:
        """The number of the request; 0 for null."""
        if not self:
            return 0
        _numbered[id(self)] = self
        return id(self)

    @classmethod
    def fromhandle(cls, handle: int) -> Self:
        """Return a request like the one whose number this is, while that is there."""
        return cls(_numbered[handle]) if handle else cls()

    def toint(self) -> int:
        """Return the number of the request."""
        return self.handle

    py2f = toint
    fromint = f2py = fromhandle


def _room_for(requests: Sequence[Any], statuses: Any) -> Any:
    """Return the statuses to be filled in: those given, and as many more as there are requests."""
    if statuses is None:
        return None
    more = [Status() for _ in range(len(requests) - len(statuses))]
    if not isinstance(statuses, list):
        return [*statuses, *more]
    statuses.extend(more)
    return statuses


def _hand_out(complete: list[int] | None, found: list[Any] | None, statuses: Any) -> None:
    """Copy the statuses of the requests that are complete to those given, and append what these lack."""
    for place, status in enumerate((found or [])[: len(complete or ())]):
        if place < len(statuses):
            statuses[place].__setstate__(status.__getstate__())
        elif isinstance(statuses, list):
            statuses.append(status)


class Prequest(Request):
    """A persistent request: Start begins its operation again and again."""

    __slots__ = ()

    @classmethod
    def _to_post(cls, comm: Any, post: Callable[[], Operation]) -> Self:
        self = cls()
        self._comm, self._post = comm, post
        return self

    def Start(self) -> None:
        """Begin the operation."""
        if self._post is None or self._operation is not None:
            raise self._null_error()
        self._operation = self._post()

    @classmethod
    def Startall(cls, requests: list[Prequest]) -> None:
        """Begin the operations of all requests, in order."""
        for request in [Request._checked(each) for each in requests]:
            request.Start()

    def Free(self) -> None:
        """Let go of the request for good."""
        if self._post is None:
            raise self._null_error()
        self._detach()
        self._post = None

    def Pready(self, partition: int) -> None:
        """Say that a partition may be sent."""
        left_out("partitioned communication")

    Pready_range = Pready_list = Parrived = Pready


Prequest.special = Prequest
REQUEST_NULL = constant("REQUEST_NULL", Request())
