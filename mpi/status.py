"""Status: what a receive or a probe has found out; a program may fill one in itself."""

from __future__ import annotations

from array import array
from typing import Any, ClassVar, Self

import ranks
from mpi.constants import ANY_SOURCE, ANY_TAG, UNDEFINED
from mpi.datatypes import BYTE, Datatype
from mpi.errors import ERR_COUNT, SUCCESS, wrong
from mpi.layouts import count_basic
from mpi.simulated import whole


class Status(ranks.Status):
    """Source, tag, error and size of a message."""

    __slots__ = ("__weakref__",)

    def __new__(cls, status: Status | None = None) -> Self:
        if status is not None and not isinstance(status, Status):
            raise TypeError(f"Status: got {status!r:.60}, expected a Status; remedy: pass one, or nothing")
        return super().__new__(cls)

    def __init__(self, status: Status | None = None) -> None:
        super().__init__()
        self.source, self.tag = ANY_SOURCE, ANY_TAG
        if status is not None:
            self.__setstate__(status.__getstate__())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and self.__getstate__() == other.__getstate__()

    __hash__ = None  # type: ignore[assignment]  # as in mpi4py: it changes

    def __reduce__(self) -> Any:
        return type(self), (), self.__getstate__()

    def __getstate__(self) -> dict[str, int]:
        return {
            "source": self.source, "tag": self.tag, "error": self.error, "count": self.n_bytes,
            "cancelled": int(self.cancelled),
        }  # fmt: skip

    def __setstate__(self, state: dict[str, int]) -> None:
        self.source, self.tag, self.error = state["source"], state["tag"], state["error"]
        self.n_bytes, self.cancelled = state["count"], bool(state["cancelled"])

    def fill(self, source: int, tag: int, n_bytes: int, cancelled: bool = False) -> None:
        """Set all that is known of a message."""
        self.error = SUCCESS
        super().fill(source, tag, n_bytes, cancelled)

    def Set_source(self, source: int) -> None:
        """Set the source."""
        self.source = whole(source)

    def Set_tag(self, tag: int) -> None:
        """Set the tag."""
        self.tag = whole(tag)

    def Set_error(self, error: int) -> None:
        """Set the error class."""
        self.error = whole(error)

    def Get_count(self, datatype: Datatype = BYTE) -> int:  # type: ignore[override]  # datatypes of this package
        """Return the size in elements of `datatype`, UNDEFINED if that is no whole number."""
        found: int = Datatype._checked(datatype)._count_in(self.n_bytes)
        return found

    def Get_elements(self, datatype: Datatype) -> int:  # type: ignore[override]
        """Return the size in basic elements of `datatype`."""
        found = count_basic(Datatype._checked(datatype)._layout().runs, self.n_bytes)
        return UNDEFINED if found is None else found

    def Set_elements(self, datatype: Datatype, count: int) -> None:
        """Set the size, in elements of `datatype`."""
        if whole(count) < 0:
            raise wrong(ERR_COUNT, f"count {count}", "0 or more", "correct the count")
        self.n_bytes = Datatype._checked(datatype).size * whole(count)

    def Set_cancelled(self, flag: bool) -> None:
        """Set whether the request was cancelled."""
        self.cancelled = bool(flag)

    @property
    def count(self) -> int:
        """The size in bytes."""
        return self.n_bytes

    @count.setter
    def count(self, n_bytes: int) -> None:
        self.n_bytes = whole(n_bytes)

    def tomemory(self) -> memoryview:
        """Return the numbers of the status, which may be changed there, as C would hold them."""
        numbers = memoryview(array("i", self.py2f()))
        self.__class__ = type("Status", (_InMemory,), {"__slots__": (), "numbers": numbers})
        return numbers

    def py2f(self) -> list[int]:
        """Return the status as Fortran holds it."""
        count = self.n_bytes << 1 | self.cancelled
        return [count & 0x7FFFFFFF, count >> 31, self.source, self.tag, self.error or SUCCESS]

    @classmethod
    def f2py(cls, arg: list[int]) -> Self:
        """Return the status that Fortran holds so."""
        self = cls()
        count = arg[0] | arg[1] << 31
        self.n_bytes, self.cancelled = count >> 1, bool(count & 1)
        self.source, self.tag, self.error = arg[2:5]
        return self


def _number(at: int) -> Any:
    """Return an attribute that is a number in memory."""

    def write(self: Any, value: int) -> None:
        self.numbers[at] = value

    return property(lambda self: self.numbers[at], write)


class _InMemory(Status):
    """A status of which a program has the memory: source, tag and error are what stands there.

    numbers:  They are the numbers of the status as C holds them.
    """

    __slots__ = ()
    numbers: ClassVar[memoryview]

    source, tag, error = _number(2), _number(3), _number(4)
