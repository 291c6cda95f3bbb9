"""A program as the command line names it: a file, a module, or a line of code."""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any


class UsageError(Exception):
    """What the user can mend: one line and exit status 2."""


@dataclass(frozen=True, slots=True)
class Program:
    """What every rank runs as its `__main__`.

    argv:    It is the name of the program and its arguments.
    folder:  It comes first on the path of modules.
    main:    It returns the module `__main__` of a rank, to which nothing has happened, and its code.
    """

    argv: list[str]
    folder: str
    main: Callable[[], tuple[ModuleType, CodeType]]

    def run(self, own: dict[str, Any]) -> None:
        """Run the program as the rank that calls; `own` are the modules of that rank."""
        module, code = self.main()
        own["__main__"] = sys.modules["__main__"] = module
        exec(code, vars(module))


def _module(path: str | None, spec: ModuleSpec | None = None) -> ModuleType:
    module = ModuleType("__main__")
    vars(module).update(__builtins__=builtins, __spec__=spec, __package__=spec.parent if spec else None)
    if path is not None:
        vars(module).update(
            __file__=path, __cached__=None, __loader__=spec.loader if spec else SourceFileLoader("__main__", path)
        )
    return module


def _compiled(path: str, shown: str) -> CodeType:
    try:
        loader = SourceFileLoader("__main__", path)
        return loader.source_to_code(loader.get_data(path), path)
    except SyntaxError as problem:
        line = (problem.text or "").strip()
        raise UsageError(f"{shown}:{problem.lineno}: {problem.msg}{f': {line}' if line else ''}") from None
    except (ValueError, UnicodeDecodeError) as problem:
        raise UsageError(f"{shown}: got no text of Python: {problem}") from None
    except OSError as problem:
        raise UsageError(f"cannot read {shown}: {problem.strerror}") from None


def script(path: str, arguments: list[str]) -> Program:
    """Return the program in a file, or in the file `__main__.py` of a folder."""
    named, path = path, os.path.join(path, "__main__.py") if os.path.isdir(path) else path
    if named != path and not os.path.exists(path):
        raise UsageError(f"got the folder {named}, expected a file; remedy: name a file in it, or a module with -m")
    if not os.path.exists(path):
        raise UsageError(f"got {path}, which does not exist, expected a Python file")
    absolute = os.path.abspath(path)
    code = _compiled(absolute, path)
    return Program([named, *arguments], os.path.dirname(os.path.realpath(path)), lambda: (_module(absolute), code))


def line(code: str, arguments: list[str]) -> Program:
    """Return the program that is given as text."""
    try:
        compiled = compile(code, "<string>", "exec", dont_inherit=True)
    except SyntaxError as problem:
        raise UsageError(f"-c: {problem.msg}: {(problem.text or '').strip()}") from None
    return Program(["-c", *arguments], "", lambda: (_module(None), compiled))


def module(name: str, arguments: list[str]) -> Program:
    """Return the program in a module; a package is run by its `__main__`."""
    folder = os.getcwd()
    argv = ["-m", *arguments]

    def main() -> tuple[ModuleType, CodeType]:
        spec = _found(name)
        if spec.submodule_search_locations is not None:
            spec = _found(f"{name}.__main__")
        get_code = getattr(spec.loader, "get_code", None)
        code = get_code(spec.name) if get_code is not None else None
        if code is None:
            raise UsageError(f"-m: got {name}, which has no code of Python, expected a module that can be run")
        assert spec.origin is not None
        sys.argv[0] = spec.origin
        return _module(spec.origin, spec), code

    return Program(argv, folder, main)


def _found(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # of a package around it; a name such as "a..b"
        spec = None
    if spec is None:
        raise UsageError(f"-m: got {name}, which is not found, expected a module, as in -m package.module")
    return spec
