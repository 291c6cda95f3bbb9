"""What mpi4py takes as a buffer: an array, or a list of an array, counts, displacements and a datatype."""

from __future__ import annotations

from itertools import accumulate
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi import layouts
from mpi.constants import PROC_NULL, BottomType
from mpi.datatypes import BYTE, Datatype, as_datatype, lookup
from mpi.errors import ERR_BUFFER, ERR_COUNT, ERR_TRUNCATE, WrongBufferError, WrongTypeError, WrongValueError, wrong
from mpi.memory import EMPTY, Raw, at_address, memory_of
from mpi.packing import OutsideError, piece_of
from ranks.words.datatypes import WIRE_DTYPES, Scattered

Array = NDArray[Any]


class Blocks:
    """The blocks of a buffer: elements of one datatype, as many from each displacement as its count says.

    memory:   The bytes of the buffer.
    datatype: Its datatype; `layout` is where the elements of one lie.
    counts, displs: The elements of each block, and where it begins, in extents of the datatype.
    """

    __slots__ = ("counts", "datatype", "displs", "layout", "memory")

    def __init__(self, memory: Raw, datatype: Datatype, counts: list[int], displs: list[int]) -> None:
        self.memory, self.datatype, self.counts, self.displs = memory, datatype, counts, displs
        self.layout = datatype._layout()

    def __len__(self) -> int:
        return len(self.counts)

    def piece(self, block: int = 0, at_bytes: int | None = None) -> Array | Scattered:
        """Return a block as it is sent: a view of its elements if they lie in one piece."""
        begin = self.displs[block] * self.layout.extent if at_bytes is None else at_bytes
        try:
            return piece_of(self.memory, self.layout, self.counts[block], begin)
        except OutsideError as problem:
            raise self._too_small(block, *problem.args) from None

    def _too_small(self, block: int, begin: int, end: int) -> Exception:
        name = self.datatype.name or "a derived datatype"
        return wrong(
            WrongValueError,
            f"{self.counts[block]} of {name}, bytes {begin} to {end} of a buffer of {self.memory.size}",
            "a part of the buffer", "correct count and displacement, or give a larger buffer",
        )  # fmt: skip

    def packed(self, block: int = 0) -> Array:
        """Return the elements of a block in one piece; a view where that is possible."""
        piece = self.piece(block)
        return piece.gathered() if isinstance(piece, Scattered) else piece

    def place(self, data: Array, block: int = 0) -> None:
        """Write packed elements to a block."""
        piece = self.piece(block)
        if data.nbytes > piece.nbytes:
            raise wrong(ERR_TRUNCATE, f"{data.nbytes} B", f"at most {piece.nbytes} B", "receive into a larger buffer")
        if isinstance(piece, Scattered):
            piece.scatter(data)
        else:
            piece.view(np.uint8)[: data.nbytes] = data.reshape(-1).view(np.uint8)

    def is_one_piece(self) -> bool:
        """Return whether all blocks, in order, are one flat piece of memory."""
        displs = [0, *accumulate(self.counts)][:-1]
        first = self.displs[0] if self.displs else 0
        return self.layout.is_flat and all(d - first == e for d, e in zip(self.displs, displs, strict=True))

    def joined(self) -> Array:
        """Return the elements of all blocks, one after the other; a view where that is possible."""
        if len(self) == 1:
            return self.packed()
        if self.is_one_piece():
            return self._as_one().packed()
        return np.concatenate([self.packed(block) for block in range(len(self))])

    def _as_one(self) -> Blocks:
        return Blocks(self.memory, self.datatype, [sum(self.counts)], self.displs[:1] or [0])

    def place_all(self, data: Array) -> None:
        """Write packed elements of all blocks, one after the other, to their places."""
        size, begin = self.layout.size, 0
        raw = data.reshape(-1).view(np.uint8)
        if self.is_one_piece():
            self._as_one().place(raw)
            return
        for block, count in enumerate(self.counts):
            self.place(raw[begin : begin + count * size], block)
            begin += count * size

    def sizes(self) -> list[int]:
        """Return the bytes of each block, packed."""
        return [count * self.layout.size for count in self.counts]


# -- what calls take -------------------------------------------------------------------------------------------------


def message(spec: Any, *, writable: bool, rank: Any = 0) -> Any:
    """Return a buffer of a send or a receive as the ranks take it: an array in one piece, or Scattered."""
    is_plain = type(spec) is np.ndarray and spec.flags.c_contiguous and spec.dtype in WIRE_DTYPES
    if is_plain and (not writable or spec.flags.writeable):
        return spec
    if rank == PROC_NULL:
        return EMPTY
    piece = _counted(spec, writable) if type(spec) is list and len(spec) == 3 else None
    return simple(spec, writable=writable).piece() if piece is None else piece


