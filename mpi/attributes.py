"""Attributes: what a program attaches to communicators, datatypes and windows, by keys."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from itertools import count
from typing import Any

from mpi.constants import KEYVAL_INVALID
from mpi.errors import ERR_KEYVAL, ERR_OTHER, wrong
from mpi.handles import Handle
from mpi.process import process
from mpi.simulated import whole
from ranks.words.errors import MPIError

_numbers = count(1)


class Key:
    """A key of attributes.

    copy_fn:    What a duplicate gets: True for the same, False or None for nothing, or what a function returns.
    delete_fn:  What is called before an attribute goes away.
    """

    def __init__(self, copy_fn: Any, delete_fn: Any) -> None:
        self.copy_fn, self.delete_fn = copy_fn, delete_fn


class Attributes(Handle):
    """What a program attaches to an object of MPI; the object has a dict `attributes`."""

    __slots__ = ()

    @classmethod
    def Create_keyval(
        cls,
        copy_fn: Callable[[Any, int, Any], Any] | bool | None = None,
        delete_fn: Callable[[Any, int, Any], None] | None = None,
        nopython: bool = False,
    ) -> int:
        """Return a new key."""
        number = next(_numbers)
        process().keyvals[number] = Key(copy_fn, delete_fn)
        return number

    @classmethod
    def Free_keyval(cls, keyval: int) -> int:
        """Free a key, and return KEYVAL_INVALID; attributes that have it remain."""
        if process().keyvals.pop(whole(keyval), None) is None:
            raise _no_key(keyval)
        return KEYVAL_INVALID

    def _predefined(self, keyval: int) -> Any:
        """Return the value of one of MPI's own keys; KeyError if it is none."""
        raise KeyError(keyval)

    def Get_attr(self, keyval: int) -> Any:
        """Return the attribute of a key, None if there is none."""
        thing = self._object()
        number = whole(keyval)
        try:
            return self._predefined(number)
        except KeyError:
            pass
        if number not in thing.attributes and number not in process().keyvals:
            raise _no_key(keyval)
        return thing.attributes.get(number, (None, None))[0]

    def Set_attr(self, keyval: int, attrval: Any) -> None:
        """Set the attribute of a key; the old one goes away first."""
        thing, number = self._object(), whole(keyval)
        key = process().keyvals.get(number)
        if key is None:
            raise _no_key(keyval)
        if number in thing.attributes:
            self.Delete_attr(number)
        thing.attributes[number] = attrval, key

    def Delete_attr(self, keyval: int) -> None:
        """Let the attribute of a key go away."""
        thing, number = self._object(), whole(keyval)
        if number not in thing.attributes:
            if number not in process().keyvals:
                raise _no_key(keyval)
            return
        value, key = thing.attributes.pop(number)  # it is gone even if the function fails
        if callable(key.delete_fn):
            _call(key.delete_fn, self, number, value)

    def _copy_attributes(self, made: Any) -> None:
        """Give a duplicate the attributes that their keys let it have."""
        for number, (value, key) in list(self._object().attributes.items()):
            if callable(key.copy_fn):
                copy = _call(key.copy_fn, self, number, value)
                if copy is not NotImplemented:
                    made._object().attributes[number] = copy, key
            elif key.copy_fn:
                made._object().attributes[number] = value, key

    def _delete_attributes(self) -> None:
        for number in reversed(list(self._object().attributes)):
            self.Delete_attr(number)


def _call(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Return what a function of the program returns; its error is shown, and becomes one of MPI's if it is none."""
    try:
        return function(*args, **named)
    except Exception as problem:
        traceback.print_exc(file=sys.stderr)
        if isinstance(problem, MPIError):
            raise
        raise wrong(ERR_OTHER, "an error in a function of the program", "none", "see the traceback above") from None


def _no_key(keyval: Any) -> Exception:
    return wrong(ERR_KEYVAL, f"keyval {keyval!r}", "one of Create_keyval that was not freed", "create a key")
