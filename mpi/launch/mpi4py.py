"""What `import mpi4py` finds on simulated ranks, whether mpi4py is installed or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mpi import MPI

VERSION = "4.1.1"


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


def _package() -> dict[str, ModuleType]:
    """Return mpi4py and its modules by name."""
    package, rc = ModuleType("mpi4py", "mpi4py on simulated ranks."), ModuleType("mpi4py.rc")
    vars(package).update(
        __path__=[], __version__=VERSION, MPI=MPI, rc=Rc(), get_config=dict, get_include=lambda: "",
        profile=lambda *names, **options: None,
    )  # fmt: skip
    return {"mpi4py": package, "mpi4py.MPI": MPI, "mpi4py.rc": rc}


_real: dict[str, ModuleType] = {}


def install() -> None:
    """Let `import mpi4py` find ours from now on; twice is once."""
    if getattr(sys.modules.get("mpi4py"), "MPI", None) is MPI:
        return
    _real.update((name, sys.modules.pop(name)) for name in _loaded())
    sys.modules.update(_package())


def uninstall() -> None:
    """Let `import mpi4py` find what was there before."""
    if getattr(sys.modules.get("mpi4py"), "MPI", None) is MPI:
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(_real)
        _real.clear()


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "mpi4py"]


@contextmanager
def as_mpi4py() -> Iterator[None]:
    """Let `import mpi4py` find ours inside."""
    was_there = getattr(sys.modules.get("mpi4py"), "MPI", None) is MPI
    install()
    try:
        yield
    finally:
        if not was_there:
            uninstall()
