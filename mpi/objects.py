"""Sends and receives of objects: mpi4py's lower-case names."""

from __future__ import annotations

import warnings
from typing import Any

from mpi.constants import ANY_SOURCE, ANY_TAG, PROC_NULL
from mpi.memory import memory_of
from mpi.point_to_point import PointToPoint, numbers
from mpi.process import process
from mpi.requests import Request
from mpi.status import Status
from ranks.comm.sending import BUFFERED, STANDARD


class Objects(PointToPoint):
    """Sends and receives of objects that pickle."""

    __slots__ = ()

    def send(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object."""
        dest, tag = numbers(dest, tag)
        self._c.send(_unless_nobody(obj, dest), dest, tag)

    def ssend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return only when its receive has begun."""
        dest, tag = numbers(dest, tag)
        self._c.ssend(_unless_nobody(obj, dest), dest, tag)

    def bsend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return at once."""
        dest, tag = self._to(dest, tag, BUFFERED)
        self._c.bsend(_unless_nobody(obj, dest), dest, tag)

    def recv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Any:
        """Receive and return an object; `buf`, which is not needed, is memory for its pickle, or the size of that."""
        if buf is not None:
            warnings.warn("recv: got a buffer, expected none: no call needs one", UserWarning, stacklevel=2)
            return self.irecv(buf, source, tag).wait(status)
        return self._c.recv(None, *numbers(source, tag), status)

    def sendrecv(
        self, sendobj: Any, dest: int, sendtag: int = 0, recvbuf: Any = None, source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG, status: Status | None = None,
    ) -> Any:  # fmt: skip
        """Send an object and return the one received at the same time."""
        if recvbuf is not None:
            received, sent = self.irecv(recvbuf, source, recvtag), self.isend(sendobj, dest, sendtag)
            obj = received.wait(status)
            sent.wait()
            return obj
        (dest, sendtag), (source, recvtag) = numbers(dest, sendtag), numbers(source, recvtag)
        return self._c.sendrecv(_unless_nobody(sendobj, dest), dest, sendtag, None, source, recvtag, status)

    def isend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object."""
        return self._isend_object("isend", obj, dest, tag)

    def issend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object; complete when its receive has begun."""
        return self._isend_object("issend", obj, dest, tag)

    def ibsend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of an object."""
        return self._isend_object("ibsend", obj, dest, tag)

    def _isend_object(self, call: str, obj: Any, dest: Any, tag: Any) -> Request:
        dest, tag = self._to(dest, tag, BUFFERED if call == "ibsend" else STANDARD)
        begun = getattr(self._c, call)(_unless_nobody(obj, dest), dest, tag)
        return Request._of(begun._comm, begun._operation)

    def irecv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive an object, which `wait` and `test` return; `buf`, or 32 KiB, is the room that there is."""
        room = process().settings["irecv_bufsz"] if buf is None else buf
        if not isinstance(room, int):
            room = memory_of(buf, writable=True)[0]
        begun = self._c.irecv(None, *numbers(source, tag))
        return Request._of(begun._comm, begun._operation, room)


def _unless_nobody(obj: Any, dest: int) -> Any:
    """Return the object; None for PROC_NULL, for whom it need not pickle."""
    return None if dest == PROC_NULL else obj
