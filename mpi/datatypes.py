"""Datatype: what the elements of a buffer are, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import index
from typing import Any, Self

import numpy as np

from mpi import constants, layouts
from mpi.errors import ERR_ARG, ERR_COUNT, ERR_TYPE, WrongKeyError, WrongValueError, wrong
from mpi.handles import Handle, Named, constant
from mpi.layouts import Layout

INTEGERS = (int, np.integer)


class Type(Named):
    """What a datatype handle stands for.

    layout:    Where its elements lie.
    name:      Its name.
    code:      The character of its basic elements, as NumPy and `struct` use it; "V" if it has none.
    combiner, contents: How it was made, and of what: integers, addresses, and datatypes.
    base:      The NumPy dtype of a predefined one.
    attributes: What the program has attached to it, by key.
    """

    __slots__ = ("attributes", "code", "combiner", "contents", "layout", "name")

    def __init__(self, layout: Layout, name: str, code: str, combiner: int, contents: Any = ((), (), ())) -> None:
        super().__init__()
        self.layout, self.name, self.code, self.combiner, self.contents = layout, name, code, combiner, contents
        self.attributes: dict[int, Any] = {}


class Datatype(Handle):
    """A datatype of MPI, predefined or made of others."""

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
        self._type().name = name

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

    @classmethod
    def fromcode(cls, code: str) -> Self:
        """Return the datatype of a character code or of a type string."""
        try:
            return cls(lookup(code))
        except KeyError:
            raise wrong(
                WrongValueError, f"code {code!r}", "one such as 'd' or 'f8'", "name the datatype itself"
            ) from None

    def _count_in(self, n_bytes: int) -> int:
        """Return how many of them `n_bytes` hold, UNDEFINED if that is no whole number."""
        size = self.Get_size()
        if not size:
            return constants.UNDEFINED if n_bytes else 0
        return constants.UNDEFINED if n_bytes % size else n_bytes // size

    # -- making others -----------------------------------------------------------------------------------------

    def _made(self, layout: Layout, combiner: int, integers: Any = (), addresses: Any = ()) -> Self:
        code = self.typechar if combiner in (constants.COMBINER_DUP, constants.COMBINER_RESIZED) else "V"
        if combiner == constants.COMBINER_RESIZED and layout.extent != self.extent:
            code = "V"
        contents = (list(integers), list(addresses), [Datatype(self)])
        return type(self)._of(Type(layout, "", code, combiner, contents))

    def Dup(self) -> Self:
        """Return a copy of it."""
        layout = self._layout()
        return self._made(layout, constants.COMBINER_DUP)

    Create_dup = Dup

    def Create_contiguous(self, count: int) -> Self:
        """Return `count` of it, one after the other."""
        (count,) = _counts(count)
        return self._made(layouts.contiguous(self._layout(), count), constants.COMBINER_CONTIGUOUS, [count])

    def Create_vector(self, count: int, blocklength: int, stride: int) -> Self:
        """Return `count` blocks of it, whose beginnings lie `stride` elements apart."""
        count, blocklength = _counts(count, blocklength)
        made = self._blocks([blocklength] * count, [i * index(stride) * self.extent for i in range(count)])
        return self._made(made, constants.COMBINER_VECTOR, [count, blocklength, index(stride)])

    def Create_hvector(self, count: int, blocklength: int, stride: int) -> Self:
        """Return `count` blocks of it, whose beginnings lie `stride` bytes apart."""
        count, blocklength = _counts(count, blocklength)
        made = self._blocks([blocklength] * count, [i * index(stride) for i in range(count)])
        return self._made(made, constants.COMBINER_HVECTOR, [count, blocklength], [index(stride)])

    def Create_indexed(self, blocklengths: Sequence[int], displacements: Sequence[int]) -> Self:
        """Return blocks of it at displacements in elements."""
        lengths, at = _same_length(blocklengths, displacements)
        made = self._blocks(lengths, [d * self.extent for d in at])
        return self._made(made, constants.COMBINER_INDEXED, [len(at), *lengths, *at])

    def Create_hindexed(self, blocklengths: Sequence[int], displacements: Sequence[int]) -> Self:
        """Return blocks of it at displacements in bytes."""
        lengths, at = _same_length(blocklengths, displacements)
        return self._made(self._blocks(lengths, at), constants.COMBINER_HINDEXED, [len(at), *lengths], at)

    def Create_indexed_block(self, blocklength: int, displacements: Sequence[int]) -> Self:
        """Return blocks of one length at displacements in elements."""
        (length,), at = _counts(blocklength), _integers(displacements)
        made = self._blocks([length] * len(at), [d * self.extent for d in at])
        return self._made(made, constants.COMBINER_INDEXED_BLOCK, [len(at), length, *at])

    def Create_hindexed_block(self, blocklength: int, displacements: Sequence[int]) -> Self:
        """Return blocks of one length at displacements in bytes."""
        (length,), at = _counts(blocklength), _integers(displacements)
        made = self._blocks([length] * len(at), at)
        return self._made(made, constants.COMBINER_HINDEXED_BLOCK, [len(at), length], at)

    def _blocks(self, lengths: Sequence[int], at: Sequence[int]) -> Layout:
        extent = self.extent
        offsets = [np.arange(length, dtype=np.intp) * extent + d for length, d in zip(lengths, at, strict=True)]
        return layouts.at_offsets(self._layout(), np.concatenate(offsets) if offsets else np.empty(0, np.intp))

    @classmethod
    def Create_struct(
        cls, blocklengths: Sequence[int], displacements: Sequence[int], datatypes: Sequence[Datatype]
    ) -> Self:
        """Return blocks of several datatypes at displacements in bytes."""
        lengths, at = _same_length(blocklengths, displacements)
        _same_length(lengths, [0] * len(datatypes))
        parts = [t._blocks([n], [d]) for n, d, t in zip(lengths, at, datatypes, strict=True)]
        contents = ([len(at), *lengths], list(at), [Datatype(t) for t in datatypes])
        return cls._of(Type(layouts.struct(parts), "", "V", constants.COMBINER_STRUCT, contents))

    def Create_subarray(
        self, sizes: Sequence[int], subsizes: Sequence[int], starts: Sequence[int], order: int = constants.ORDER_C
    ) -> Self:
        """Return a part of an array, with the bounds of the whole array."""
        whole, part = _same_length(sizes, subsizes)
        _, begin = _same_length(whole, starts)
        if any(not 0 <= b <= n - m or m < 1 for n, m, b in zip(whole, part, begin, strict=True)):
            raise wrong(
                ERR_ARG, f"subsizes {part} from {begin} on of sizes {whole}", "a part within the array",
                "correct subsizes and starts",
            )  # fmt: skip
        at = np.zeros(1, np.intp)
        step = self.extent
        axes = range(len(whole)) if order == constants.ORDER_FORTRAN else range(len(whole) - 1, -1, -1)
        for axis in axes:
            along = (np.arange(part[axis], dtype=np.intp) + begin[axis]) * step
            at = (along[:, None] + at).reshape(-1)
            step *= whole[axis]
        made = layouts.at_offsets(self._layout(), at, (0, step))
        return self._made(made, constants.COMBINER_SUBARRAY, [len(whole), *whole, *part, *begin, order])

    def Create_resized(self, lb: int, extent: int) -> Self:
        """Return it with other bounds."""
        made = layouts.resized(self._layout(), index(lb), index(extent))
        return self._made(made, constants.COMBINER_RESIZED, [], [index(lb), index(extent)])

    Resized = Create_resized

    def Commit(self) -> Self:
        """Return the datatype, which needs no more to be used."""
        self._layout()
        return self

    def Free(self) -> None:
        """Make the handle null."""
        self._check_not_named("Free")
        self._o = None

    def _check_not_named(self, call: str) -> None:
        if self._type().combiner == constants.COMBINER_NAMED:
            raise wrong(ERR_TYPE, f"{call} of {self.name}", "a datatype that the program has made", "keep it")


def _counts(*numbers: Any) -> list[int]:
    found = [index(number) for number in numbers]
    if min(found) < 0:
        raise wrong(ERR_COUNT, f"count {min(found)}", "0 or more", "correct the count")
    return found


def _integers(numbers: Any) -> list[int]:
    return [index(number) for number in numbers]


def _same_length(one: Any, other: Any) -> tuple[list[int], list[int]]:
    first, second = _integers(one), _integers(other)
    if len(first) != len(second):
        raise wrong(
            WrongValueError,
            f"sequences of {len(first)} and {len(second)} items",
            "as many in each",
            "correct one of them",
        )
    return first, second


# -- predefined ones -----------------------------------------------------------------------------------------------

_PLAIN = {
    "CHAR": "c", "SIGNED_CHAR": "b", "UNSIGNED_CHAR": "B", "SHORT": "h", "UNSIGNED_SHORT": "H", "INT": "i",
    "UNSIGNED": "I", "LONG": "l", "UNSIGNED_LONG": "L", "LONG_LONG": "q", "UNSIGNED_LONG_LONG": "Q", "FLOAT": "f",
    "DOUBLE": "d", "LONG_DOUBLE": "g", "BYTE": "B", "PACKED": "B", "WCHAR": "U", "C_BOOL": "?", "CXX_BOOL": "?",
    "INT8_T": "b", "INT16_T": "h", "INT32_T": "i", "INT64_T": "l", "UINT8_T": "B", "UINT16_T": "H", "UINT32_T": "I",
    "UINT64_T": "L", "C_COMPLEX": "F", "C_FLOAT_COMPLEX": "F", "C_DOUBLE_COMPLEX": "D", "C_LONG_DOUBLE_COMPLEX": "G",
    "CXX_FLOAT_COMPLEX": "F", "CXX_DOUBLE_COMPLEX": "D", "CXX_LONG_DOUBLE_COMPLEX": "G", "AINT": "p", "OFFSET": "p",
    "COUNT": "p", "CHARACTER": "c", "LOGICAL": "i", "INTEGER": "i", "REAL": "f", "DOUBLE_PRECISION": "d",
    "COMPLEX": "F", "DOUBLE_COMPLEX": "D", "INTEGER1": "b", "INTEGER2": "h", "INTEGER4": "i", "INTEGER8": "l",
    "LOGICAL1": "b", "LOGICAL2": "h", "LOGICAL4": "i", "LOGICAL8": "l", "REAL2": "e", "REAL4": "f", "REAL8": "d",
    "REAL16": "g", "COMPLEX8": "F", "COMPLEX16": "D", "COMPLEX32": "G", "FLOAT16_T": "e",
}  # fmt: skip
_SAME = {
    "SIGNED_SHORT": "SHORT", "SIGNED_INT": "INT", "SIGNED_LONG": "LONG", "SIGNED_LONG_LONG": "LONG_LONG",
    "BOOL": "C_BOOL", "SINT8_T": "INT8_T", "SINT16_T": "INT16_T", "SINT32_T": "INT32_T", "SINT64_T": "INT64_T",
    "UNSIGNED_INT": "UNSIGNED", "F_BOOL": "LOGICAL", "F_INT": "INTEGER", "F_FLOAT": "REAL",
    "F_DOUBLE": "DOUBLE_PRECISION", "F_COMPLEX": "COMPLEX", "F_FLOAT_COMPLEX": "COMPLEX",
    "F_DOUBLE_COMPLEX": "DOUBLE_COMPLEX", "FLOAT32_T": "FLOAT", "FLOAT64_T": "DOUBLE",
}  # fmt: skip
_PAIRS = {
    "SHORT_INT": "h", "TWOINT": "i", "LONG_INT": "l", "FLOAT_INT": "f", "DOUBLE_INT": "d", "LONG_DOUBLE_INT": "g",
}  # fmt: skip
_MISSING = ("BFLOAT16_T", "COMPLEX4", "INTEGER16", "LOGICAL16")


def wire_dtype(code: str) -> np.dtype[Any]:
    """Return the dtype of the elements in messages."""
    return np.dtype({"c": "b", "U": "i", "p": "l"}.get(code, code))


def pair_dtype(code: str) -> np.dtype[Any]:
    """Return the dtype of a value and an int, as MINLOC and MAXLOC compare them."""
    return np.dtype([("value", code), ("index", "i")], align=True)


def _named(name: str, layout: Layout, code: str) -> Datatype:
    return Datatype._of(Type(layout, f"MPI_{name}", code, constants.COMBINER_NAMED))


def _pair(name: str, code: str) -> Datatype:
    dtype = pair_dtype(code)
    value = np.dtype(code)
    first, second = layouts.basic(value), layouts.basic(np.dtype("i"))
    both = layouts.struct([first, layouts.at_offsets(second, [dtype.fields["index"][1]])])  # type: ignore[index]
    return _named(name, layouts.resized(both, 0, dtype.itemsize), "V")


DATATYPES: dict[str, Datatype] = {
    name: _named(name, layouts.basic(wire_dtype(code)), code) for name, code in _PLAIN.items()
}
DATATYPES |= {name: _pair("2INT" if name == "TWOINT" else name, code) for name, code in _PAIRS.items()}
DATATYPES["LONG_LONG"].Set_name("MPI_LONG_LONG_INT")
for _name, _as in (("C_FLOAT_COMPLEX", "MPI_C_COMPLEX"), ("FLOAT16_T", "MPIX_C_FLOAT16")):
    DATATYPES[_name].Set_name(_as)
for _name, _datatype in DATATYPES.items():
    constant(_name, _datatype)
DATATYPES |= {name: DATATYPES[other] for name, other in _SAME.items()}
DATATYPES["INT_INT"] = DATATYPES["TWOINT"]
DATATYPES |= {name: constant(name, Datatype()) for name in ("DATATYPE_NULL", *_MISSING)}
BYTE, PACKED, DATATYPE_NULL = DATATYPES["BYTE"], DATATYPES["PACKED"], DATATYPES["DATATYPE_NULL"]
PAIR_DTYPES = {id(DATATYPES[name]._o): pair_dtype(code) for name, code in _PAIRS.items()}

_OF_CODE = {
    "?": "C_BOOL", "b": "SIGNED_CHAR", "h": "SHORT", "i": "INT", "l": "LONG", "q": "LONG_LONG", "B": "UNSIGNED_CHAR",
    "H": "UNSIGNED_SHORT", "I": "UNSIGNED", "L": "UNSIGNED_LONG", "Q": "UNSIGNED_LONG_LONG", "e": "FLOAT16_T",
    "f": "FLOAT", "d": "DOUBLE", "g": "LONG_DOUBLE", "F": "C_FLOAT_COMPLEX", "D": "C_DOUBLE_COMPLEX",
    "G": "C_LONG_DOUBLE_COMPLEX", "Zf": "C_FLOAT_COMPLEX", "Zd": "C_DOUBLE_COMPLEX", "Zg": "C_LONG_DOUBLE_COMPLEX",
    "n": "COUNT", "N": "UNSIGNED_LONG", "p": "AINT", "P": "UNSIGNED_LONG", "c": "CHAR", "S": "CHAR", "S1": "CHAR",
    "s": "CHAR", "U": "WCHAR", "U1": "WCHAR", "w": "WCHAR", "u": "WCHAR", "b1": "C_BOOL", "i1": "INT8_T",
    "i2": "INT16_T", "i4": "INT32_T", "i8": "INT64_T", "u1": "UINT8_T", "u2": "UINT16_T", "u4": "UINT32_T",
    "u8": "UINT64_T", "f2": "FLOAT16_T", "f4": "FLOAT", "f8": "DOUBLE", "f16": "LONG_DOUBLE",
    "c8": "C_FLOAT_COMPLEX", "c16": "C_DOUBLE_COMPLEX", "c32": "C_LONG_DOUBLE_COMPLEX",
}  # fmt: skip


@cache
def lookup(code: str) -> Datatype:
    """Return the datatype of a character code or type string; KeyError if there is none."""
    if code in _OF_CODE:
        return DATATYPES[_OF_CODE[code]]
    raise wrong(WrongKeyError, f"type code {code!r}", "one such as 'd' or 'f8'", "name a datatype of MPI")


def as_datatype(spec: Any) -> Datatype:
    """Return a datatype that a buffer names: one of MPI, or the code of one."""
    return spec if isinstance(spec, Datatype) else lookup(spec)
