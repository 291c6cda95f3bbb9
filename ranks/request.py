"""Handles of operations in progress: Request, persistent Prequest, and the Message of a matched probe."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ranks.constants import ANY_SOURCE, ANY_TAG, PROC_NULL, UNDEFINED
from ranks.endpoint import fill
from ranks.errors import InvalidHandleError
from ranks.messages import ALL, Operation
from ranks.status import Status

if TYPE_CHECKING:
    from ranks.endpoint import Endpoint
    from ranks.messages import Message as Envelope
    from ranks.world import World


class Request:
    """A nonblocking send or receive; spelled as mpi4py's. False once it is complete or freed.

    Completion of a receive costs the receiver's overhead; of several, in the order in
    which they became complete.
    """

    __slots__ = ("_comm", "_operation")

    def __init__(self, comm: Endpoint | None = None, operation: Operation | None = None) -> None:
        self._comm, self._operation = comm, operation

    def __bool__(self) -> bool:
        return self._operation is not None

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Request) and not self and not other)

    # -- one request -----------------------------------------------------------------------------------------

    def Wait(self, status: Status | None = None) -> Literal[True]:
        """Wait until the request is complete."""
        self.wait(status)
        return True

    def wait(self, status: Status | None = None) -> Any:
        """Wait until the request is complete, and return the object received, if one was."""
        operation = self._operation
        if operation is None:
            return _nothing(status)
        operation.state.world.wait(operation)
        return self._finish(status)

    def Test(self, status: Status | None = None) -> bool:
        """Return whether the request is complete now; if not, a little time passes."""
        return self.test(status)[0]

    def test(self, status: Status | None = None) -> tuple[bool, Any]:
        """Return (True, the object received) if the request is complete now, else (False, None)."""
        if self._operation is not None and not _test([self], "all"):
            return False, None
        return True, self._finish(status)

    def Get_status(self, status: Status | None = None) -> bool:
        """Return whether the request is complete now, and leave it as it is."""
        complete = self._operation is None or bool(_test([self], "all"))
        if complete and status is not None and self._operation is not None:
            fill(status, self._operation)
        return complete

    def Cancel(self) -> None:
        """Withdraw a receive, or a send that is not buffered, unless it is matched; Wait is still due.

        A partner that has come to its call has matched it, even if that call is later on the partner's clock.
        """
        operation = self._operation
        if operation is None:
            return
        state = operation.state
        state.world.catch_up(state)
        message = operation.message
        if operation.ready_ps is not None:
            return
        if operation.what == "receive" and message is None:
            operation.box.withdraw(operation)
            operation.complete(state.now)
        elif operation.what == "send" and message is not None and not message.taken:
            operation.box.take(message)
            message.taken = True
            state.backlog -= 1
            operation.message = None
            operation.complete(state.now)

    def Free(self) -> None:
        """Let go of the request: it may still complete, but nobody can wait for it."""
        operation = self._operation
        if operation is not None and operation.state.open is not None:
            operation.state.open.pop(operation, None)
        self._operation = None

    cancel, free, get_status = Cancel, Free, Get_status

    def _finish(self, status: Status | None) -> Any:
        """Settle the complete operation, and return its object if it received one."""
        operation, comm = self._operation, self._comm
        if operation is None or comm is None:
            return _nothing(status)
        self._deactivate()
        comm._settle(operation, status)
        return received_object(operation)

    def _deactivate(self) -> None:
        self._operation = None

    # -- several requests ------------------------------------------------------------------------------------

    @classmethod
    def Waitall(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> Literal[True]:
        """Wait until all requests are complete."""
        cls.waitall(requests, statuses)
        return True

    @classmethod
    def waitall(cls, requests: Sequence[Request], statuses: list[Status] | None = None) -> list[Any]:
        """Wait until all requests are complete, and return the objects received."""
        operations = _active(requests)
        for operation in operations:
            if operation.ready_ps is None:
                operation.awaited = ALL
                operation.state.awaits = operations
                operation.state.world.park(operation.state)
                operation.state.awaits = None
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

    def __init__(self, comm: Endpoint, post: Callable[[], Operation]) -> None:
        super().__init__(comm)
        self._post = post
        self._freed = False

    def __bool__(self) -> bool:
        return not self._freed

    def Start(self) -> None:
        """Post the operation."""
        assert self._comm is not None
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
        """Let go of the request for good."""
        super().Free()
        self._freed = True

    free = Free


class Message:
    """A message that a matched probe has taken out of its queue: only this handle can receive it."""

    __slots__ = ("_comm", "_message")

    def __init__(self, comm: Endpoint, message: Envelope | None) -> None:
        self._comm, self._message = comm, message

    def __bool__(self) -> bool:
        return self._message is not None

    def Recv(self, buf: Any, status: Status | None = None) -> None:
        """Receive the message into `buf`."""
        operation = self._take(self._comm._flat(buf, writable=True))
        operation.state.world.wait(operation)
        self._comm._settle(operation, status)

    def recv(self, status: Status | None = None) -> Any:
        """Receive the message as the object that was sent."""
        operation = self._take(None)
        operation.state.world.wait(operation)
        self._comm._settle(operation, status)
        return received_object(operation)

    def Irecv(self, buf: Any) -> Request:
        """Start to receive the message into `buf`."""
        operation = self._take(self._comm._flat(buf, writable=True))
        self._comm._open(operation)
        return Request(self._comm, operation)

    def irecv(self) -> Request:
        """Start to receive the message as the object that was sent."""
        operation = self._take(None)
        self._comm._open(operation)
        return Request(self._comm, operation)

    def _take(self, flat: Any) -> Operation:
        message, comm = self._message, self._comm
        if message is None:
            raise comm._error(
                InvalidHandleError, "a message that was received already", "a matched message", "Mprobe again"
            )
        self._message = None
        if message.source == PROC_NULL:
            return comm._done("receive", PROC_NULL, ANY_TAG)
        operation = Operation("receive", comm._state, comm._box, message.source, message.tag, flat)
        comm._box.join(operation, message)
        return operation


REQUEST_NULL = Request()


def received_object(operation: Operation) -> Any:
    """Return the object that a finished lower-case receive brought, None for all other operations."""
    message = operation.message
    if operation.what != "receive" or operation.flat is not None or message is None:
        return None
    return pickle.loads(message.flat.data)


def _nothing(status: Status | None) -> None:
    if status is not None:
        status.fill(ANY_SOURCE, ANY_TAG, 0)


def _active(requests: Sequence[Request]) -> list[Operation]:
    return [r._operation for r in requests if r._operation is not None]


def _test(requests: Sequence[Request], enough: str) -> list[int]:
    """Return the indices of the active requests that `World.asking` finds complete."""
    return _indices(requests, lambda world, operations: world.asking.test(operations, enough))


def _wait_any(requests: Sequence[Request], enough: str) -> list[int]:
    """Return the indices of the active requests that `World.asking` waited for."""
    return _indices(requests, lambda world, operations: world.asking.wait_any(operations, enough))


def _indices(requests: Sequence[Request], choose: Callable[[World, list[Operation]], list[int]]) -> list[int]:
    active = [index for index, request in enumerate(requests) if request._operation is not None]
    operations = _active(requests)
    return [active[place] for place in choose(operations[0].state.world, operations)] if operations else []


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
