"""`mpi4py.util.pkl5`: communicators whose lower-case calls pickle large arrays apart, which all of ours do well."""

from __future__ import annotations

from typing import Any, NoReturn

from mpi import MPI

__all__ = ["Comm", "Intercomm", "Intracomm", "Message", "Pickle", "Request", "pickle"]
Message, Request = MPI.Message, MPI.Request
Pickle, pickle = MPI.Pickle, MPI.pickle


class Comm(MPI.Comm):
    """A communicator; a program that leaves this module out sends objects as fast."""

    __slots__ = ()

    def recv(
        self, buf: Any = None, source: int = MPI.ANY_SOURCE, tag: int = MPI.ANY_TAG, status: MPI.Status | None = None
    ) -> Any:
        """Receive and return an object; mpi4py would use `buf` as memory for its bytes."""
        return super().recv(None, source, tag, status)

    def irecv(self, buf: Any = None, source: int = MPI.ANY_SOURCE, tag: int = MPI.ANY_TAG) -> NoReturn:
        """Raise RuntimeError: the number of its messages is not known before the first one is there."""
        raise RuntimeError(
            f"{type(self).__name__}.irecv: got a call, expected none: a communicator of pkl5 has no irecv; remedy: "
            "call improbe, then irecv of the message that it returns, or irecv of an MPI.Comm"
        )


class Intracomm(Comm, MPI.Intracomm):
    """A communicator of one group of ranks."""

    __slots__ = ()


class Intercomm(Comm, MPI.Intercomm):
    """A communicator of two groups of ranks."""

    __slots__ = ()
