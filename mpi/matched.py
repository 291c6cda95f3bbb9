"""Message: what a matched probe has taken out of its queue."""

from __future__ import annotations

from typing import Any

import ranks
from mpi.buffers import message
from mpi.common import CommBase
from mpi.constants import ANY_SOURCE, ANY_TAG, PROC_NULL
from mpi.errors import ERR_REQUEST
from mpi.handles import Handle, Named, constant
from mpi.process import process
from mpi.requests import Request
from mpi.status import Status


class Message(Handle):
    """A message that only this handle can receive; null once it is received."""

    __slots__ = ()
    error_class = ERR_REQUEST
    null = "MESSAGE_NULL"

    @classmethod
    def Probe(cls, comm: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Any:
        """Wait for a message of a communicator, and take it out of its queue."""
        return cls(CommBase._checked(comm).Mprobe(source, tag, status))

    @classmethod
    def Iprobe(cls, comm: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Any:
        """Return the handle of a message of a communicator that is there now, or None."""
        found = CommBase._checked(comm).Improbe(source, tag, status)
        return None if found is None else cls(found)

    probe, iprobe = Probe, Iprobe

    def Recv(self, buf: Any, status: Status | None = None) -> None:
        """Receive the message into a buffer."""
        matched = self._taken()
        if matched is NO_PROC:
            _fill(status)
        else:
            matched.Recv(message(buf, writable=True), status)

    def recv(self, status: Status | None = None) -> Any:
        """Receive the message as the object that was sent."""
        matched = self._taken()
        if matched is NO_PROC:
            _fill(status)
            return None
        return matched.recv(status)

    def Irecv(self, buf: Any) -> Request:
        """Start to receive the message into a buffer."""
        matched = self._taken()
        if matched is NO_PROC:
            return _nothing()
        return _request(matched.Irecv(message(buf, writable=True)))

    def irecv(self) -> Request:
        """Start to receive the message as the object that was sent."""
        matched = self._taken()
        return _nothing() if matched is NO_PROC else _request(matched.irecv())

    def _taken(self) -> Any:
        """Return what the handle stands for, and make the handle null; MESSAGE_NO_PROC remains."""
        found = self._object()
        if not self._is_constant():
            self._o = None
        return found


class _NoProc(Named):
    """Stands for the message of PROC_NULL."""


NO_PROC = _NoProc()
MESSAGE_NULL = constant("MESSAGE_NULL", Message())
MESSAGE_NO_PROC = constant("MESSAGE_NO_PROC", Message._of(NO_PROC))


def _fill(status: Status | None) -> None:
    if status is not None:
        status.fill(PROC_NULL, ANY_TAG, 0)


def _request(request: Any) -> Request:
    return Request._of(request._comm, request._operation)


def _nothing() -> Request:
    """Return the request of a receive from PROC_NULL."""
    c = process().self_.c
    return Request._of(c, c._post_receive(None, ranks.PROC_NULL, ANY_TAG, is_object=True))
