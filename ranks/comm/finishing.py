"""How an operation ends: the rank's clock and counts, the data, what observers hear."""

from __future__ import annotations

import pickle
from typing import Any

from ranks.comm.arguments import fill_in
from ranks.comm.handle import Handle
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.words.callsite import site_mark
from ranks.words.constants import ANY_SOURCE, ANY_TAG, PROC_NULL
from ranks.words.datatypes import typed_name
from ranks.words.errors import DatatypeMismatchError, RanksError, TruncationError
from ranks.words.status import Status


class Finishing(Handle):
    """A communicator's way to open operations and to settle them."""

    __slots__ = ()

    def _done(self, what: str, tag: int) -> Operation:
        """Return the operation of a send to, or receive from, PROC_NULL: complete, with no message."""
        operation = Operation(what, self._state, self._box, PROC_NULL, tag, None)
        operation.ready_ps = self._state.now
        return operation

    def _open(self, operation: Operation) -> Operation:
        """Remember a nonblocking operation until it is settled."""
        state = self._state
        operation.site = site_mark()
        state.streak = None
        if state.open is None:
            state.open = {}
        for observer in self._transport.observers:
            observer.posted(operation)
        state.open[operation] = None
        return operation

    def _settle(self, operation: Operation, status: Status | None) -> Any:
        """Let the rank reach the end of a complete operation: clock, counts, data. Return the object received."""
        state, message = self._state, operation.message
        begin_ps, ready_ps = state.now, operation.ready_ps
        if ready_ps > begin_ps:  # type: ignore[operator]  # it is complete
            state.now = ready_ps  # type: ignore[assignment]
        if state.open is not None:
            state.open.pop(operation, None)
        if self._caller is None:
            for observer in self._transport.observers:
                observer.finishing(operation)
        if status is not None:
            fill(status, operation)
        if message is None:
            got = None
        elif operation.what == "receive":
            got = self._take_data(operation, message, begin_ps)
        else:
            got = None
            message.keep_data()
            if self._caller is None:
                for observer in self._transport.observers:
                    observer.before_call(state, sends=False)
                    observer.send_finished(operation, message, begin_ps)
        return got

    def _take_data(self, operation: Operation, message: Message, begin_ps: int) -> Any:
        """Copy the data of a received message to its buffer, and let the message be used again; return an object."""
        state, kind, buf = self._state, message.kind, operation.buf
        state.now += self._overhead_ps
        state.received += kind.traffic
        if self._caller is None:
            self._tell_received(message, operation.peer, operation.tag, begin_ps)
        if buf is None:
            if not kind.is_object:
                self._reconcile(operation, message)
            return self._unpickled(message)
        if (buf.dtype is not kind.dtype and buf.dtype != kind.dtype) or buf.nbytes < kind.n_bytes:
            buf = self._reconcile(operation, message)
        message.copy_into(buf)
        operation.buf = None  # a rank uses its operation again: it would keep the array alive
        if message.data is None:
            message.taken, message.receive = False, None
            kind.free.append(message)
        message.data = None
        return None

    def _tell_received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Let observers know of a message that was received."""
        state = self._state
        for observer in self._transport.observers:
            observer.before_call(state, sends=False)
            state.now += observer.own_ps(state, self._overhead_ps) - self._overhead_ps
            observer.received(message, source, tag, begin_ps)

    def _unpickled(self, message: Message) -> Any:
        """Return the object that a message holds."""
        return pickle.loads(message.as_bytes())

    def _reconcile(self, operation: Operation, message: Message) -> Any:
        """Return the buffer of a receive so that a message of another dtype fits, or raise if it may not have it."""
        raise self._misfit(operation, message)

    def _misfit(self, operation: Operation, message: Message) -> RanksError:
        """Return the error for a message that cannot go into the buffer of its receive."""
        kind, buf = message.kind, operation.buf
        got = f"{typed_name(kind.dtype, kind.n_bytes)} from rank {message.source}, tag {kind.tag}"
        if buf is None:
            remedy = "receive it with Recv, or send it with send"
            return self._error(DatatypeMismatchError, f"a buffer of {got}", "a pickled object", remedy)
        if buf.dtype != kind.dtype:
            return self._error(DatatypeMismatchError, got, f"{buf.dtype.name}", "use one dtype on both sides")
        expected = f"at most {typed_name(buf.dtype, buf.nbytes)}"
        return self._error(TruncationError, got, expected, "receive into a larger buffer, or Probe for the size first")


def fill(status: Status, operation: Operation) -> None:
    """Fill in `status` from a finished operation."""
    message = operation.message
    if operation.peer == PROC_NULL:
        fill_in(status, PROC_NULL, ANY_TAG, 0)
    elif message is None or operation.what == "send":
        fill_in(status, ANY_SOURCE, ANY_TAG, 0, cancelled=operation.cancelled)
    else:
        fill_in(status, message.source, message.tag, message.n_bytes)
