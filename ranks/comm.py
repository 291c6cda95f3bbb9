"""Point-to-point calls, spelled as mpi4py spells them, argument names and defaults included."""

from __future__ import annotations

import pickle
from typing import Any, Literal

import numpy as np

from ranks.constants import ANY_SOURCE, ANY_TAG, PROC_NULL
from ranks.datatypes import Flat
from ranks.endpoint import BUFFERED, STANDARD, SYNCHRONOUS, fill
from ranks.messages import Message as Envelope
from ranks.messages import Operation
from ranks.quick import NOTHING, RECEIVED, QuickEndpoint
from ranks.request import Message, Prequest, Request, received_object
from ranks.status import Status


class PointToPoint(QuickEndpoint):
    """Upper-case calls take buffers, lower-case ones any object that pickles. `network.py` has the costs.

    Send returns when its buffer may be reused: at once if the message is buffered (`buffering`), otherwise
    when its receive has begun and the data has left. Ssend is never buffered, Bsend always (no buffer need be
    attached).
    """

    __slots__ = ()

    # -- buffers, blocking -----------------------------------------------------------------------------------

    def Send(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer."""
        if not self._send_quick(buf, dest, tag):
            self._send(self._flat(buf), dest, tag, STANDARD)

    def Ssend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a buffer, and return only when its receive has begun."""
        self._send(self._flat(buf), dest, tag, SYNCHRONOUS)

    def Bsend(self, buf: Any, dest: int, tag: int = 0) -> None:
        """Send a copy of a buffer, and return at once."""
        self._send(self._flat(buf), dest, tag, BUFFERED)

    def Recv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> None:
        """Receive into a buffer."""
        if not self._receive_quick(buf, source, tag, status):
            self._receive(self._flat(buf, writable=True), source, tag, status)

    def Sendrecv(
        self,
        sendbuf: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Status | None = None,
    ) -> None:
        """Send one buffer and receive into another at the same time."""
        done = NOTHING if status is not None else self._exchange_quick(sendbuf, dest, sendtag, recvbuf, source, recvtag)
        if done == RECEIVED:
            return
        sending = None
        if done == NOTHING and not self._send_quick(sendbuf, dest, sendtag):
            flat = self._flat(sendbuf)
            sending = self._post_send(flat, dest, sendtag, STANDARD, pickled=False, blocking=True)
        if sending is not None or not self._receive_quick(recvbuf, source, recvtag, status):
            receiving = self._post_receive(self._flat(recvbuf, writable=True), source, recvtag)
            self._exchange(sending, receiving, status)

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
        flat = self._flat(buf, writable=True)
        sending = self._post_send(flat.copy(), dest, sendtag, STANDARD, pickled=False, blocking=True)
        self._exchange(sending, self._post_receive(flat, source, recvtag), status)

    def _exchange(self, sending: Operation | None, receiving: Operation, status: Status | None) -> None:
        if sending is not None and sending.ready_ps is None and receiving.ready_ps is None:
            self._state.awaits = [sending, receiving]
        self._finish_receive(receiving, status)
        if sending is not None:
            self._world.wait(sending)
            self._settle(sending, None)

    # -- buffers, nonblocking --------------------------------------------------------------------------------

    def Isend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer, which must stay as it is until the request is complete."""
        return self._isend(self._flat(buf), dest, tag, STANDARD)

    def Issend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a buffer; complete when its receive has begun."""
        return self._isend(self._flat(buf), dest, tag, SYNCHRONOUS)

    def Ibsend(self, buf: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of a buffer."""
        return self._isend(self._flat(buf), dest, tag, BUFFERED)

    def Irecv(self, buf: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive into a buffer."""
        return self._irecv(self._flat(buf, writable=True), source, tag)

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
        flat = self._flat(buf, writable=True)

        def post() -> Operation:
            operation = self._post_receive(flat, source, tag)
            self._open(operation)
            return operation

        return Prequest(self, post)

    # -- objects ---------------------------------------------------------------------------------------------

    def send(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object."""
        self._send(_pickled(obj), dest, tag, STANDARD, pickled=True)

    def ssend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return only when its receive has begun."""
        self._send(_pickled(obj), dest, tag, SYNCHRONOUS, pickled=True)

    def bsend(self, obj: Any, dest: int, tag: int = 0) -> None:
        """Send an object, and return at once."""
        self._send(_pickled(obj), dest, tag, BUFFERED, pickled=True)

    def recv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Any:
        """Receive and return an object; `buf` is there for mpi4py's sake and not used."""
        return received_object(self._receive(None, source, tag, status))

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
        flat = _pickled(sendobj)
        sending = self._post_send(flat, dest, sendtag, STANDARD, pickled=True, blocking=True)
        receiving = self._post_receive(None, source, recvtag)
        self._exchange(sending, receiving, status)
        return received_object(receiving)

    def isend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object."""
        return self._isend(_pickled(obj), dest, tag, STANDARD, pickled=True)

    def issend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send an object; complete when its receive has begun."""
        return self._isend(_pickled(obj), dest, tag, SYNCHRONOUS, pickled=True)

    def ibsend(self, obj: Any, dest: int, tag: int = 0) -> Request:
        """Start to send a copy of an object."""
        return self._isend(_pickled(obj), dest, tag, BUFFERED, pickled=True)

    def irecv(self, buf: Any = None, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Request:
        """Start to receive an object, which `wait` and `test` return."""
        return self._irecv(None, source, tag)

    # -- probes ----------------------------------------------------------------------------------------------

    def Probe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Literal[True]:
        """Wait for a message, and leave it to be received."""
        operation = self._probe(source, tag)
        if status is not None:
            fill(status, operation)
        return True

    def Iprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> bool:
        """Return whether a message is there now; if not, a little time passes."""
        message = None if source == PROC_NULL else self._poll(source, tag)
        if status is not None and message is not None:
            status.fill(message.source, message.tag, message.flat.nbytes)
        elif status is not None and source == PROC_NULL:
            status.fill(PROC_NULL, ANY_TAG, 0)
        return message is not None or source == PROC_NULL

    def Mprobe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message:
        """Wait for a message, and take it out of its queue: only the handle returned can receive it."""
        operation = self._probe(source, tag)
        if status is not None:
            fill(status, operation)
        message = operation.message
        return self._matched(message) if message is not None else _no_proc(self)

    def Improbe(self, source: int = ANY_SOURCE, tag: int = ANY_TAG, status: Status | None = None) -> Message | None:
        """Return the handle of a message that is there now, or None."""
        if source == PROC_NULL:
            return self.Mprobe(source, tag, status)
        message = self._poll(source, tag)
        if message is None:
            return None
        if status is not None:
            status.fill(message.source, message.tag, message.flat.nbytes)
        return self._matched(message)

    probe, iprobe, mprobe, improbe = Probe, Iprobe, Mprobe, Improbe

    # -- shared steps ----------------------------------------------------------------------------------------

    def _isend(self, flat: Flat, dest: int, tag: int, mode: int, *, pickled: bool = False) -> Request:
        return Request(self, self._post_send(flat, dest, tag, mode, pickled=pickled, blocking=False))

    def _irecv(self, flat: Flat | None, source: int, tag: int) -> Request:
        operation = self._post_receive(flat, source, tag)
        self._open(operation)
        return Request(self, operation)

    def _persistent_send(self, buf: Any, dest: int, tag: int, mode: int) -> Prequest:
        flat = self._flat(buf)

        def post() -> Operation:
            operation = self._post_send(flat, dest, tag, mode, pickled=False, blocking=False)
            assert operation is not None
            return operation

        return Prequest(self, post)

    def _matched(self, message: Envelope) -> Message:
        self._box.take(message)
        message.taken = True
        return Message(self, message)


def _pickled(obj: Any) -> Flat:
    return np.frombuffer(pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL), np.uint8)


def _no_proc(comm: PointToPoint) -> Message:
    return Message(comm, Envelope(comm._box, PROC_NULL, ANY_TAG, np.empty(0, np.uint8)))
