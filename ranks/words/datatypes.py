"""MPI datatypes, and what mpi4py takes as a buffer, brought to one form: a flat NumPy array."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks.words.constants import UNDEFINED

Flat = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Datatype:
    """An MPI datatype: `name` as MPI spells it, `dtype` as NumPy does."""

    name: str
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def Get_size(self) -> int:
        """Return the bytes of one element."""
        return self.dtype.itemsize

    def Get_name(self) -> str:
        """Return the MPI name, such as "MPI_DOUBLE"."""
        return self.name

    def count_in(self, n_bytes: int) -> int:
        """Return how many elements `n_bytes` hold, UNDEFINED if not a whole number."""
        count, rest = divmod(n_bytes, self.size)
        return UNDEFINED if rest else count


_CODES = {
    "BYTE": "B", "CHAR": "b", "SIGNED_CHAR": "b", "UNSIGNED_CHAR": "B", "SHORT": "h", "UNSIGNED_SHORT": "H",
    "INT": "i", "UNSIGNED": "I", "LONG": "l", "UNSIGNED_LONG": "L", "LONG_LONG": "q",
    "UNSIGNED_LONG_LONG": "Q",
    "FLOAT": "f", "DOUBLE": "d", "LONG_DOUBLE": "g", "C_BOOL": "?", "INT8_T": "i1", "INT16_T": "i2",
    "INT32_T": "i4", "INT64_T": "i8", "UINT8_T": "u1", "UINT16_T": "u2", "UINT32_T": "u4", "UINT64_T": "u8",
    "C_FLOAT_COMPLEX": "F", "C_DOUBLE_COMPLEX": "D", "C_LONG_DOUBLE_COMPLEX": "G", "COMPLEX": "F",
    "DOUBLE_COMPLEX": "D", "REAL": "f", "DOUBLE_PRECISION": "d", "INTEGER": "i",
}  # fmt: skip
DATATYPES = {name: Datatype(f"MPI_{name}", np.dtype(code)) for name, code in _CODES.items()}
BYTE = DATATYPES["BYTE"]

# The NumPy types that mpi4py finds an MPI datatype for by itself.
WIRE_DTYPES = {np.dtype(code): code for code in "?bBhHiIlLqQefdgFDG"}


class Scattered:
    """Elements of a buffer that do not lie in one piece, in the order in which they are sent.

    at:      Where each piece lies, as an index of `pieces`.
    pieces:  The memory of the buffer as pieces of one size, of which each element has one or several.
    dtype:   The dtype of the elements, which is that of their message.
    """

    __slots__ = ("at", "dtype", "nbytes", "pieces")

    def __init__(self, pieces: Flat, at: Any, dtype: np.dtype[Any]) -> None:
        self.pieces, self.at, self.dtype = pieces, at, dtype
        self.nbytes: int = at.size * pieces.itemsize

    def gathered(self) -> Flat:
        """Return a copy of the elements, in one piece."""
        found: Flat = self.pieces[self.at].reshape(-1).view(self.dtype)
        return found

    def scatter(self, data: Flat) -> None:
        """Write elements to their places; there may be fewer of them than places."""
        data = data.reshape(-1).view(self.pieces.dtype)
        self.pieces[self.at.reshape(-1)[: data.size]] = data


class NotABufferError(Exception):
    """Says what is wrong with a buffer; the call that took it adds who."""

    def __init__(self, got: str, expected: str, remedy: str) -> None:
        self.got, self.expected, self.remedy = got, expected, remedy
        super().__init__(got)


def as_flat(spec: Any, *, writable: bool) -> Flat:
    """Return the 1-D view of the elements that the buffer `spec` names, or raise NotABufferError.

        as_flat(np.zeros((2, 3)), writable=True).shape  # (6,)
        as_flat([np.arange(6.0), (3, 2), ranks.DOUBLE], writable=False)  # array([2., 3., 4.])

    spec: an array or memoryview in one piece (C or Fortran order), bytes, a NumPy scalar, or a list
    [data, count], [data, datatype], [data, count, datatype], [data, (count, displ), datatype] or
    [data, count, displ, datatype]; a datatype is one of `ranks`, a NumPy dtype or its code such as "f8".
    """
    data = spec
    if isinstance(spec, (list, tuple)):
        data = spec[0] if spec else None
        flat = _from_parts(spec)
    elif spec is None:
        raise NotABufferError("None", "a buffer", "give an array, bytes or [data, count, datatype]")
    else:
        flat = _view(spec)
    if flat.dtype not in WIRE_DTYPES:
        raise _unknown(flat.dtype)
    if writable and isinstance(data, np.generic):
        raise NotABufferError(
            f"a NumPy scalar, {type(data).__name__}", "a buffer that can be written to", "receive into an array of one"
        )
    if writable and not flat.flags.writeable:
        raise NotABufferError("a read-only buffer", "a writable one to receive into", "receive into a copy")
    return flat


def _unknown(dtype: np.dtype[Any]) -> NotABufferError:
    return NotABufferError(
        f"dtype {str(dtype) or 'V'}", "a dtype that MPI knows", "send array.view(np.uint8), or lower-case send"
    )


def _view(data: Any) -> Flat:
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        try:
            array = np.asarray(memoryview(data))
        except (TypeError, ValueError) as problem:
            raise NotABufferError(
                f"an object of type {type(data).__name__}",
                "a buffer",
                "give an array, bytes or [data, count, datatype]",
            ) from problem
    if not array.flags.forc:
        raise NotABufferError(
            f"an array with shape {array.shape} and strides {array.strides}",
            "one in a single piece of memory",
            "send np.ascontiguousarray(x), receive into a contiguous array",
        )
    return array.ravel(order="K")


def _from_parts(spec: Any) -> Flat:
    expected = "[data, count, datatype], [data, (count, displ), datatype] or a shorter form"
    data, *rest = spec if 2 <= len(spec) <= 4 else (None,)
    datatype = rest.pop() if len(rest) > 1 or (rest and not _is_extent(rest[0])) else None
    extent = rest[0] if rest and isinstance(rest[0], (tuple, list)) else [*rest, None, None][:2]
    if not 2 <= len(spec) <= 4 or len(extent) != 2:
        raise NotABufferError(f"{spec!r:.60}", expected, "correct the list, or make an array of its numbers")
    if isinstance(data, (int, float, complex)) and not isinstance(data, np.generic):
        raise NotABufferError(f"{spec!r:.60}", f"{expected}, where data is a buffer", "make an array of the numbers")
    flat = np.empty(0, np.uint8) if data is None else _view(data)
    dtype = flat.dtype if datatype is None else _dtype_of(datatype)
    if flat.dtype not in WIRE_DTYPES and flat.dtype.hasobject:
        raise _unknown(flat.dtype)
    begin, end = _bounds(extent[0], extent[1], flat.nbytes, dtype)
    raw = flat.view(np.uint8)
    return raw[begin * dtype.itemsize : end * dtype.itemsize].view(dtype)


def _bounds(count: Any, displ: Any, n_bytes: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the first element and the one after the last of `count` elements from `displ` on; None is all, and 0."""
    size, rest = divmod(n_bytes, dtype.itemsize)
    begin = 0 if displ is None else _index(displ)
    end = size if count is None else begin + _index(count)
    if not 0 <= begin <= end <= size or (count is None and rest):
        wanted = "all elements" if count is None else f"count {count}"
        raise NotABufferError(
            f"{wanted} from element {begin}", f"a part of a buffer of {n_bytes / dtype.itemsize:g} {dtype}",
            "correct count and displacement, or give a larger buffer",
        )  # fmt: skip
    return begin, end


def _index(number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError as problem:
        raise NotABufferError(f"{number!r} as count or displacement", "an integer", "give an int") from problem


def _is_extent(item: Any) -> bool:
    return item is not None and isinstance(item, (int, np.integer, tuple, list))


def _dtype_of(datatype: Any) -> np.dtype[Any]:
    if isinstance(datatype, Datatype):
        return datatype.dtype
    try:
        dtype: np.dtype[Any] = np.dtype(datatype)
    except (TypeError, ValueError) as problem:
        raise NotABufferError(
            f"datatype {datatype!r}", "a datatype", "give ranks.DOUBLE, a NumPy dtype or its code"
        ) from problem
    if dtype not in WIRE_DTYPES:
        raise NotABufferError(
            f"datatype {datatype!r}", "a datatype that MPI knows", "give ranks.DOUBLE, a NumPy dtype or its code"
        )
    return dtype


def typed_name(dtype: np.dtype[Any], n_bytes: int) -> str:
    """Return how messages name some elements: "12 float64 (96 B)"."""
    return f"{n_bytes // max(dtype.itemsize, 1)} {dtype.name} ({n_bytes} B)"
