"""Handles of operations in progress: Request, and the persistent Prequest."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, Literal, NoReturn

from greenlet import getcurrent

from ranks.comm.arguments import call_error, fill_in
from ranks.comm.finishing import fill
from ranks.comm.handle import foreign
from ranks.comm.transfers import Transfers
from ranks.engine.rank import ALL, current_rank
from ranks.messages.operation import Operation
from ranks.words.constants import ANY_SOURCE, ANY_TAG, UNDEFINED
from ranks.words.errors import InvalidHandleError, NoRequestError
from ranks.words.status import Status


class Request:
    """A nonblocking send or receive; spelled as mpi4py's. False once it is complete or freed.

    Completion of a receive costs the receiver's overhead; of several, in the order in
    which they became complete.
    """

    __slots__ = ("_comm", "_operation")

    def __init__(self, comm: Transfers | None = None, operation: Operation | None = None) -> None:
        self._comm, self._operation = comm, operation

    def __bool__(self) -> bool:
        return self._operation is not None

    def __reduce__(self) -> NoReturn:
        raise call_error(
            current_rank(), InvalidHandleError, "a request to be copied or sent", "something that is no handle",
            "keep the request where it was made",
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Request) and not self and not other)

    # -- one request -----------------------------------------------------------------------------------------

    def Wait(self, status: Status | None = None) -> Literal[True]:
        """Wait until the request is complete."""
        self.wait(status)
        return True

    def wait(self, status: Status | None = None) -> Any:
        """Wait until the request is complete, and return the object received, if one was."""
        operation = self._active()
        if operation is None:
            return _nothing(status)
        if operation.ready_ps is None:
            operation.waiting = ALL
            operation.state.scheduler.park_for(operation.state, (operation,))
        return self._finish(status)

    def Test(self, status: Status | None = None) -> bool:
        """Return whether the request is complete now; if not, a little time passes."""
        return self.test(status)[0]

    def test(self, status: Status | None = None) -> tuple[bool, Any]:
        """Return (True, the object received) if the request is complete now, else (False, None)."""
        if self._active() is not None and not _test([self], "all"):
            return False, None
        return True, self._finish(status)

    def Get_status(self, status: Status | None = None) -> bool:
        """Return whether the request is complete now, and leave it as it is."""
        operation = self._active()
        complete = operation is None or bool(_test([self], "all"))
        if complete and status is not None:
            if operation is None:
                _nothing(status)
            else:
                fill(status, operation)
        return complete

    def Cancel(self) -> None:
        """Withdraw a receive, or a send that is not buffered, unless it is matched; Wait is still due.

        A partner that has come to its call has matched it, even if that call is later on the partner's clock.
        """
        operation = self._active()
        if operation is None:
            raise self._null_error()
        state = operation.state
        state.scheduler.catch_up(state)
        message = operation.message
        if operation.ready_ps is not None:
            return
        if operation.what == "receive" and message is None:
            operation.box.withdraw(operation)
        elif operation.what == "send" and message is not None and not message.taken:
            message.lane.box.take(message)
            message.data = None
            if self._comm is not None:
                self._comm._transport.wires.withdraw(state)
            operation.message = None
        else:
            return
        operation.cancelled = True
        operation.complete(state.now)

    def Free(self) -> None:
        """Release the request: it may still complete, but nobody can wait for it."""
        operation = self._active()
        if operation is None:
            raise self._null_error()
        self._detach()

    cancel, free, get_status = Cancel, Free, Get_status

    def _active(self) -> Operation | None:
        """Return the operation that is under way, None if there is none; only the rank that began it may ask."""
        operation = self._operation
        if operation is not None and getcurrent() is not operation.state.greenlet:
            raise foreign(operation.state, operation.state.scheduler.closed, "a request")
        return operation

    def _detach(self) -> None:
        """Let the operation complete by itself."""
        operation, self._operation = self._operation, None
        if operation is not None:
            if operation.state.open is not None:
                operation.state.open.pop(operation, None)
            operation.detached = True
            if self._comm is not None:
                for observer in self._comm._transport.observers:
                    observer.finishing(operation)
            if operation.ready_ps is not None:
                operation.deliver()

    def _null_error(self) -> Exception:
        return call_error(
            current_rank(), InvalidHandleError, "a null request, or one that is not active", "a request under way",
            "ask before whether the request is true",
        )  # fmt: skip

    def _finish(self, status: Status | None) -> Any:
        """Settle the complete operation, and return its object if it received one."""
        operation, comm = self._operation, self._comm
        if operation is None or comm is None:
            return _nothing(status)
        self._operation = None
        return comm._settle(operation, status)

    # -- several requests ------------------------------------------------------------------------------------

    @classmethod
    def Waitall(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> Literal[True]:
        """Wait until all requests are complete."""
        cls.waitall(requests, statuses)
        return True

    @classmethod
    def waitall(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> list[Any]:
        """Wait until all requests are complete, and return the objects received, and results of what was started."""
        if isinstance(requests, Sequence):
            for request in requests:
                if hasattr(request, "_wait_with"):  # what ranks.start has begun makes progress while all are awaited
                    objects: list[Any] = request._wait_with(requests, statuses)
                    return objects
        operations = _active(requests)
        for operation in operations:
            if operation.ready_ps is None:
                operation.waiting = ALL
                operation.state.scheduler.park_for(operation.state, operations)
        return _finish_all(requests, range(len(requests)), statuses)

    @classmethod
    def Waitany(cls, requests: Sequence[Request], status: Status | None = None) -> int:
        """Wait for the request that is complete first, and return its index; UNDEFINED if none is active."""
        return cls.waitany(requests, status)[0]

    @classmethod
    def waitany(cls, requests: Sequence[Request], status: Status | None = None) -> tuple[int, Any]:
        """Wait for the request that is complete first, and return its index and object."""
        complete = _wait_any(requests, "any")
        if not complete:
            _nothing(status)
            return UNDEFINED, None
        return complete[0], requests[complete[0]]._finish(status)

    @classmethod
    def Waitsome(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> list[int] | None:
        """Wait until a request is complete; return the indices of all that are, None if none is active."""
        return cls.waitsome(requests, statuses)[0]

    @classmethod
    def waitsome(
        cls, requests: Sequence[Request], statuses: list[Status] | None = None
    ) -> tuple[list[int] | None, list[Any] | None]:
        """Wait until a request is complete, and return the indices and objects of all that are."""
        complete = _wait_any(requests, "some")
        if not complete:
            return None, None
        return complete, _finish_all(requests, complete, statuses)

    @classmethod
    def Testall(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> bool:
        """Return whether all requests are complete now; if not, none is finished."""
        return cls.testall(requests, statuses)[0]

    @classmethod
    def testall(
        cls, requests: Sequence[Request], statuses: list[Status] | None = None
    ) -> tuple[bool, list[Any] | None]:
        """Return (True, the objects received) if all requests are complete now."""
        if _active(requests) and not _test(requests, "all"):
            return False, None
        return True, _finish_all(requests, range(len(requests)), statuses)

    @classmethod
    def Testany(cls, requests: Sequence[Request], status: Status | None = None) -> tuple[int, bool]:
        """Return (index, True) of a request that is complete now, (UNDEFINED, True) if none is active."""
        return cls.testany(requests, status)[:2]

    @classmethod
    def testany(cls, requests: Sequence[Request], status: Status | None = None) -> tuple[int, bool, Any]:
        """Return (index, True, object) of a request that is complete now."""
        if not _active(requests):
            _nothing(status)
            return UNDEFINED, True, None
        complete = _test(requests, "any")
        if not complete:
            return UNDEFINED, False, None
        return complete[0], True, requests[complete[0]]._finish(status)

    @classmethod
    def Testsome(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> list[int] | None:
        """Return the indices of all requests that are complete now; None if none is active."""
        return cls.testsome(requests, statuses)[0]

    @classmethod
    def testsome(
        cls, requests: Sequence[Request], statuses: list[Status] | None = None
    ) -> tuple[list[int] | None, list[Any] | None]:
        """Return the indices and objects of all requests that are complete now."""
        if not _active(requests):
            return None, None
        complete = _test(requests, "some")
        return complete, _finish_all(requests, complete, statuses)


class Prequest(Request):
    """A persistent request: Start posts it again and again."""

    __slots__ = ("_freed", "_post")

    def __init__(self, comm: Transfers, post: Callable[[], Operation]) -> None:
        super().__init__(comm)
        self._post = post
        self._freed = False

    def __bool__(self) -> bool:
        return not self._freed

    def Start(self) -> None:
        """Post the operation."""
        assert self._comm is not None
        self._comm._check_usable()
        if self._freed or self._operation is not None:
            got = "a request that was freed" if self._freed else "a request that is still active"
            raise self._comm._error(
                InvalidHandleError, got, "an inactive persistent request", "Wait for it before the next Start"
            )
        self._operation = self._post()

    @classmethod
    def Startall(cls, requests: list[Prequest]) -> None:
        """Start all requests, in order."""
        for request in requests:
            request.Start()

    def Free(self) -> None:
        """Release the request for good."""
        if self._comm is not None:
            self._comm._check_caller("a persistent request")
        if self._freed:
            raise self._null_error()
        self._detach()
        self._freed = True

    free = Free


REQUEST_NULL = Request()


def _nothing(status: Status | None) -> None:
    if status is not None:
        fill_in(status, ANY_SOURCE, ANY_TAG, 0)


def _active(requests: Sequence[Request]) -> list[Operation]:
    """Return the operations of the requests that are under way."""
    wrong = [requests] if not isinstance(requests, Sized) else [r for r in requests if not isinstance(r, Request)]
    if wrong:
        raise call_error(
            current_rank(), NoRequestError, f"{wrong[0]!r:.60} as a request", "a list of requests",
            "give what Isend, Irecv and their like return, in a list",
        )  # fmt: skip
    operations = [request._active() for request in requests]
    return [operation for operation in operations if operation is not None]


def _test(requests: Sequence[Request], enough: str) -> list[int]:
    """Return the indices of the active requests that are found complete."""
    return _indices(requests, "test", enough)


def _wait_any(requests: Sequence[Request], enough: str) -> list[int]:
    """Return the indices of the active requests that were waited for."""
    return _indices(requests, "wait_any", enough)


def _indices(requests: Sequence[Request], ask: str, enough: str) -> list[int]:
    operations = _active(requests)
    if not operations:
        return []
    active = [index for index, request in enumerate(requests) if request._operation is not None]
    comm = requests[active[0]]._comm
    assert comm is not None
    return [active[place] for place in getattr(comm._transport.asking, ask)(operations, enough)]


def _finish_all(requests: Sequence[Request], indices: Sequence[int], statuses: list[Status] | None) -> list[Any]:
    """Finish requests in the order in which they became complete; return their objects in the order given."""
    if statuses is not None:
        statuses.extend(Status() for _ in range(len(indices) - len(statuses)))
    objects: list[Any] = [None] * len(indices)

    def completed(place: int) -> int:
        operation = requests[indices[place]]._operation
        return -1 if operation is None or operation.ready_ps is None else operation.ready_ps

    for place in sorted(range(len(indices)), key=completed):
        status = None if statuses is None else statuses[place]
        objects[place] = requests[indices[place]]._finish(status)
    return objects
