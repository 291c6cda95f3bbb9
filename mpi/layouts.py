"""Where the elements of a datatype lie in memory: the typemap of MPI, as arrays of indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]
Runs = tuple[tuple[int, int], ...]

BYTES = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The typemap of one element of a datatype.

    dtype:     The dtype of its basic elements; bytes if they are not all alike.
    runs:      Its basic elements in order: (bytes of each, how many), for as many runs as there are.
    lb, extent: Where it begins, and how far the next one lies from it, in bytes.
    unit:      All of it lies in pieces of so many bytes, at multiples of this number.
    places:    Where each piece lies, in units, in the order in which they are sent; None: one after the other from 0.
    alignment: The addresses of a C struct of it are multiples of this number; 1 once its bounds were set.
    size:      Bytes of its elements.
    is_flat:   Whether any number of them lies in one piece of memory.
    """

    dtype: np.dtype[Any]
    runs: Runs
    lb: int
    extent: int
    unit: int
    places: Places | None = None
    alignment: int = 1
    size: int = field(init=False)
    is_flat: bool = field(init=False)

    def __post_init__(self) -> None:
        size = sum(n_bytes * count for n_bytes, count in self.runs)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "is_flat", self.places is None and self.lb == 0 and self.extent == size)

    def true_bounds(self) -> tuple[int, int]:
        """Return where its first byte lies, and the one after its last."""
        if self.places is None:
            return 0, self.size
        if not self.places.size:
            return 0, 0
        return int(self.places.min()) * self.unit, (int(self.places.max()) + 1) * self.unit

    def at(self, count: int) -> tuple[int, Places]:
        """Return the unit and the places of `count` of them, one extent apart."""
        if self.is_flat:
            return 1, np.arange(count * self.size, dtype=np.intp)
        return _spread(self, np.arange(count, dtype=np.intp) * self.extent)


def basic(dtype: np.dtype[Any], n_bytes: int | None = None) -> Layout:
    """Return the layout of a basic element."""
    size = dtype.itemsize if n_bytes is None else n_bytes
    return Layout(dtype, ((size, 1),), 0, size, size, alignment=dtype.alignment)


def _spread(old: Layout, offsets: Places) -> tuple[int, Places]:
    """Return the unit and the places of one element at each offset, in bytes."""
    places, unit = old.places, old.unit
    if places is None:
        places = np.arange(old.size // unit, dtype=np.intp)
    common = gcd(unit, int(np.gcd.reduce(offsets)))
    if common != unit and unit:
        parts = unit // common
        places = (places[:, None] * parts + np.arange(parts, dtype=np.intp)).reshape(-1)
    return common or 1, (offsets[:, None] // (common or 1) + places).reshape(-1)


def at_offsets(old: Layout, offsets: Sequence[int] | Places, bounds: tuple[int, int] | None = None) -> Layout:
    """Return the layout of one element of `old` at each offset, in bytes, in this order.

    bounds: where it begins and ends; None: where the first and the last of the old ones do.
    """
    offs = np.asarray(offsets, np.intp)
    count = offs.size
    if bounds is None:
        bounds = (int(offs.min()) + old.lb, int(offs.max()) + old.lb + old.extent) if count else (0, 0)
    runs = _joined(old.runs, count)
    lb, extent = bounds[0], bounds[1] - bounds[0]
    if old.is_flat and (not count or np.array_equal(offs, np.arange(count, dtype=np.intp) * old.extent)):
        return Layout(old.dtype, runs, lb, extent, old.unit, alignment=old.alignment)
    unit, places = _spread(old, offs)
    return Layout(old.dtype, runs, lb, extent, unit, places, old.alignment)


def contiguous(old: Layout, count: int) -> Layout:
    """Return the layout of `count` elements one after the other."""
    if old.is_flat:
        runs = _joined(old.runs, count)
        return Layout(old.dtype, runs, 0, count * old.extent, old.unit, alignment=old.alignment)
    return at_offsets(old, np.arange(count, dtype=np.intp) * old.extent)


def struct(parts: Sequence[Layout]) -> Layout:
    """Return the layout of some, which lie where they say themselves; its end is aligned, as that of C's structs."""
    kept = [part for part in parts if part.runs]
    if not kept:
        return Layout(BYTES, (), 0, 0, 1)
    dtypes = {part.dtype for part in kept}
    unit = gcd(*(part.unit for part in kept))
    places = [_spread(part, np.zeros(1, np.intp)) for part in kept]
    finer = [(at[:, None] * (own // unit) + np.arange(own // unit, dtype=np.intp)).reshape(-1) for own, at in places]
    lb = min(part.lb for part in kept)
    ub = max(part.lb + part.extent for part in kept)
    runs: Runs = ()
    for part in kept:
        runs = _appended(runs, part.runs)
    alignment = max(part.alignment for part in kept)
    extent = -(-(ub - lb) // alignment) * alignment
    dtype = dtypes.pop() if len(dtypes) == 1 else BYTES
    return Layout(dtype, runs, lb, extent, unit, np.concatenate(finer), alignment)


def resized(old: Layout, lb: int, extent: int) -> Layout:
    """Return the same layout with other bounds."""
    return replace(old, lb=lb, extent=extent, alignment=1)


def _joined(runs: Runs, count: int) -> Runs:
    """Return the runs of `count` elements."""
    if not count or not runs:
        return ()
    if len(runs) == 1:
        return ((runs[0][0], runs[0][1] * count),)
    return runs * count


def _appended(one: Runs, other: Runs) -> Runs:
    if one and other and one[-1][0] == other[0][0]:
        return (*one[:-1], (one[-1][0], one[-1][1] + other[0][1]), *other[1:])
    return (*one, *other)


def count_basic(runs: Runs, n_bytes: int) -> int | None:
    """Return how many basic elements `n_bytes` of packed data hold; None if that is no whole number."""
    size = sum(each * count for each, count in runs)
    if not size:
        return None if n_bytes else 0
    whole, rest = divmod(n_bytes, size)
    found = whole * sum(count for _, count in runs)
    for each, count in runs:
        if rest < each * count:
            return None if rest % each else found + rest // each
        found, rest = found + count, rest - each * count
    return found
