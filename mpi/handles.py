"""What all handles of MPI have in common: a handle stands for an object, or for none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

from mpi.errors import ERR_ARG, WrongTypeError, wrong

# Handles that are constants of MPI, by their names; and objects whose handle's number a program has read.
CONSTANTS: dict[str, Any] = {}
_numbers = count(1)
_live: WeakValueDictionary[int, Any] = WeakValueDictionary()


class Named:
    """An object behind a handle, which has a number once somebody has asked for it."""

    __slots__ = ("__weakref__", "number")
    number: int

    def __init__(self) -> None:
        self.number = 0


class Handle:
    """A handle: equal to others that stand for the same object, false if it stands for none.

    _o:     The object that it stands for; None if it is null.
    error_class: The class of the error of a null handle.
    null:   The name of the null handle.
    """

    __slots__ = ("__weakref__", "_o")
    error_class: ClassVar[int] = ERR_ARG
    null: ClassVar[str] = ""
    _o: Any

    def __new__(cls, other: Any = None) -> Self:
        self = object.__new__(cls)
        self._o = None if other is None else cls._checked(other)._o
        return self

    @classmethod
    def _checked(cls, other: Any) -> Any:
        """Return a handle of the kind, or raise if it is none; all communicators are of one kind."""
        if not isinstance(other, Handle) or other.null != cls.null:
            kind = next(each for each in reversed(cls.__mro__) if each.__dict__.get("null"))
            raise wrong(WrongTypeError, f"{other!r:.60}", f"MPI.{kind.__name__.removesuffix('Base')}", "pass one")
        return other

    @classmethod
    def _of(cls, thing: Any) -> Self:
        self = cls.__new__(cls)
        self._o = thing
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle) or self.null != other.null:
            return NotImplemented
        return self._o is other._o

    __hash__ = None  # type: ignore[assignment]  # as in mpi4py: a handle may come to stand for something else

    def __bool__(self) -> bool:
        return self._o is not None

    def __reduce__(self) -> Any:
        for name, constant in CONSTANTS.items():
            if constant is self:
                return name
        for constant in CONSTANTS.values():
            if type(constant) in type(self).__mro__ and constant == self:
                return type(self), (constant,)
        return self._reduced()

    def _reduced(self) -> Any:
        raise ValueError(
            f"{type(self).__name__}: got a handle to be copied or sent, expected a constant of MPI; remedy: "
            "let each rank make its own"
        )

    def _is_constant(self) -> bool:
        return any(constant is self for constant in CONSTANTS.values())

    def _object(self) -> Any:
        """Return the object, or raise if there is none."""
        if self._o is None:
            raise self._null_error()
        return self._o

    def _null_error(self) -> Exception:
        kind = type(self).__name__
        return wrong(
            type(self).error_class, self.null, f"another {kind}", f"check that the {kind} is true before its use"
        )

    def free(self) -> None:
        """Free what the handle stands for, if it is no constant of MPI, and make it null."""
        if self._o is None or self._is_constant():
            return
        free: Callable[[], None] | None = getattr(self, "Free", None)
        if free is not None and not any(getattr(each, "_o", None) is self._o for each in CONSTANTS.values()):
            free()
        self._o = None

    @property
    def handle(self) -> int:
        """The number of the object; 0 for null."""
        if self._o is None:
            return 0
        if not self._o.number:
            self._o.number = next(_numbers)
            _live[self._o.number] = self._o
        number: int = self._o.number
        return number

    @classmethod
    def fromhandle(cls, handle: int) -> Self:
        """Return a handle for the object of this number."""
        return cls._of(_live[handle] if handle else None)

    def toint(self) -> int:
        """Return the number of the object."""
        return self.handle

    py2f = toint

    @classmethod
    def fromint(cls, arg: int, /) -> Self:
        """Return a handle for the object of this number."""
        return cls.fromhandle(arg)

    f2py = fromint


def text(value: Any) -> str:
    """Return a name or another text that a program gives, or raise if it is none."""
    if not isinstance(value, (str, bytes)):
        raise wrong(WrongTypeError, f"{value!r:.60}", "a text", "pass a str")
    return value if isinstance(value, str) else value.decode()


def constant(name: str, handle: Any) -> Any:
    """Return a handle, which is a constant of MPI from now on."""
    CONSTANTS[name] = handle
    return handle