def _counted(spec: list[Any], writable: bool) -> Array | None:
    """Return what most programs mean by [data, count, datatype], as `simple` does; None if it is something else."""
    data, count, datatype = spec
    if type(count) is not int or count < 0 or data is None or isinstance(data, BottomType):
        return None
    if not isinstance(datatype, Datatype) or not datatype:
        return None
    layout = as_datatype(datatype)._layout()
    raw = memory_of(data, writable=writable)[0]
    n_bytes = count * layout.size
    return raw[:n_bytes].view(layout.dtype) if layout.is_flat and n_bytes <= raw.size else None


def _parts(spec: Any, kinds: Any) -> tuple[Any, Any, Any, Any]:
    """Return what a specification says: data, counts, displacements, datatype; None where it says nothing."""
    if not isinstance(spec, (list, tuple)):
        if spec is None:
            raise wrong(WrongTypeError, "None", "a buffer, or a list that begins with one", "pass an array")
        return spec, None, None, None
    displs = None
    if len(spec) == 2:
        data, counts = spec
        if isinstance(counts, (Datatype, str)):
            return data, None, None, counts
        datatype = None
    elif len(spec) == 3:
        data, counts, datatype = spec
    elif len(spec) == 4:
        data, counts, displs, datatype = spec
        return data, counts, displs, datatype
    else:
        raise wrong(WrongValueError, f"a list of {len(spec)} items", "2 to 4", "give [data, count, datatype]")
    if isinstance(counts, kinds):
        counts, displs = counts
    return data, counts, displs, datatype


def _memory(data: Any, datatype: Any, writable: bool) -> tuple[Raw, Datatype]:
    """Return the memory of a buffer, and its datatype."""
    if isinstance(data, BottomType) or (data is None and datatype is not None):
        return EMPTY, as_datatype(datatype)
    raw, code = memory_of(data, writable=writable)
    if datatype is not None:
        return raw, as_datatype(datatype)
    if code[0] in ">!":
        raise wrong(
            WrongBufferError, f"elements of format {code}", "the byte order of the machine", "convert the array"
        )
    return raw, BYTE if code == "B" and not isinstance(data, np.ndarray) else lookup(code)


def _extent(datatype: Datatype, why: str) -> int:
    if not datatype:
        raise wrong(WrongValueError, f"{why} in DATATYPE_NULL", "a datatype", "name the datatype")
    extent = int(datatype.extent)
    if extent <= 0:
        raise wrong(
            WrongValueError, f"{why} in extents of {extent}", "a datatype whose extent is positive", "resize it"
        )
    return extent


def _whole_number(n_bytes: int, datatype: Datatype) -> int:
    """Return how many of a datatype a buffer holds."""
    extent = _extent(datatype, "no count")
    if n_bytes % extent:
        raise wrong(
            WrongValueError, f"no count, and {n_bytes} bytes", f"a multiple of the extent {extent} of {datatype.name}",
            "give the count",
        )  # fmt: skip
    return n_bytes // extent


def simple(spec: Any, blocks: int = 1, *, writable: bool) -> Blocks:
    """Return a buffer as `blocks` equal blocks, one after the other."""
    if type(spec) is np.ndarray and spec.dtype in WIRE_DTYPES and blocks and not spec.size % blocks:
        raw, code = memory_of(spec, writable=writable)
        count = spec.size // blocks
        return Blocks(raw, lookup(code), [count] * blocks, [block * count for block in range(blocks)])
    data, o_count, o_displ, o_type = _parts(spec, (list, tuple))
    raw, datatype = _memory(data, o_type, writable)
    displ = 0 if o_displ is None else index(o_displ)
    length = raw.size
    if displ < 0:
        raise wrong(WrongValueError, f"displacement {displ}", "0 or more", "correct it")
    if displ:
        extent = _extent(datatype, "a displacement")
        if displ * extent > length:
            raise wrong(WrongValueError, f"displacement {displ}", f"0 to {length // extent}", "give a larger buffer")
        length -= displ * extent
    if o_count is not None:
        count = index(o_count)
        if count < 0:
            raise wrong(WrongValueError, f"count {count}", "0 or more", "correct the count")
        if count and data is None:
            raise wrong(WrongValueError, f"None as buffer of {count} elements", "a buffer", "pass an array")
    else:
        n = _whole_number(length, datatype) if length else 0
        if blocks > 1 and n % blocks:
            raise wrong(
                WrongValueError, f"{n} elements", f"a multiple of the {blocks} blocks", "give the count of a block"
            )
        count = n // max(blocks, 1)
    if not datatype and not count:
        datatype = BYTE
    displs = [displ + block * count for block in range(blocks)]
    made = Blocks(raw, datatype, [count] * blocks, displs)
    return _absolute(made) if isinstance(data, BottomType) else made


