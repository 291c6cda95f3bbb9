"""Datatype, and the datatypes of MPI."""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import numpy as np

from mpi import constants, layouts
from mpi.attributes import Attributes
from mpi.constructors import Constructors
from mpi.datatype_base import Type
from mpi.errors import ERR_ARG, ERR_OTHER, ERR_TYPE, WrongKeyError, WrongValueError, wrong
from mpi.handles import constant
from mpi.layouts import Layout
from mpi.packing import Packing


class Datatype(Constructors, Packing, Attributes):
    """A datatype of MPI, predefined or made of others."""

    __slots__ = ()

    def Dup(self) -> Self:
        """Return a copy of it."""
        made = super().Dup()
        self._copy_attributes(made)
        return made

    Create_dup = Dup

    def Free(self) -> None:
        """Make the handle null."""
        self._check_not_named("Free")
        self._delete_attributes()
        self._o = None

    def _reduced(self) -> Any:
        old, kind, params = self.decode()
        return _recreated, (type(self), old, kind, params)

    @classmethod
    def fromcode(cls, code: str) -> Self:
        """Return the datatype of a character code or of a type string."""
        try:
            return cls(lookup(code))
        except KeyError:
            raise wrong(
                WrongValueError, f"code {code!r}", "one such as 'd' or 'f8'", "name the datatype itself"
            ) from None

    @classmethod
    def Match_size(cls, typeclass: int, size: int) -> Self:
        """Return the datatype of a class of numbers that has so many bytes."""
        name = {
            constants.TYPECLASS_REAL: "REAL", constants.TYPECLASS_INTEGER: "INTEGER",
            constants.TYPECLASS_COMPLEX: "COMPLEX", constants.TYPECLASS_LOGICAL: "LOGICAL",
        }.get(typeclass)  # fmt: skip
        found = DATATYPES.get(f"{name}{size}")
        if not found:
            raise wrong(ERR_ARG, f"typeclass {typeclass} of {size} bytes", "a number of MPI", "choose another size")
        return cls(found)

    @classmethod
    def Get_value_index(cls, value: Datatype, index: Datatype) -> Self:
        """Return the datatype of pairs of a value and an index, DATATYPE_NULL if there is none."""
        for each in (value, index):
            if not each:
                raise wrong(ERR_TYPE, "DATATYPE_NULL", "a datatype", "name one")
        pairs = [pair for name, pair in _OF_VALUE.items() if DATATYPES[name] == value and index == DATATYPES["INT"]]
        return cls(DATATYPES[pairs[0]]) if pairs else cls()

    @classmethod
    def Create_f90_integer(cls, r: int) -> Self:
        """Return the integer of so many decimal digits."""
        code = next((code for digits, code in ((2, "b"), (4, "h"), (9, "i"), (18, "l")) if r <= digits), None)
        return cls._f90(code, constants.COMBINER_F90_INTEGER, {"r": r})

    @classmethod
    def Create_f90_real(cls, p: int, r: int) -> Self:
        """Return the real number of so many decimal digits, and of that range of exponents."""
        return cls._f90(_real(p, r), constants.COMBINER_F90_REAL, {"p": p, "r": r})

    @classmethod
    def Create_f90_complex(cls, p: int, r: int) -> Self:
        """Return the complex number of so many decimal digits, and of that range of exponents."""
        code = _real(p, r)
        return cls._f90(code and {"f": "F", "d": "D", "g": "G"}[code], constants.COMBINER_F90_COMPLEX, {"p": p, "r": r})

    @classmethod
    def _f90(cls, code: str | None, combiner: int, params: dict[str, int]) -> Self:
        if code is None:
            raise wrong(ERR_OTHER, f"{params}", "digits that a number of the machine has", "ask for fewer")
        return cls._of(Type(layouts.basic(np.dtype(code)), "", code, combiner, (list(params.values()), [], []), params))


def _real(p: int, r: int) -> str | None:
    """Return the code of the smallest real number of p digits and exponents up to r."""
    for code in "fdg":
        info = np.finfo(code)
        if (p == constants.UNDEFINED or p <= info.precision) and (
            r == constants.UNDEFINED or r <= info.maxexp * 0.30103
        ):
            return code
    return None


def _recreated(cls: type[Datatype], old: Datatype, kind: str, params: dict[str, Any]) -> Datatype:
    """Return a datatype made as another was."""
    made: Datatype = getattr(cls if kind == "STRUCT" or kind.startswith("F90") else cls(old), f"Create_{kind.lower()}")(
        **params
    )
    return made


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
_OF_VALUE = {
    "SHORT": "SHORT_INT", "INT": "TWOINT", "LONG": "LONG_INT", "FLOAT": "FLOAT_INT", "DOUBLE": "DOUBLE_INT",
    "LONG_DOUBLE": "LONG_DOUBLE_INT",
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
    return _named(name, both, "V")


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
    "s": "CHAR", "1s": "CHAR", "a": "CHAR", "U": "WCHAR", "U1": "WCHAR", "w": "WCHAR", "1w": "WCHAR", "u": "UINT16_T",
    "1u": "UINT16_T", "m": "INT64_T", "m8": "INT64_T", "M": "INT64_T", "M8": "INT64_T", "b1": "C_BOOL", "i1": "INT8_T",
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
    datatype = spec if isinstance(spec, Datatype) else lookup(spec)
    return datatype._committed()
