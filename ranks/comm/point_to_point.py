"""Point-to-point calls, spelled as mpi4py spells them, argument names and defaults included."""

from __future__ import annotations

import pickle
from typing import Any, Literal

import numpy as np
from greenlet import getcurrent

from ranks.comm.arguments import fill_in, incoming, is_nobody, outgoing
from ranks.comm.finishing import fill
from ranks.comm.matched import Message
from ranks.comm.requests import Prequest, Request
from ranks.comm.sending import BUFFERED, STANDARD, SYNCHRONOUS
from ranks.comm.transfers import NOTHING, Transfers
from ranks.words.constants import ANY_SOURCE, ANY_TAG
from ranks.words.datatypes import Flat
from ranks.words.status import Status


class PointToPoint(Transfers):
    """Upper-case calls take buffers, lower-case ones any object that pickles. `network/model.py` has the costs.

    Send returns when its buffer may be reused: at once if the message is buffered (`buffering`), otherwise
    when its receive has begun and the data has left. Ssend is never buffered, Bsend always (no buffer need be
    attached). The buffer of a receive holds what it held until the receive is complete.
    """

    __slots__ = ()

    # -- buffers, blocking -----------------------------------------------------------------------------------

    def Send(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer."""
        self.Sendrecv(buf, dest, tag, None, NOTHING)

    def Ssend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer, and return only when its receive has begun."""
        self._send(buf, dest, tag, SYNCHRONOUS)

    def Bsend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a copy of a buffer, and return at once."""
        self._send(buf, dest, tag, BUFFERED)

    def Recv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> None:
        """Receive into a buffer."""
        self.Sendrecv(None, NOTHING, 0, buf, source, tag, status)

    def Sendrecv_replace(
        self,
        buf: Any,
        dest: int,
        sendtag: int = 0,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Status | None = None,
    ) -> None:
        """Send a buffer and receive into the same one."""
        sent = buf if is_nobody(dest) else outgoing(self._state, buf).copy()
        self.Sendrecv(sent, dest, sendtag, buf, source, recvtag, status)

    # -- buffers, nonblocking --------------------------------------------------------------------------------

    def Isend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer, which must stay as it is until the request is complete."""
        return self._isend(buf, dest, tag, STANDARD)

    def Issend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer; complete when its receive has begun."""
        return self._isend(buf, dest, tag, SYNCHRONOUS)

    def Ibsend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of a buffer."""
        return self._isend(buf, dest, tag, BUFFERED)

    def Irecv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive into a buffer."""
        return Request(self, self._post_receive(buf, source, tag))

    def Send_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends `buf` at each Start."""
        return self._persistent_send(buf, dest, tag, STANDARD)

    def Ssend_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends `buf` synchronously at each Start."""
        return self._persistent_send(buf, dest, tag, SYNCHRONOUS)

    def Bsend_init(self, buf: Any, dest: int, tag: int = 0) -> Prequest:
        """Return a persistent request that sends a copy of `buf` at each Start."""
        return self._persistent_send(buf, dest, tag, BUFFERED)

    def Recv_init(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Prequest:
        """Return a persistent request that receives into `buf` at each Start."""
        self._check_caller("a communicator")
        if not is_nobody(source):
            incoming(self._state, buf)  # so that errors are raised here, not at the first Start
        return Prequest(self, lambda: self._post_receive(buf, source, tag))

    # -- objects ---------------------------------------------------------------------------------------------

    def send(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object."""
        self._send(self._pickled(obj), dest, tag, STANDARD, is_object=True)

    def ssend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return only when its receive has begun."""
        self._send(self._pickled(obj), dest, tag, SYNCHRONOUS, is_object=True)

    def bsend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return at once."""
        self._send(self._pickled(obj), dest, tag, BUFFERED, is_object=True)

    def recv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Any:
        """Receive and return an object; `buf` is there for mpi4py's sake and not used."""
        if getcurrent() is not self._caller:
            self._enter()
        return self._receive_matched(None, source, tag, status, is_object=True)

    def sendrecv(
        self,
        sendobj: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Status | None = None,
    ) -> Any:
        """Send an object and return the one received at the same time."""
        if getcurrent() is not self._caller:
            self._enter(sends=not is_nobody(dest))
        sending = self._post_send(self._pickled(sendobj), dest, sendtag, is_object=True)
        if self._caller is None:
            self._enter()
        got = self._receive_matched(None, source, recvtag, status, is_object=True, sending=sending)
        if sending is not None:
            self._finish_send(sending)
        return got

    def isend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object."""
        return self._isend(self._pickled(obj), dest, tag, STANDARD, is_object=True)

    def issend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object; complete when its receive has begun."""
        return self._isend(self._pickled(obj), dest, tag, SYNCHRONOUS, is_object=True)

    def ibsend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of an object."""
        return self._isend(self._pickled(obj), dest, tag, BUFFERED, is_object=True)

    def irecv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive an object, which `wait` and `test` return."""
        return Request(self, self._post_receive(None, source, tag, is_object=True))

    # -- probes ----------------------------------------------------------------------------------------------

    def Probe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Literal[True]:
        """Wait for a message, and leave it to be received."""
        operation = self._probe(source, tag)
        if status is not None:
            fill(status, operation)
        return True

    def Iprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> bool:
        """Return whether a message is there now; if not, a little time passes."""
        if is_nobody(source):
            return self.Probe(source, tag, status)
        message = self._poll(source, tag)
        if status is not None and message is not None:
            fill_in(status, message.source, message.tag, message.n_bytes)
        return message is not None

    def Mprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message:
        """Wait for a message, and take it out of its queue: only the handle returned can receive it."""
        operation = self._probe(source, tag)
        if status is not None:
            fill(status, operation)
        return Message._of(self, operation.message)

    def Improbe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message | None:
        """Return the handle of a message that is there now, or None."""
        if is_nobody(source):
            return self.Mprobe(source, tag, status)
        message = self._poll(source, tag)
        if message is None:
            return None
        if status is not None:
            fill_in(status, message.source, message.tag, message.n_bytes)
        return Message._of(self, message)

    probe, iprobe, mprobe, improbe = Probe, Iprobe, Mprobe, Improbe

    # -- shared steps ----------------------------------------------------------------------------------------

    def _isend(self, buf: Any, dest: int, tag: int, mode: int, *, is_object: bool = False) -> Request:
        return Request(self, self._post(buf, dest, tag, mode, is_object=is_object))

    def _persistent_send(self, buf: Any, dest: int, tag: int, mode: int) -> Prequest:
        self._check_caller("a communicator")
        if not is_nobody(dest):
            outgoing(self._state, buf)  # so that errors are raised here, not at the first Start
        return Prequest(self, lambda: self._post(buf, dest, tag, mode))

    def _pickled(self, obj: Any) -> Flat:
        return np.frombuffer(pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL), np.uint8)
