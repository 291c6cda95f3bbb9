"""How datatypes are made of others."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Self

import numpy as np

from mpi import constants, layouts
from mpi.datatype_base import DatatypeBase, Type
from mpi.errors import ERR_ARG, ERR_COUNT, ERR_RANK, ERR_TYPE, WrongValueError, wrong
from mpi.layouts import Layout, Places
from mpi.simulated import whole


class Constructors(DatatypeBase):
    """The calls that make datatypes of others."""

    __slots__ = ()

    def _made(self, layout: Layout, combiner: int, integers: Any = (), addresses: Any = (), **params: Any) -> Self:
        code = self.typechar if combiner in (constants.COMBINER_DUP, constants.COMBINER_RESIZED) else "V"
        if combiner == constants.COMBINER_RESIZED and layout.extent != self.extent:
            code = "V"
        contents = (list(integers), list(addresses), [type(self)(self)])
        return type(self)._of(Type(layout, "", code, combiner, contents, params))

    def Dup(self) -> Self:
        """Return a copy of it."""
        made = self._made(self._layout(), constants.COMBINER_DUP)
        made._type().is_committed = self._type().is_committed
        return made

    Create_dup = Dup

    def Create_contiguous(self, count: int) -> Self:
        """Return `count` of it, one after the other."""
        (count,) = _counts(count)
        return self._made(
            layouts.contiguous(self._layout(), count), constants.COMBINER_CONTIGUOUS, [count], count=count
        )

    def Create_vector(self, count: int, blocklength: int, stride: int) -> Self:
        """Return `count` blocks of it, whose beginnings lie `stride` elements apart."""
        count, blocklength = _counts(count, blocklength)
        made = self._blocks([blocklength] * count, [i * index(stride) * self.extent for i in range(count)])
        given = {"count": count, "blocklength": blocklength, "stride": index(stride)}
        return self._made(made, constants.COMBINER_VECTOR, given.values(), **given)

    def Create_hvector(self, count: int, blocklength: int, stride: int) -> Self:
        """Return `count` blocks of it, whose beginnings lie `stride` bytes apart."""
        count, blocklength = _counts(count, blocklength)
        made = self._blocks([blocklength] * count, [i * index(stride) for i in range(count)])
        given = {"count": count, "blocklength": blocklength, "stride": index(stride)}
        return self._made(made, constants.COMBINER_HVECTOR, [count, blocklength], [index(stride)], **given)

    def Create_indexed(self, blocklengths: Sequence[int], displacements: Sequence[int]) -> Self:
        """Return blocks of it at displacements in elements."""
        lengths, at = _same_length(blocklengths, displacements)
        made = self._blocks(lengths, [d * self.extent for d in at])
        return self._made(
            made, constants.COMBINER_INDEXED, [len(at), *lengths, *at], blocklengths=lengths, displacements=at
        )

    def Create_hindexed(self, blocklengths: Sequence[int], displacements: Sequence[int]) -> Self:
        """Return blocks of it at displacements in bytes."""
        lengths, at = _same_length(blocklengths, displacements)
        made, ints = self._blocks(lengths, at), [len(at), *lengths]
        return self._made(made, constants.COMBINER_HINDEXED, ints, at, blocklengths=lengths, displacements=at)

    def Create_indexed_block(self, blocklength: int, displacements: Sequence[int]) -> Self:
        """Return blocks of one length at displacements in elements."""
        (length,), at = _counts(blocklength), _integers(displacements)
        made = self._blocks([length] * len(at), [d * self.extent for d in at])
        ints = [len(at), length, *at]
        return self._made(made, constants.COMBINER_INDEXED_BLOCK, ints, blocklength=length, displacements=at)

    def Create_hindexed_block(self, blocklength: int, displacements: Sequence[int]) -> Self:
        """Return blocks of one length at displacements in bytes."""
        (length,), at = _counts(blocklength), _integers(displacements)
        made = self._blocks([length] * len(at), at)
        ints = [len(at), length]
        return self._made(made, constants.COMBINER_HINDEXED_BLOCK, ints, at, blocklength=length, displacements=at)

    def _blocks(self, lengths: Sequence[int], at: Sequence[int]) -> Layout:
        extent, lengths = self.extent, _counts(*lengths)
        offsets = [np.arange(length, dtype=np.intp) * extent + d for length, d in zip(lengths, at, strict=True)]
        return layouts.at_offsets(self._layout(), np.concatenate(offsets) if offsets else np.empty(0, np.intp))

    @classmethod
    def Create_struct(cls, blocklengths: Sequence[int], displacements: Sequence[int], datatypes: Sequence[Any]) -> Self:
        """Return blocks of several datatypes at displacements in bytes."""
        lengths, at = _same_length(blocklengths, displacements)
        _same_length(lengths, [0] * len(datatypes))
        datatypes = [DatatypeBase._checked(each) for each in datatypes]
        parts = [t._blocks([n], [d]) for n, d, t in zip(lengths, at, datatypes, strict=True)]
        kept = [type(t)(t) for t in datatypes]
        given = {"blocklengths": lengths, "displacements": at, "datatypes": kept}
        contents = ([len(at), *lengths], list(at), kept)
        return cls._of(Type(layouts.struct(parts), "", "V", constants.COMBINER_STRUCT, contents, given))

    def Create_subarray(
        self, sizes: Sequence[int], subsizes: Sequence[int], starts: Sequence[int], order: int = constants.ORDER_C
    ) -> Self:
        """Return a part of an array, with the bounds of the whole array."""
        whole, part = _same_length(sizes, subsizes)
        _, begin = _same_length(whole, starts)
        _counts(*part, *begin)
        if any(b > n - m for n, m, b in zip(whole, part, begin, strict=True)):
            raise wrong(
                ERR_ARG, f"subsizes {part} from {begin} on of sizes {whole}", "a part within the array",
                "correct subsizes and starts",
            )  # fmt: skip
        along = [np.arange(n, dtype=np.intp) + b for n, b in zip(part, begin, strict=True)]
        given = {"sizes": whole, "subsizes": part, "starts": begin, "order": order}
        ints = [len(whole), *whole, *part, *begin, order]
        return self._made(self._picked(whole, along, order), constants.COMBINER_SUBARRAY, ints, **given)

    def Create_darray(
        self, size: int, rank: int, gsizes: Sequence[int], distribs: Sequence[int], dargs: Sequence[int],
        psizes: Sequence[int], order: int = constants.ORDER_C,
    ) -> Self:  # fmt: skip
        """Return a rank's part of an array that is dealt out, in blocks, to a grid of ranks."""
        whole, kinds = _same_length(gsizes, distribs)
        blocks, grid = _same_length(dargs, psizes)
        if len(whole) != len(grid) or int(np.prod(grid)) != size:
            raise wrong(ERR_ARG, f"a grid {grid}", f"one of {size} ranks", "correct psizes")
        if not 0 <= rank < size:
            raise wrong(ERR_RANK, f"rank {rank}", f"0 to {size - 1}", "correct the rank")
        places = np.unravel_index(rank, grid)
        along = [
            _dealt(n, kind, block, p, int(place))
            for n, kind, block, p, place in zip(whole, kinds, blocks, grid, places, strict=True)
        ]
        given = {
            "size": size, "rank": rank, "gsizes": whole, "distribs": kinds, "dargs": blocks, "psizes": grid,
            "order": order,
        }  # fmt: skip
        ints = [size, rank, len(whole), *whole, *kinds, *blocks, *grid, order]
        return self._made(self._picked(whole, along, order), constants.COMBINER_DARRAY, ints, **given)

    def _picked(self, sizes: Sequence[int], along: Sequence[Places], order: int) -> Layout:
        """Return the elements of an array at some indices along each axis, with the bounds of the whole array."""
        at, step = np.zeros(1, np.intp), self.extent
        for axis in range(len(sizes)) if order == constants.ORDER_FORTRAN else reversed(range(len(sizes))):
            at = (along[axis][:, None] * step + at).reshape(-1)
            step *= sizes[axis]
        return layouts.at_offsets(self._layout(), at, (0, step))

    def Create_resized(self, lb: int, extent: int) -> Self:
        """Return it with other bounds."""
        made = layouts.resized(self._layout(), index(lb), index(extent))
        addresses = [index(lb), index(extent)]
        return self._made(made, constants.COMBINER_RESIZED, [], addresses, lb=addresses[0], extent=addresses[1])

    Resized = Create_resized

    def Commit(self) -> Self:
        """Return the datatype, which messages may have from now on."""
        self._type().is_committed = True
        return self

    def Free(self) -> None:
        """Make the handle null."""
        self._check_not_named("Free")
        self._o = None

    def _check_not_named(self, call: str) -> None:
        if self._type().combiner == constants.COMBINER_NAMED:
            raise wrong(ERR_TYPE, f"{call} of {self.name}", "a datatype that the program has made", "keep it")


def _dealt(n: int, kind: int, block: int, p: int, place: int) -> Places:
    """Return the indices along an axis of n that one of p places gets."""
    indices = np.arange(n, dtype=np.intp)
    if kind == constants.DISTRIBUTE_NONE:
        return indices
    default = -(-n // p) if kind == constants.DISTRIBUTE_BLOCK else 1
    size = default if block == constants.DISTRIBUTE_DFLT_DARG else block
    if size < 1 or (kind == constants.DISTRIBUTE_BLOCK and size * p < n):
        raise wrong(ERR_ARG, f"blocks of {size}", f"blocks that deal out {n} to {p}", "correct dargs")
    mine: Places = indices[indices // size % p == place]
    return mine


def _counts(*numbers: Any) -> list[int]:
    found = [int(whole(number)) for number in numbers]
    if min(found, default=0) < 0:
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
