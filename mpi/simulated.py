"""The communicator of the ranks as MPI's rules want it: what MPI lets pass is a warning, unless the run is checked."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import ranks
from mpi.constants import PROC_NULL
from mpi.errors import WrongSizeError, WrongTypeError, wrong
from mpi.pickles import pickle
from ranks.engine.rank import ALL
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.observers.buffers import BufferChecks
from ranks.words.datatypes import Scattered
from ranks.words.errors import ProgramWarning

BYTES = np.dtype(np.uint8)


class Simulated(ranks.Comm):
    """What stands behind a communicator: its sends and receives, on simulated ranks."""

    __slots__ = ()
    is_lenient = True

    def _members(self) -> Any:
        """Return the mailboxes of the local group, in order."""
        return self._context.boxes

    def _finish_send(self, operation: Operation) -> None:
        """Wait until a blocking send is complete; one to oneself that was not buffered is there by then."""
        message: Any = operation.message
        super()._finish_send(operation)
        state, receive = self._state, message.receive
        if operation.peer != self.rank or self._context.boxes[self.rank] is not self._box:
            return
        if receive is not None and receive.ready_ps is None:
            receive.waiting = ALL
            self._scheduler.park_for(state, (receive,))
        state.now = max(state.now, message.arrival or 0)

    def _pickled(self, obj: Any) -> Any:
        return np.frombuffer(pickle.dumps(obj), np.uint8)

    def _unpickled(self, message: Message) -> Any:
        return pickle.loads(message.as_bytes()) if message.n_bytes else None

    def _reconcile(self, operation: Operation, message: Message) -> Any:
        """Return the buffer as elements of the message's dtype; a warning says that MPI's rules want one dtype.

        Bytes fit all: that is how packed data and structures travel.
        """
        kind, buf = message.kind, operation.buf
        problem = self._misfit(operation, message)
        if buf is None:
            return None  # any bytes may be what pickle made
        if buf.nbytes < kind.n_bytes:
            raise problem
        if BYTES not in (buf.dtype, kind.dtype):
            if self._is_checked():
                raise problem
            warnings.warn(f"{problem}", ProgramWarning, stacklevel=2)
        if isinstance(buf, Scattered):
            return buf
        return buf.reshape(-1).view(np.uint8)[: kind.n_bytes].view(kind.dtype)

    def _is_checked(self) -> bool:
        """Return whether the run is checked."""
        return any(isinstance(observer, BufferChecks) for observer in self._transport.observers)


def whole(value: Any) -> Any:
    """Return a rank, a tag or a count as C takes it: any number is cut to an integer."""
    if value is PROC_NULL:
        return ranks.PROC_NULL
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__int__"):
        raise wrong(WrongTypeError, f"{value!r:.60}", "an integer", "pass a number")
    return int(value)


def c_int(value: Any) -> Any:
    """Return a rank, a tag or a color as an int of C."""
    number = whole(value)
    if not -(2**31) <= number < 2**31:
        raise wrong(WrongSizeError, f"{number}", "a number that an int of C holds", "pass a smaller number")
    return number
