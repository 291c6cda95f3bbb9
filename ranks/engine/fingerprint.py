"""Whether a program in a loop of polls has come to the same state again: then it goes on in the same way.

All that the loop can reach is looked at: variables, containers, arrays, objects, generators, modules' variables that
the code names. What cannot be looked into, such as an open file or the time of day, makes the state unknown, and an
unknown state is never the same as another.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from itertools import chain, count
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any
from zlib import adler32

import numpy as np

from ranks.engine.loops import Loops, Names, names_of
from ranks.words import callsite

# So many objects are looked at; a program that can reach more is unknown.
_MOST = 20_000
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), range, slice, CodeType)
# Modules whose functions tell, or change, what is outside of the program.
_OUTSIDE = {
    "_io", "_random", "_socket", "_thread", "genericpath", "io", "nt", "ntpath", "os", "pathlib", "posix", "posixpath",
    "random", "secrets", "select", "socket", "subprocess", "threading", "time", "queue", "datetime",
}  # fmt: skip
_CANNOT_BE_DERIVED = 1 << 8  # the flag of types written in C


class UnknownStateError(Exception):
    """Something was met that cannot be looked into."""


class Fingerprint:
    """The state of the running program, as far as its loops of polls can reach it.

    tokens:       What was found, for comparison.
    kept:         All of it: it is held, so that no other object can have the identity of what is compared by that.
    is_known:     All of it could be looked into.
    is_iterating: A poll is made in a loop over an iterator, which itself is out of sight.
    """

    def __init__(self, frame: FrameType | None, also: Any) -> None:
        self.tokens: list[Any] = []
        self.kept: list[Any] = []
        self.is_iterating = False
        self._seen: dict[int, int] = {}
        self.is_known = True
        try:
            while frame is not None:
                if not callsite.in_library(frame.f_code) and self._add_frame(frame):
                    break
                frame = frame.f_back
            self._add(also)
        except Exception:  # looking at a program's own objects runs its code, and must not end the run
            self.is_known = False

    def is_same(self, other: Fingerprint) -> bool:
        """Return whether two states are known to be the same."""
        return self.is_known and other.is_known and self.tokens == other.tokens

    def _add_frame(self, frame: FrameType) -> bool:
        """Add a function's variables; return whether what has called it can do nothing meanwhile.

        That is so for one that polls in a `while` loop: while it is the same call, those outside of it stand still.
        """
        code = frame.f_code
        loops = Loops.around(code, frame.f_lasti)
        self.is_iterating = self.is_iterating or loops.innermost_iterates
        self.tokens += [id(code), frame.f_lasti]
        self._add_all(dict(frame.f_locals))
        self._add_named(loops.names, frame.f_globals)
        if loops.has_while:
            self.tokens.append(id(frame))
            self.kept.append(frame)
        return loops.has_while

    def _add_named(self, names: Names, variables: dict[str, Any]) -> None:
        """Add the global variables of these names, and the attributes that modules among them have of these names."""
        for name in sorted(names.variables & variables.keys()):
            value = variables[name]
            self._add(value)
            if isinstance(value, ModuleType):
                for attribute in sorted(names.attributes & vars(value).keys()):
                    self._add(vars(value)[attribute])

    def _add_all(self, values: Any) -> None:
        self.tokens.append(len(values))
        for value in list(chain.from_iterable(values.items()) if isinstance(values, dict) else values):
            self._add(value)

    def _add(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.tokens += [kind, repr(value) if kind is float else value]  # nan is not equal to itself
            return
        place = self._seen.get(id(value))
        if place is not None:
            self.tokens.append(place)
            return
        if len(self._seen) > _MOST:
            raise UnknownStateError
        self._seen[id(value)] = len(self._seen)
        self.kept.append(value)
        self.tokens.append(kind)
        if isinstance(value, (ModuleType, np.ufunc, type)) or _is_of(kind, "ranks"):
            self.tokens.append(id(value))
        if not self._add_known(kind, value):
            self._add_object(kind, value)

    def _add_known(self, kind: type, value: Any) -> bool:
        """Add what is in a value of a type that is known; return whether it is one."""
        if kind in (tuple, list, dict, deque, frozenset, set):
            self._add_all(sorted(value, key=id) if kind in (frozenset, set) else value)
        elif kind is bytearray:
            self.tokens.append(bytes(value))
        elif isinstance(value, np.ndarray):
            self._add_array(value)
        elif isinstance(value, np.generic):
            self.tokens += [value.dtype.str, value.tobytes()]
        elif isinstance(value, np.dtype):
            self.tokens.append(value)
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, MethodType):
            self._add(value.__func__)
            self._add(value.__self__)
        elif isinstance(value, (BuiltinFunctionType, WrapperDescriptorType)):
            self._add_builtin(value)
        elif isinstance(value, CellType):
            self._add(_content(value))
        elif isinstance(value, GeneratorType):
            self._add_generator(value)
        elif isinstance(value, random.Random):
            self.tokens.append(value.getstate())
        elif isinstance(value, np.random.Generator):
            self.tokens.append(repr(value.bit_generator.state))
        elif isinstance(value, np.random.RandomState):
            self._add(value.get_state(legacy=False))
        elif kind is count:
            self.tokens.append(repr(value))
        elif not isinstance(value, (ModuleType, np.ufunc)) and not _is_of(kind, "ranks"):
            return False
        return True

    def _add_array(self, array: Any) -> None:
        if array.dtype.hasobject:
            self._add_all(array.ravel().tolist())
        else:
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self.tokens += [array.shape, array.dtype, adler32(flat.data)]

    def _add_function(self, function: FunctionType) -> None:
        self.tokens.append(id(function.__code__))
        self.kept.append(function.__code__)
        module = (function.__module__ or "").partition(".")[0]
        if module in _OUTSIDE and not callsite.in_library(function.__code__):
            raise UnknownStateError
        if module in sys.stdlib_module_names or module == "numpy" or callsite.in_library(function.__code__):
            return
        self._add_all(function.__closure__ or ())
        self._add_all(function.__dict__)
        self._add_named(names_of(function.__code__), function.__globals__)

    def _add_builtin(self, function: Any) -> None:
        self.tokens.append(function.__qualname__)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, ModuleType):
            if owner.__name__ in _OUTSIDE and function.__name__ != "sleep":
                raise UnknownStateError
        elif owner is not None and not isinstance(owner, type):
            self._add(owner)

    def _add_generator(self, generator: GeneratorType[Any, Any, Any]) -> None:
        frame = generator.gi_frame
        if frame is None or generator.gi_running:
            self.tokens.append(frame is None)
            return
        if Loops.around(frame.f_code, frame.f_lasti).innermost_iterates:
            raise UnknownStateError
        self.tokens.append(frame.f_lasti)
        self._add_all(dict(frame.f_locals))

    def _add_object(self, kind: type, value: Any) -> None:
        """Add an iterator that tells how much is left of it, a class, or an object of a class written in Python."""
        if hasattr(kind, "__length_hint__") and kind.__flags__ & _CANNOT_BE_DERIVED:
            self.tokens.append(value.__length_hint__())
            return
        if isinstance(value, type):
            if not value.__flags__ & _CANNOT_BE_DERIVED and value.__module__.partition(".")[0] not in _INSTALLED:
                self._add_all([each for each in vars(value).values() if not _is_descriptor(each)])
            return
        if isinstance(value, (int, str, float)):
            self.tokens.append(repr(value))
        for cls in kind.__mro__[:-1]:
            if cls in (list, dict, set, tuple, deque, frozenset):
                self._add_known(cls, value)
            elif cls.__flags__ & _CANNOT_BE_DERIVED and not issubclass(cls, (int, str, float, BaseException)):
                raise UnknownStateError
            for name in _slots(cls):
                self._add(getattr(value, name, None))
        self._add_all(getattr(value, "__dict__", {}))


_INSTALLED = {*sys.stdlib_module_names, "numpy", "mpi4py", "ranks"}


def _is_of(kind: type, package: str) -> bool:
    return kind.__module__.partition(".")[0] == package


def _is_descriptor(value: Any) -> bool:
    return hasattr(type(value), "__get__") and not isinstance(value, FunctionType)


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else [*slots]
    return [
        f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    ]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
