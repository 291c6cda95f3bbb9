"""Lets `import mpi4py` find `mpi.as_mpi4py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from mpi import MPI, as_mpi4py

_FOLDER = str(Path(as_mpi4py.__file__).parent)
_ours: dict[str, Any] = {}
_real: dict[str, ModuleType] = {}


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "mpi4py"]


def is_installed() -> bool:
    """Return whether `import mpi4py` finds ours now."""
    return _FOLDER in getattr(sys.modules.get("mpi4py"), "__path__", ())


def install() -> None:
    """Let `import mpi4py` find ours from now on; a second call changes nothing."""
    if is_installed():
        return
    _real.update((name, sys.modules.pop(name)) for name in _loaded())
    if not _ours:
        spec = spec_from_file_location("mpi4py", f"{_FOLDER}/__init__.py", submodule_search_locations=[_FOLDER])
        assert spec is not None
        assert spec.loader is not None
        package = module_from_spec(spec)
        spec.loader.exec_module(package)
        _ours.update({"mpi4py": package, "mpi4py.MPI": MPI, "mpi4py.rc": package.rc})
    sys.modules.update(_ours)
    _name_classes("mpi4py.MPI")


def uninstall() -> None:
    """Let `import mpi4py` find what was there before."""
    if is_installed():
        _ours.update((name, sys.modules.pop(name)) for name in _loaded())
        sys.modules.update(_real)
        _real.clear()
        _name_classes(MPI.__name__)


def _name_classes(module: str) -> None:
    """Let classes say that they are of this module, under which pickle finds them."""
    for each in (getattr(MPI, name) for name in MPI.__all__):
        if isinstance(each, type) and each.__module__ in (MPI.__name__, "mpi4py.MPI"):
            each.__module__ = module


@contextmanager
def ours_is_mpi4py() -> Iterator[None]:
    """Let `import mpi4py` find ours inside."""
    was_installed = is_installed()
    install()
    try:
        yield
    finally:
        if not was_installed:
            uninstall()
