"""The package that `import mpi4py` finds on simulated ranks, whether mpi4py is installed or not.

It knows `mpi.MPI`; it does not know how programs are started. Its modules are loaded under mpi4py's names.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MPI: Any = import_module("mpi.MPI")

__version__ = "4.1.1"
__all__ = ["MPI"]


class Rc:
    """The options of `mpi4py.rc`: they are kept, and change nothing, since no MPI library is loaded."""

    def __init__(self) -> None:
        self.initialize, self.threads, self.thread_level, self.finalize = True, True, "multiple", None
        self.fast_reduce, self.recv_mprobe, self.irecv_bufsz, self.errors = True, True, 32768, "exception"

    def __call__(self, **options: Any) -> None:
        for name, value in options.items():
            if name not in vars(self):
                raise TypeError(f"unexpected argument {name!r}")
            setattr(self, name, value)


rc = Rc()


def get_config() -> dict[str, str]:
    """Return how MPI was built: nothing was."""
    return {}


def get_include() -> str:
    """Return the folder of C headers: there is none."""
    return ""


def profile(name: str, *, path: Any = None) -> None:
    """Do nothing: there is no library whose calls could be traced; `--trace` and `--summary` show them."""
