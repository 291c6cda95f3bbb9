"""Modules of the user, of which each rank has its own; installed ones are there once, for all ranks.

A user's module is one that Python finds in a file that is neither installed nor part of Python or of this project. Its
code is compiled once for all ranks.
"""

from __future__ import annotations

import builtins
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from importlib.machinery import FrozenImporter, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ranks.engine.rank import current_rank, is_thread_of_rank
from ranks.words.callsite import as_libraries

_PROJECT = Path(__file__).parents[2]
_OURS = ("ranks", "loggp", "collectives", "mpi", "sorting", "parallel", "training", "experiments")


@lru_cache
def _shared_folders() -> tuple[str, ...]:
    """Return the folders of the modules that all ranks share, each with a separator at its end."""
    named = sysconfig.get_paths()
    installed = {named["stdlib"], named["platstdlib"], named["purelib"], named["platlib"], *site.getsitepackages()}
    folders = installed | {site.getusersitepackages()}
    return _our_folders() + tuple(f"{path}/" for each in folders for path in {each, str(Path(each).resolve())})


@lru_cache
def _our_folders() -> tuple[str, ...]:
    return tuple(f"{_PROJECT / name}/" for name in _OURS)


def project_is_library() -> AbstractContextManager[None]:
    """Let reports name the lines of the program only inside: to it, collectives are part of MPI."""
    return as_libraries(*_our_folders())


def is_ours(path: str) -> bool:
    """Return whether a file belongs to this project."""
    return path.startswith(_our_folders())


def is_users(path: str) -> bool:
    """Return whether a file belongs to the user."""
    return not path.startswith(_shared_folders()) and "/site-packages/" not in path and "/dist-packages/" not in path


def replaced_by_users(folder: str) -> list[str]:
    """Return the names of all loaded modules that are not those of this folder, though it has files for them.

    What Python loads before it looks at any folder is not among them.
    """
    here = Path(folder)
    files = {path.stem: path for path in here.glob("*.py")}
    files |= {path.parent.name: path for path in here.glob("*/__init__.py")}
    tops = {
        name
        for name, path in files.items()
        if getattr(sys.modules.get(name), "__file__", str(path)) != str(path) and FrozenImporter.find_spec(name) is None
    }
    return [name for name in sys.modules if name.partition(".")[0] in tops]


class UsersLoader(SourceFileLoader):
    """A loader that takes code which is compiled already."""

    def __init__(self, name: str, path: str, codes: dict[str, CodeType]) -> None:
        super().__init__(name, path)
        self.codes = codes

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the file."""
        code = self.codes.get(self.path)
        if code is None:
            code = self.codes[self.path] = self.source_to_code(self.get_data(self.path), self.path)
        return code


class UsersFinder:
    """A finder that notes which modules are a rank's own; a thread finds those of the whole process.

    own:    It returns the own modules of the rank that imports, by name.
    codes:  This is the code of the files that were compiled, by path.
    """

    def __init__(self, own: Callable[[], dict[str, Any]], codes: dict[str, CodeType]) -> None:
        self.own, self.codes = own, codes

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is found; None if no rank asks, or if there is none."""
        is_rank = current_rank() is not None and not is_thread_of_rank()
        spec = PathFinder.find_spec(name, path, target) if is_rank else None
        if spec is None:
            return None
        is_source = isinstance(spec.loader, SourceFileLoader)
        places = [str(spec.origin)] if spec.has_location else list(spec.submodule_search_locations or ())
        if (is_source or not spec.has_location) and any(map(is_users, places)):
            self.own()[name] = None  # the module is made a moment later
            if is_source:
                spec.loader = UsersLoader(name, places[0], self.codes)
        return spec


@contextmanager
def users_modules(finder: UsersFinder, hidden: dict[str, ModuleType]) -> Iterator[None]:
    """Let ranks find modules of their own inside; `hidden` are those that only libraries shall see."""
    _shared_folders()  # before a rank is the first to import sysconfig's own data, which these are found by
    at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, finder)
    import_ = builtins.__import__
    if hidden:
        builtins.__import__ = _showing(hidden, import_)
    try:
        yield
    finally:
        builtins.__import__ = import_
        sys.meta_path.remove(finder)


def _showing(hidden: dict[str, ModuleType], import_: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `__import__` that shows the hidden modules to a library, which knows no others of these names."""
    tops = {name.partition(".")[0] for name in hidden}

    def importing(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if current_rank() is None or globals is None or is_users(globals.get("__file__") or ""):
            return import_(name, globals, locals, fromlist, level)
        own = {each: sys.modules.pop(each) for each in list(sys.modules) if each.partition(".")[0] in tops}
        sys.modules.update(hidden)
        try:
            return import_(name, globals, locals, fromlist, level)
        finally:
            hidden.update((each, sys.modules.pop(each)) for each in list(sys.modules) if each.partition(".")[0] in tops)
            sys.modules.update(own)

    return importing
