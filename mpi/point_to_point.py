"""Sends and receives of buffers, and probes: mpi4py's names in front of those of the ranks.

A plain array goes to the ranks as it is; all else goes through `buffers.message` first.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mpi.buffers import message
from mpi.common import CommBase
from mpi.constants import ANY_SOURCE, ANY_TAG, PROC_NULL
from mpi.matched import NO_PROC, Message
from mpi.process import require_attached
from mpi.requests import Prequest, Request
from mpi.simulated import c_int
from mpi.status import Status
from ranks.comm.sending import BUFFERED, STANDARD, SYNCHRONOUS
from ranks.words.errors import InvalidBufferError, InvalidRankError, InvalidTagError

# Raised by arguments that `ranks` refuses: an array that is not contiguous or has another dtype, or a number that is no
# int of C. They are then read as mpi4py reads them, which accepts them or raises an error of mpi4py's class.
UNUSUAL = (InvalidBufferError, InvalidRankError, InvalidTagError)


def numbers(peer: Any, tag: Any) -> tuple[Any, Any]:
    """Return a rank and a tag as the ranks take them."""
    return (
        peer if type(peer) is int and -(2**31) <= peer < 2**31 else c_int(peer),
        tag if type(tag) is int and -(2**31) <= tag < 2**31 else c_int(tag),
    )


class PointToPoint(CommBase):
    """Sends and receives of buffers."""

    __slots__ = ()

    # -- blocking ------------------------------------------------------------------------------------------------

    def Send(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer, and return when it may be used again."""
        if type(buf) is np.ndarray and type(dest) is int and self._o is not None:
            try:
                return self._o.c.Send(buf, dest, tag)  # type: ignore[no-any-return]
            except UNUSUAL:
                pass
        dest, tag = numbers(dest, tag)
        self._c.Send(message(buf, writable=False, rank=dest), dest, tag)

    def Recv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> None:
        """Receive into a buffer."""
        if type(buf) is np.ndarray and type(source) is int and self._o is not None:
            try:
                return self._o.c.Recv(buf, source, tag, status)  # type: ignore[no-any-return]
            except UNUSUAL:
                pass
        source, tag = numbers(source, tag)
        self._c.Recv(message(buf, writable=True, rank=source), source, tag, status)

    def Sendrecv(
        self, sendbuf: Any, dest: int, sendtag: int = 0, recvbuf: Any = None, source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG, status: Status | None = None,
    ) -> None:  # fmt: skip
        """Send one buffer and receive into another at the same time."""
        is_plain = type(sendbuf) is type(recvbuf) is np.ndarray and type(dest) is type(source) is int
        if is_plain and self._o is not None:
            try:
                return self._o.c.Sendrecv(  # type: ignore[no-any-return]
                    sendbuf, dest, sendtag, recvbuf, source, recvtag, status
                )
            except UNUSUAL:
                pass
        (dest, sendtag), (source, recvtag) = numbers(dest, sendtag), numbers(source, recvtag)
        sendbuf = message(sendbuf, writable=False, rank=dest)
        recvbuf = message(recvbuf, writable=True, rank=source)
        self._c.Sendrecv(sendbuf, dest, sendtag, recvbuf, source, recvtag, status)

    def Sendrecv_replace(
        self, buf: Any, dest: int, sendtag: int = 0, source: int = ANY_SOURCE, recvtag: int = ANY_TAG,
        status: Status | None = None,
    ) -> None:  # fmt: skip
        """Send a buffer and receive into the same one."""
        (dest, sendtag), (source, recvtag) = numbers(dest, sendtag), numbers(source, recvtag)
        buf = message(buf, writable=True, rank=PROC_NULL if dest == source == PROC_NULL else 0)
        self._c.Sendrecv_replace(buf, dest, sendtag, source, recvtag, status)

    def Ssend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer, and return only when its receive has begun."""
        self._send(buf, dest, tag, SYNCHRONOUS)

    def Bsend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a copy of a buffer, and return at once."""
        self._send(buf, dest, tag, BUFFERED)

    def Rsend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer whose receive has begun, which nobody checks."""
        self._send(buf, dest, tag, STANDARD)

    def _send(self, buf: Any, dest: Any, tag: Any, mode: int) -> None:
        dest, tag = self._to(dest, tag, mode)
        self._c._send(message(buf, writable=False, rank=dest), dest, tag, mode)

    def _to(self, dest: Any, tag: Any, mode: int) -> tuple[Any, Any]:
        """Return dest and tag of a send; raise if it is a buffered one and there is no buffer for it."""
        dest, tag = numbers(dest, tag)
        if mode == BUFFERED and dest != PROC_NULL:
            require_attached(self._object())
        return dest, tag

    # -- nonblocking ---------------------------------------------------------------------------------------------

    def Isend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer, which must stay as it is until the request is complete."""
        return self._isend(buf, dest, tag, STANDARD)

    def Issend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer; complete when its receive has begun."""
        return self._isend(buf, dest, tag, SYNCHRONOUS)

    def Ibsend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of a buffer."""
        return self._isend(buf, dest, tag, BUFFERED)

    def Irsend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer whose receive has begun, which nobody checks."""
        return self._isend(buf, dest, tag, STANDARD)

    def _isend(self, buf: Any, dest: Any, tag: Any, mode: int) -> Request:
        dest, tag = self._to(dest, tag, mode)
        c = self._c
        return Request._of(c, c._post(message(buf, writable=False, rank=dest), dest, tag, mode))

    def Irecv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive into a buffer."""
        source, tag = numbers(source, tag)
        c = self._c
        return Request._of(c, c._post_receive(message(buf, writable=True, rank=source), source, tag))

    # -- persistent ----------------------------------------------------------------------------------------------

    def Send_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends a buffer at each Start."""
        return self._persistent_send(buf, dest, tag, STANDARD)

    def Ssend_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends a buffer synchronously at each Start."""
        return self._persistent_send(buf, dest, tag, SYNCHRONOUS)

    def Bsend_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends a copy of a buffer at each Start."""
        return self._persistent_send(buf, dest, tag, BUFFERED)

    def Rsend_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends a buffer at each Start, when its receive has begun."""
        return self._persistent_send(buf, dest, tag, STANDARD)

    def _persistent_send(self, buf: Any, dest: Any, tag: Any, mode: int) -> Prequest:
        dest, tag = self._to(dest, tag, mode)
        c = self._c
        if dest != PROC_NULL:
            c._lane_to(dest, tag)  # so that errors are raised here, not at the first Start
        message(buf, writable=False, rank=dest)
        return Prequest._to_post(c, lambda: c._post(message(buf, writable=False, rank=dest), dest, tag, mode))

    def Recv_init(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Prequest:
        """Return a persistent request that receives into a buffer at each Start."""
        source, tag = numbers(source, tag)
        c = self._c
        if source != PROC_NULL:
            c._check_source(source, tag)
        message(buf, writable=True, rank=source)
        return Prequest._to_post(c, lambda: c._post_receive(message(buf, writable=True, rank=source), source, tag))

    # -- probes --------------------------------------------------------------------------------------------------

    def Probe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Literal[True]:
        """Wait for a message, and leave it to be received."""
        self._c.Probe(*numbers(source, tag), status)
        return True

    def Iprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> bool:
        """Return whether a message is there now; if not, a little time passes."""
        found: bool = self._c.Iprobe(*numbers(source, tag), status)
        return found

    def Mprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message:
        """Wait for a message, and take it out of its queue: only the handle returned can receive it."""
        matched = self._c.Mprobe(*numbers(source, tag), status)
        return Message._of(matched if matched._message is not None else NO_PROC)

    def Improbe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message | None:
        """Return the handle of a message that is there now, or None."""
        matched = self._c.Improbe(*numbers(source, tag), status)
        if matched is None:
            return None
        return Message._of(matched if matched._message is not None else NO_PROC)

    probe, iprobe, mprobe, improbe = Probe, Iprobe, Mprobe, Improbe
