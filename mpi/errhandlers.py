"""Errhandler: what an object of MPI does with errors. Each error raises; a handler is for Call_errhandler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi.attributes import _call
from mpi.errors import ERR_ERRHANDLER, SUCCESS, wrong
from mpi.handles import Handle, Named, constant
from mpi.process import process
from mpi.simulated import whole

# mpi4py lets a program have so many at a time, of each kind of object.
MOST = 32


class Handler(Named):
    """What an error handler's handle stands for: a name, or a function of the program for a kind of objects."""

    def __init__(self, name: str, function: Any = None, kind: str = "") -> None:
        super().__init__()
        self.name, self.function, self.kind = name, function, kind


class Errhandler(Handle):
    """What an object of MPI does with errors."""

    __slots__ = ()
    error_class = ERR_ERRHANDLER
    null = "ERRHANDLER_NULL"

    def Free(self) -> None:
        """Make the handle null."""
        found: Handler = self._object()
        if found.function is not None:
            mine = process().handlers
            mine[found.kind] -= 1
        self._o = None


ERRHANDLER_NULL = constant("ERRHANDLER_NULL", Errhandler())
ERRORS_RETURN = constant("ERRORS_RETURN", Errhandler._of(Handler("ERRORS_RETURN")))
ERRORS_ABORT = constant("ERRORS_ABORT", Errhandler._of(Handler("ERRORS_ABORT")))
ERRORS_ARE_FATAL = constant("ERRORS_ARE_FATAL", Errhandler._of(Handler("ERRORS_ARE_FATAL")))


_OF_RC = {
    "exception": ERRORS_RETURN, "default": ERRORS_ARE_FATAL, "abort": ERRORS_ABORT, "fatal": ERRORS_ARE_FATAL,
}  # fmt: skip


class HandlesErrors(Handle):
    """An object of MPI with an error handler, which is kept as `errhandler`; None is that of `mpi4py.rc.errors`."""

    __slots__ = ()

    @classmethod
    def Create_errhandler(cls, errhandler_fn: Callable[[Any, int], None]) -> Errhandler:
        """Return a handler that calls a function with the object and the error class."""
        mine, kind = process().handlers, cls.null
        if mine[kind] >= MOST:
            raise RuntimeError(
                f"Create_errhandler: got handler {MOST + 1}, expected at most {MOST} at a time; remedy: Free some"
            )
        mine[kind] += 1
        return Errhandler._of(Handler("", errhandler_fn, kind))

    def Get_errhandler(self) -> Errhandler:
        """Return the object's handler."""
        found = self._object().errhandler
        return Errhandler._of(found if found is not None else _OF_RC[process().settings["errors"]]._o)

    def Set_errhandler(self, errhandler: Errhandler) -> None:
        """Set the object's handler."""
        self._object().errhandler = Errhandler._checked(errhandler)._object()

    def Call_errhandler(self, errorcode: int) -> None:
        """Call the object's handler with an error class."""
        found = self.Get_errhandler()._o
        if found.function is not None:
            _call(found.function, self, whole(errorcode))
        elif whole(errorcode) != SUCCESS and found is not ERRORS_RETURN._o:
            raise wrong(whole(errorcode), f"Call_errhandler under {found.name}", "no error", "see who called it")
