"""The package that `import mpi4py` finds on simulated ranks, whether mpi4py is installed or not.

It knows `mpi.MPI`; it does not know how programs are started. Its modules are loaded under mpi4py's names.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from mpi.process import process
from mpi.rc import OPTIONS

__version__ = "4.1.2"
__all__ = ["MPI"]


class Rc:
    """The options of `mpi4py.rc`, of which each rank has its own; they have effect if set before MPI is imported.

    initialize:   Whether MPI is initialized before the program calls Init.
    threads, thread_level: What Query_thread returns.
    irecv_bufsz:  The bytes that `irecv` has room for if it is given no buffer.
    fast_reduce:  Whether reductions of objects go along a tree; if not, one rank reduces them in order.
    errors:       The error handler that communicators have: `exception`, `default`, `abort` or `fatal`. All raise.

    The others, finalize and recv_mprobe, change nothing that a program can see.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in OPTIONS:
            raise AttributeError(f"mpi4py.rc: got option {name!r}, expected one of {', '.join(OPTIONS)}")
        return self._options()[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self(**{name: value})

    def __call__(self, **options: Any) -> None:
        for name in options:
            if name not in OPTIONS:
                raise TypeError(f"mpi4py.rc: got option {name!r}, expected one of {', '.join(OPTIONS)}")
        self._options().update(options)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *OPTIONS]

    def __repr__(self) -> str:
        return "<mpi4py.rc>"

    @staticmethod
    def _options() -> dict[str, Any]:
        """Return the options of the rank that runs; a thread has those of its rank."""
        return process().options


rc = Rc()
_MPI = import_module("mpi.MPI")


def __getattr__(name: str) -> Any:
    """Return the module MPI; a rank that imports it takes the options as they are."""
    if name != "MPI":
        raise AttributeError(f"module 'mpi4py' has no attribute {name!r}")
    with suppress(RuntimeError):  # outside of a run
        process().settings  # noqa: B018  # which are taken now
    return _MPI


def get_config() -> dict[str, str]:
    """Return how MPI was built: nothing was."""
    return {}


def get_include() -> str:
    """Return the folder of C headers: there is none."""
    return ""


def profile(name: str, *, path: Any = None) -> None:
    """Do nothing: there is no library whose calls could be traced; `--trace` and `--summary` show them."""
