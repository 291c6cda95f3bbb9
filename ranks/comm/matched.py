"""Message: what a matched probe has taken out of its queue, spelled as mpi4py's."""

from __future__ import annotations

from typing import Any, NoReturn

from ranks.comm.arguments import incoming
from ranks.comm.requests import Request
from ranks.comm.transfers import Transfers
from ranks.engine.rank import ALL
from ranks.messages.message import Message as Envelope
from ranks.messages.operation import Operation
from ranks.words.constants import ANY_TAG
from ranks.words.errors import InvalidHandleError
from ranks.words.status import Status


class Message:
    """A message that a matched probe has taken out of its queue: only this handle can receive it.

    The handle is False once its message is received. A probe of PROC_NULL gives a handle that receives nothing.
    """

    __slots__ = ("_comm", "_is_received", "_message")

    def __init__(self, comm: Transfers, message: Envelope | None) -> None:
        self._comm, self._message, self._is_received = comm, message, False

    @classmethod
    def _of(cls, comm: Transfers, message: Envelope | None) -> Message:
        """Take a message that a probe has seen out of its queue, and return its handle."""
        if message is not None:
            message.lane.box.take(message)
        return cls(comm, message)

    def __reduce__(self) -> NoReturn:
        raise self._comm._error(
            InvalidHandleError, "a message to be copied or sent", "something that is no handle", "receive it first"
        )

    def __bool__(self) -> bool:
        return not self._is_received

    def Recv(self, buf: Any, status: Status | None = None) -> None:
        """Receive the message into `buf`."""
        self._receive(self._operation(buf, is_object=False), status)

    def recv(self, status: Status | None = None) -> Any:
        """Receive the message as the object that was sent."""
        return self._receive(self._operation(None, is_object=True), status)

    def Irecv(self, buf: Any) -> Request:
        """Start to receive the message into `buf`."""
        return Request(self._comm, self._comm._open(self._operation(buf, is_object=False)))

    def irecv(self) -> Request:
        """Start to receive the message as the object that was sent."""
        return Request(self._comm, self._comm._open(self._operation(None, is_object=True)))

    def _receive(self, operation: Operation, status: Status | None) -> Any:
        if operation.ready_ps is None:
            operation.waiting = ALL
            operation.state.scheduler.park_for(operation.state, (operation,))
        return self._comm._settle(operation, status)

    def _operation(self, buf: Any, *, is_object: bool) -> Operation:
        """Return the receive that has the message."""
        message, comm = self._message, self._comm
        comm._check_usable()
        if self._is_received:
            raise comm._error(
                InvalidHandleError, "a message that was received already", "a matched message", "Mprobe again"
            )
        flat = None if is_object or message is None else incoming(comm._state, buf)
        self._is_received, self._message = True, None
        if message is None:
            return comm._done("receive", ANY_TAG)
        operation = Operation("receive", comm._state, comm._box, message.source, message.tag, flat)
        comm._box.join(operation, message)
        return operation
