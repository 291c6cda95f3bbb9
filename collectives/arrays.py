"""Flat arrays in blocks: how all packages cut n elements for p ranks.

Every algorithm of the project that gives each rank a block cuts as `block_bounds` says, which is as np.array_split
does. Whoever sends blocks to collectives, or takes theirs, cuts with the functions of this file.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def block_bounds(n: int, p: int) -> list[int]:
    """Return where the p blocks of n elements begin and end; the first n % p blocks are one element longer.

    block_bounds(8, 3)  # [0, 3, 6, 8]
    """
    return bounds_of(block_sizes(n, p))


def block_sizes(n: int, p: int) -> list[int]:
    """Return the sizes of the p blocks of n elements, as np.array_split cuts them.

    block_sizes(8, 3)  # [3, 3, 2]
    """
    size, longer = divmod(n, p)
    return [size + 1] * longer + [size] * (p - longer)


def bounds_of(sizes: list[int]) -> list[int]:
    """Return where blocks of these sizes begin and end.

    bounds_of([3, 0, 2])  # [0, 3, 3, 5]
    """
    return [0, *accumulate(sizes)]


def rotated_bounds(bounds: list[int], first: int) -> list[int]:
    """Return the bounds of the same blocks when block `first` is the first one, and those before it come last.

    rotated_bounds([0, 3, 6, 8], 1)  # [0, 3, 5, 8]
    """
    start, total = bounds[first], bounds[-1]
    return [bound - start for bound in bounds[first:]] + [bound - start + total for bound in bounds[1 : first + 1]]


def rotate(x: Array, start: int, out: Array) -> Array:
    """Copy the elements of `x` from `start` on, and behind them those before it, into `out`; return that."""
    to_end = x.size - start
    out[:to_end], out[to_end:] = x[start:], x[:start]
    return out


class Uneven:
    """The blocks of a flat array, as items: views, made when asked for; item -1 is the last."""

    __slots__ = ("bounds", "x")

    def __init__(self, x: Array, bounds: list[int]) -> None:
        self.x, self.bounds = x, bounds

    def __getitem__(self, block: int) -> Array:
        block %= len(self.bounds) - 1
        return self.x[self.bounds[block] : self.bounds[block + 1]]


def cut(x: Array, bounds: list[int]) -> Array | Uneven:
    """Return what has the blocks of a flat array as its items; item -1 is the last.

    cut(np.arange(6), [0, 2, 4, 6])[-1]  # array([4, 5])
    """
    p, size = len(bounds) - 1, bounds[1]
    # Blocks of one size are the rows of a matrix, which NumPy looks up in half the time of a slice.
    return x.reshape(p, size) if bounds == list(range(0, p * size + 1, size or 1)) else Uneven(x, bounds)