def vector(spec: Any, blocks: int, *, writable: bool) -> Blocks:
    """Return a buffer as blocks of their own counts and displacements."""
    data, o_counts, o_displs, o_type = _parts(spec, (tuple,))
    raw, datatype = _memory(data, o_type, writable)
    if o_counts is None:
        n, longer = divmod(_whole_number(raw.size, datatype) if raw.size else 0, blocks)
        counts = [n + (block < longer) for block in range(blocks)]
    else:
        counts = _each("counts", o_counts, blocks)
        if min(counts, default=0) < 0:
            raise wrong(ERR_COUNT, f"counts {counts}", "each 0 or more", "correct the counts")
    if o_displs is None:
        displs = [0, *accumulate(counts)][:-1]
    elif is_number(o_displs):
        displs = [index(o_displs) * block for block in range(blocks)]
    else:
        displs = _each("displacements", o_displs, blocks)
    made = Blocks(raw, datatype, counts, displs)
    return _absolute(made) if isinstance(data, BottomType) else made


def each_its_own(spec: Any, blocks: int, *, writable: bool) -> list[Blocks]:
    """Return the blocks of Alltoallw: each with a datatype, and a displacement in bytes."""
    o_counts: Any
    o_displs: Any
    if len(spec) == 2:
        data, o_types = spec
        o_counts = o_displs = None
    elif len(spec) == 3:
        data, (o_counts, o_displs), o_types = spec
    elif len(spec) == 4:
        data, o_counts, o_displs, o_types = spec
    else:
        raise wrong(WrongValueError, f"a list of {len(spec)} items", "2 to 4", "give [data, counts, displs, datatypes]")
    if isinstance(data, BottomType) and (o_counts is None or o_displs is None):
        raise wrong(WrongValueError, "BOTTOM without counts or displacements", "both", "give both")
    if o_counts is None and o_displs is None:
        o_counts, o_displs = [1] * blocks, [0] * blocks
    raw = EMPTY if isinstance(data, BottomType) else memory_of(data, writable=writable)[0]
    counts, displs = _each("counts", o_counts, blocks), _each("displacements", o_displs, blocks)
    types = [as_datatype(each) for each in o_types]
    if len(types) != blocks:
        raise wrong(WrongValueError, f"{len(types)} datatypes", f"{blocks}", "give one for each rank")
    made = []
    for count, displ, datatype in zip(counts, displs, types, strict=True):
        block = Blocks(raw[displ:] if displ >= 0 else raw, datatype or BYTE, [count], [0])
        made.append(_absolute(block, displ) if isinstance(data, BottomType) else block)
    return made


def _absolute(block: Blocks, offset: int = 0) -> Blocks:
    """Return blocks that begin at the address 0, seen from the first byte of them."""
    begins, ends = [], []
    for count, displ in zip(block.counts, block.displs, strict=True):
        if count and block.layout.size:
            unit, at = block.layout.at(count)
            first = displ * block.layout.extent + offset
            begins.append(first + int(at.min()) * unit)
            ends.append(first + (int(at.max()) + 1) * unit)
    if not begins:
        return block
    begin, end = min(begins), max(ends)
    memory = at_address(begin, end - begin)
    moved = Datatype._of(block.datatype._o)
    made = Blocks(memory, moved, block.counts, block.displs)
    made.layout = _shifted(block.layout, offset - begin)
    return made


def _shifted(layout: Any, n_bytes: int) -> Any:
    return layouts.resized(layouts.at_offsets(layout, [n_bytes]), layout.lb + n_bytes, layout.extent)


def check_apart(one: Blocks, other: Blocks, block: int = 0) -> None:
    """Raise if a rank's block of one buffer is that of the other, which IN_PLACE would allow."""
    if one is not other and one.counts[0] and np.may_share_memory(one.memory, other.memory):
        at, other_at = (x.memory.ctypes.data + x.displs[i] * x.layout.extent for x, i in ((one, 0), (other, block)))
        if at == other_at:
            raise wrong(
                ERR_BUFFER, "one buffer to send and to receive", "two", "pass MPI.IN_PLACE in the place of one of them"
            )


def is_number(value: Any) -> bool:
    """Return whether this is one number, and no sequence of them."""
    return isinstance(value, (int, np.integer)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _each(name: str, values: Any, blocks: int) -> list[int]:
    if is_number(values):
        return [index(values)] * blocks
    found = [index(value) for value in values]
    if len(found) != blocks:
        raise wrong(WrongValueError, f"{len(found)} {name}", f"{blocks}, one for each rank", f"give {blocks} {name}")
    return found
