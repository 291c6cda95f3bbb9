"""The generators of `random` and `np.random`, which each MPI process has for itself: each rank gets its own.

While a run goes on, the functions of both modules ask which rank calls, and `os.chdir` notes it. A rank's generators
begin in a state that comes from the seed of the run and from the rank, so that runs repeat and ranks differ. Outside of
ranks, and in other threads, the functions do what they always do.

A function that the program has put elsewhere before the run, such as into a list, is not replaced: ranks share it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ranks.engine.rank import Rank, current_rank

# Functions of np.random that are no methods of its generator, but call one of this name.
_WRAPPED = {"seed": "seed", "sample": "random_sample", "ranf": "random_sample"}
_PYTHON: Any = random._inst  # whose methods the functions of `random` are
_NUMPY: Any = np.random.mtrand._rand
_KINDS = {type(random.random), type(random.randint), type(np.random.rand), type(np.random.seed)}
_chdir = os.chdir


class _Names(NamedTuple):
    """Some names in a module: the functions that they are, and those of the rank's own."""

    space: dict[str, Any]
    shared: dict[str, Any]
    own: dict[str, Any]


_lock = Lock()
_n_runs = 0
_found: list[_Names] = []


@contextmanager
def own_generators(variables: dict[str, Any]) -> Iterator[None]:
    """Give each rank generators of its own inside; `variables` are those of the program's module.

    They are looked at for names such as those of `from random import random`.
    """
    global _n_runs
    with _lock:
        if not _found:
            mover = _Names(vars(os), {"chdir": os.chdir}, {"chdir": _move})
            _found.extend((_shared(vars(random)), _shared(vars(np.random)), mover))
        names = [*_found, _shared(variables)] if _n_runs == 0 else []
        _n_runs += 1
        for each in names:
            each.space.update(each.own)
    try:
        yield
    finally:
        with _lock:
            _n_runs -= 1
            for each in names:
                each.space.update(each.shared)


def _shared(space: dict[str, Any]) -> _Names:
    """Return the names that are functions of a shared generator."""
    found = _Names(space, {}, {})
    for name, function in space.items():
        if type(function) in _KINDS:
            owner = getattr(function, "__self__", None)
            if owner is _PYTHON:
                kind, method = "python", function.__name__
            elif owner is _NUMPY:
                kind, method = "numpy", function.__name__
            elif name in _WRAPPED and function is vars(np.random.mtrand).get(name):
                kind, method = "numpy", _WRAPPED[name]
            else:
                continue
            found.shared[name], found.own[name] = function, _own(kind, method, function)
    return found


def _move(path: Any) -> None:
    """Change the current folder, and note which rank has done so."""
    _chdir(path)
    state = current_rank()
    if state is not None:
        state.scheduler.shared.moved(state)


def _own(kind: str, method: str, shared: Any) -> Callable[..., Any]:
    """Return a function that calls a method of the rank's own generator, and the shared one outside of ranks."""

    def call(*args: Any, **kwargs: Any) -> Any:
        state: Rank | None = current_rank()
        if state is None:
            return shared(*args, **kwargs)
        return getattr(getattr(state.chance, kind), method)(*args, **kwargs)

    call.__name__ = call.__qualname__ = method
    call.__doc__ = shared.__doc__
    return call


def variables_of(program: Any) -> dict[str, Any]:
    """Return the variables of the module that a program is written in; none if that is not to be had."""
    while hasattr(program, "func") or hasattr(program, "__wrapped__"):  # functools.partial, a decorated function
        program = getattr(program, "func", None) or program.__wrapped__
    function = getattr(program, "__func__", program)
    if not hasattr(function, "__globals__"):  # an object that can be called
        function = vars(type(program)).get("__call__")
    found: dict[str, Any] = getattr(function, "__globals__", {})
    return found
