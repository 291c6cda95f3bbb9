"""What a datatype is: the object behind its handle, and what can be asked of it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from mpi import constants
from mpi.errors import ERR_TYPE, WrongValueError, wrong
from mpi.handles import Handle, Named, text
from mpi.layouts import Layout


class Type(Named):
    """What a datatype handle stands for.

    layout:    Where its elements lie.
    name:      Its name.
    code:      The character of its basic elements, as NumPy and `struct` use it; "V" if it has none.
    combiner:  How it was made.
    contents:  Of what: integers, addresses, and datatypes.
    params:    The arguments of the call that made it, by name.
    attributes: What the program has attached to it, by key.
    is_committed: Whether messages may have it: Commit allows it, and so does MPI for its own.
    """

    __slots__ = ("attributes", "code", "combiner", "contents", "is_committed", "layout", "name", "params")

    def __init__(
        self, layout: Layout, name: str, code: str, combiner: int, contents: Any = ((), (), ()),
        params: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layout, self.name, self.code, self.combiner, self.contents = layout, name, code, combiner, contents
        self.params: dict[str, Any] = params or {}
        self.attributes: dict[int, Any] = {}
        self.is_committed = combiner in _PREDEFINED


class DatatypeBase(Handle):
    """What can be asked of a datatype."""

    __slots__ = ()
    error_class = ERR_TYPE
    null = "DATATYPE_NULL"
    _o: Type | None

    # -- what it is ------------------------------------------------------------------------------------------

    def _type(self) -> Type:
        found: Type = self._object()
        return found

    def _layout(self) -> Layout:
        if self._o is None:
            raise self._null_error()
        return self._o.layout

    def _committed(self) -> Self:
        """Return the datatype, or raise if messages may not have it yet."""
        if self._o is not None and not self._o.is_committed:
            got = f"{self.name or 'a derived datatype'} before its Commit"
            raise wrong(ERR_TYPE, got, "a committed datatype", "call Commit once, when the datatype is made")
        return self

    def Get_size(self) -> int:
        """Return the bytes of its elements."""
        return self._layout().size

    def Get_extent(self) -> tuple[int, int]:
        """Return its lower bound and its extent, in bytes."""
        layout = self._layout()
        return layout.lb, layout.extent

    def Get_true_extent(self) -> tuple[int, int]:
        """Return where its first byte lies, and how far its last is from there."""
        begin, end = self._layout().true_bounds()
        return begin, end - begin

    size = property(Get_size)
    lb = property(lambda self: self._layout().lb)
    extent = property(lambda self: self._layout().extent)
    ub = property(lambda self: self._layout().lb + self._layout().extent)
    true_lb = property(lambda self: self.Get_true_extent()[0])
    true_extent = property(lambda self: self.Get_true_extent()[1])
    true_ub = property(lambda self: sum(self.Get_true_extent()))

    def Get_name(self) -> str:
        """Return its name."""
        return "MPI_DATATYPE_NULL" if self._o is None else self._o.name

    def Set_name(self, name: str) -> None:
        """Set its name."""
        self._type().name = text(name)

    name = property(Get_name, Set_name)

    @property
    def typechar(self) -> str:
        """The character of its basic elements, "V" if they have none."""
        return "V" if self._o is None else self._o.code

    @property
    def typestr(self) -> str:
        """The kind and the bytes of its basic elements, such as "f8"."""
        if self._o is None:
            return "V0"
        code = self._o.code
        if code == "V":
            return f"V{self._o.layout.extent}"
        if code in "cUSp":
            return {"c": "S1", "S": "S1", "U": f"U{self._o.layout.extent // 4 or 1}", "p": "i8"}[code]
        return np.dtype(code).str[1:]

    def tocode(self) -> str:
        """Return the character code of a predefined datatype."""
        code = self.typechar
        if code == "V":
            raise wrong(WrongValueError, f"{self.name or 'a derived datatype'}", "a predefined datatype with a code",
                        "name the datatype itself")  # fmt: skip
        return code

    def _count_in(self, n_bytes: int) -> int:
        """Return how many of them `n_bytes` hold, UNDEFINED if that is no whole number."""
        size = self.Get_size()
        if not size:
            return constants.UNDEFINED if n_bytes else 0
        return constants.UNDEFINED if n_bytes % size else n_bytes // size

    # -- how it was made -----------------------------------------------------------------------------------------

    def Get_envelope(self) -> tuple[int, int, int, int, int]:
        """Return how many integers, addresses, counts and datatypes it was made of, and how."""
        made = self._type()
        integers, addresses, datatypes = made.contents
        return len(integers), len(addresses), 0, len(datatypes), made.combiner

    def Get_contents(self) -> tuple[list[int], list[int], list[int], list[Any]]:
        """Return the integers, addresses, counts and datatypes that it was made of."""
        integers, addresses, datatypes = self._type().contents
        if self._type().combiner == constants.COMBINER_NAMED:
            raise wrong(
                ERR_TYPE, f"Get_contents of {self.name}", "a datatype that was made of others", "ask its combiner"
            )
        return list(integers), list(addresses), [], [type(each)(each) for each in datatypes]

    def decode(self) -> tuple[Any, str, dict[str, Any]]:
        """Return the datatype that it was made of, how, and the arguments of the call."""
        made = self._type()
        kind = COMBINERS[made.combiner]
        if made.combiner == constants.COMBINER_NAMED:
            return self, kind, {}
        datatypes = made.contents[2]
        old = type(datatypes[0])(datatypes[0]) if len(datatypes) == 1 else type(self)()
        params = dict(made.params)
        if "datatypes" in params:  # handles of the caller's own, who may free them
            params["datatypes"] = [type(each)(each) for each in params["datatypes"]]
        return old, kind, params

    envelope = property(Get_envelope)
    contents = property(Get_contents)
    combiner = property(lambda self: self._type().combiner)
    is_named = property(lambda self: self._type().combiner == constants.COMBINER_NAMED)
    is_predefined = property(lambda self: self._o is None or self._o.combiner in _PREDEFINED)


COMBINERS: dict[int, str] = {
    getattr(constants, name): name.removeprefix("COMBINER_") for name in dir(constants) if name.startswith("COMBINER_")
}
_PREDEFINED: set[int] = {
    constants.COMBINER_NAMED, constants.COMBINER_VALUE_INDEX, constants.COMBINER_F90_INTEGER,
    constants.COMBINER_F90_REAL, constants.COMBINER_F90_COMPLEX,
}  # fmt: skip
