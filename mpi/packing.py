"""Packing: the elements of buffers, one after the other, as they would be sent."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi.datatype_base import DatatypeBase
from mpi.errors import ERR_ARG, ERR_COUNT, ERR_TRUNCATE, WrongValueError, wrong
from mpi.layouts import Layout
from mpi.memory import EMPTY, Raw, memory_of
from ranks.words.datatypes import Scattered

Array = NDArray[Any]


class OutsideError(Exception):
    """Says that elements would lie outside of a buffer, from which byte on and up to which one."""


def piece_of(memory: Raw, layout: Layout, count: int, begin: int) -> Array | Scattered:
    """Return `count` elements from a byte on: a view of them if they lie in one piece; or raise OutsideError."""
    if layout.is_flat:
        end = begin + count * layout.size
        if begin < 0 or end > memory.size:
            raise OutsideError(begin, end)
        return memory[begin:end].view(layout.dtype)
    if not count or not layout.size:
        return EMPTY.view(layout.dtype)
    unit, at = layout.at(count)
    if begin % unit:
        unit, at, begin = 1, (at[:, None] * unit + np.arange(unit, dtype=np.intp)).reshape(-1), begin
    at = at + begin // unit
    low, high = int(at.min()) * unit, (int(at.max()) + 1) * unit
    if low < 0 or high > memory.size:
        raise OutsideError(low, high)
    return Scattered(memory[: memory.size // unit * unit].view(f"V{unit}"), at, layout.dtype)


class Packing(DatatypeBase):
    """The calls that pack and unpack."""

    __slots__ = ()

    def Pack_size(self, count: int, comm: Any) -> int:
        """Return the bytes that so many elements take when they are packed."""
        _checked_comm(comm)
        n = index(count)
        if n < 0:
            raise wrong(ERR_COUNT, f"count {n}", "0 or more", "correct the count")
        return n * self._committed().Get_size()

    def Pack(self, inbuf: Any, outbuf: Any, position: int, comm: Any) -> int:
        """Pack a buffer into another from a position on, and return where the next goes."""
        _checked_comm(comm)
        return self._pack(inbuf, outbuf, position, swaps=False)

    def Unpack(self, inbuf: Any, position: int, outbuf: Any, comm: Any) -> int:
        """Unpack a buffer from a position on, and return where the next begins."""
        _checked_comm(comm)
        return self._unpack(inbuf, position, outbuf, swaps=False)

    def Pack_external_size(self, datarep: str, count: int) -> int:
        """Return the bytes that so many elements take in a representation of data."""
        _check_external(datarep)
        return index(count) * self.Get_size()

    def Pack_external(self, datarep: str, inbuf: Any, outbuf: Any, position: int) -> int:
        """Pack a buffer, most significant byte first, with the sizes of this machine."""
        _check_external(datarep)
        return self._pack(inbuf, outbuf, position, swaps=True)

    def Unpack_external(self, datarep: str, inbuf: Any, position: int, outbuf: Any) -> int:
        """Unpack a buffer that was packed by Pack_external."""
        _check_external(datarep)
        return self._unpack(inbuf, position, outbuf, swaps=True)

    def _pack(self, inbuf: Any, outbuf: Any, position: int, *, swaps: bool) -> int:
        layout = self._committed()._layout()
        memory, out = memory_of(inbuf, writable=False)[0], memory_of(outbuf, writable=True)[0]
        piece = piece_of(memory, layout, _how_many(memory, layout), 0)
        data = (piece.gathered() if isinstance(piece, Scattered) else piece).view(np.uint8)
        end = index(position) + data.size
        if position < 0 or end > out.size:
            raise wrong(
                ERR_TRUNCATE, f"{data.size} bytes to pack at {position}", f"room up to {out.size}", "pack into more"
            )
        out[position:end] = swapped(data, layout) if swaps else data
        return end

    def _unpack(self, inbuf: Any, position: int, outbuf: Any, *, swaps: bool) -> int:
        layout = self._committed()._layout()
        packed, memory = memory_of(inbuf, writable=False)[0], memory_of(outbuf, writable=True)[0]
        count = _how_many(memory, layout)
        end = index(position) + count * layout.size
        if position < 0 or end > packed.size:
            raise wrong(ERR_TRUNCATE, f"bytes {position} to {end} to unpack", f"at most {packed.size}", "unpack fewer")
        data = swapped(packed[position:end], layout) if swaps else packed[position:end]
        piece = piece_of(memory, layout, count, 0)
        if isinstance(piece, Scattered):
            piece.scatter(data)
        else:
            piece.view(np.uint8)[:] = data
        return end


def _checked_comm(comm: Any) -> None:
    from mpi.common import CommBase

    CommBase._checked(comm)._object()


def _how_many(memory: Raw, layout: Layout) -> int:
    """Return how many elements a buffer holds."""
    if layout.extent <= 0:
        raise wrong(WrongValueError, f"an extent of {layout.extent}", "a positive one", "resize the datatype")
    return memory.size // layout.extent


def _check_external(datarep: Any) -> None:
    if datarep != "external32":
        raise wrong(ERR_ARG, f"datarep {datarep!r}", "external32", "name that one")


def swapped(packed: Raw, layout: Layout) -> Raw:
    """Return packed elements with their bytes the other way round."""
    out, begin = packed.copy(), 0
    parts = 2 if layout.dtype.kind == "c" else 1
    while begin < packed.size:
        for size, count in layout.runs:
            end = begin + size * count
            part = packed[begin:end].reshape(-1, size // parts)
            out[begin:end] = part[:, ::-1].reshape(-1)
            begin = end
    return out
