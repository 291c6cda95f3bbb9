"""The bitonic network on arrays of integers: whole rows of a matrix are compared and exchanged at once.

A stage of the network compares elements that lie `run` apart. If a row of the matrix holds only elements that the stage
does not compare with each other, these are two rows in memory. The stage is then one np.minimum and one np.maximum over
long contiguous rows, from one buffer into another. A tile of 2^(a+b) elements has two such layouts, each the transpose
of the other: one for distances from 2^a up, one for those below.

All blocks are sorted upwards. A block that the network wants downwards is stored as its complement, ~x, which reverses
the order of integers. Longer arrays are sorted in tiles that fit the cache, then merged in slabs that fit it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TILE_BYTES = 2**21  # two buffers of this size share a third-level cache with others
LEAST_COLUMNS = 32  # rows of fewer elements cost more for each call of the inner loop than for the work in it
SMALL = 2**10  # up to here calls cost more than elements: no second layout
CELL_BYTES = 16  # the widest element that NumPy copies as fast as a narrow one
STRIP = 64  # rows transposed at a time, so that what is read and written stays in the first-level cache
# ufuncs copy rows shorter than their buffer together before they work on them: with this one they do not.
BUFFER = 256


def sort_rows(rows: Array, tile_bytes: int | None = None) -> None:
    """Sort each row of a C-contiguous matrix of integers in place, ascending, by the bitonic network.

    tile_bytes: bytes of a tile, a power of two; None: TILE_BYTES.

    Cost:    k(k+1)/2 stages for rows of up to 2^k elements, padded to 2^k; memory for two tiles, longer rows four.
    """
    count, n = rows.shape
    if n < 2 or not count:
        return
    padded = 1 << (n - 1).bit_length()
    tile = (tile_bytes or TILE_BYTES) // rows.itemsize
    columns = max(1, min(count, tile // padded))
    with np.errstate():  # which also limits setbufsize
        np.setbufsize(BUFFER)
        if columns >= LEAST_COLUMNS or padded <= SMALL:
            for begin in range(0, count, columns):
                _sort_side_by_side(rows[begin : begin + columns], padded)
        else:
            for row in rows:
                _sort_one(row, padded, min(tile, padded))


def exchange(low: Array, high: Array, out_low: Array, out_high: Array) -> None:
    """Let every comparator of a stage do its work: the smaller of each pair to out_low, the larger to out_high."""
    np.minimum(low, high, out=out_low)
    np.maximum(low, high, out=out_high)


class _Grid:
    """A matrix in one of two buffers; what is compared and exchanged are its rows."""

    def __init__(self, rows: int, columns: int, dtype: np.dtype[Any], *, transposes: bool = True) -> None:
        self.rows, self.columns = rows, columns
        # Rows that are a power of two apart share cache sets, which makes transposing ten times slower: pad them
        # by a cache line. The padding is compared and exchanged too, but never read.
        line = max(1, 64 // dtype.itemsize)
        self.pad = 0 if columns % line else line
        widest = max(rows * (columns + self.pad), columns * (rows + self.pad) * transposes)
        size = -(-widest // line) * line
        # Rows begin where cache lines do: else every second vector that is loaded or stored lies in two of them. And
        # large pages fit better into one array than into two.
        both = np.empty(2 * size + line, dtype)
        start = -both.ctypes.data // dtype.itemsize % line
        self.here, self.there = both[start:][:size], both[start + size :][:size]

    def whole(self, buffer: Array) -> Array:
        """Return all of a buffer that is in use, as a matrix."""
        width = self.columns + self.pad
        return buffer[: self.rows * width].reshape(self.rows, width)

    @property
    def values(self) -> Array:
        """The matrix itself."""
        return self.whole(self.here)[:, : self.columns]

    def merge(self, level: int) -> None:
        """Sort the columns of each block of 2^level rows, each of which is a bitonic sequence."""
        source, dest = self.whole(self.here), self.whole(self.there)
        for bit in reversed(range(level)):
            shape = -1, 2, (self.columns + self.pad) << bit
            a, b = source.reshape(shape), dest.reshape(shape)
            exchange(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
            source, dest = dest, source
        if level % 2:
            self.here, self.there = self.there, self.here

    def complement(self, old: int | None, new: int | None) -> None:
        """Complement so that rows whose number has bit `new` are stored so, where those with bit `old` were."""
        bits = [bit for bit in (old, new) if bit is not None]
        if not bits:
            return
        width = (self.columns + self.pad) << bits[0]
        a = self.whole(self.here)
        if len(bits) == 1:
            differ = [a.reshape(-1, 2, width)[:, 1]]
        else:  # new is the bit above old
            quarters = a.reshape(-1, 2, 2, width)
            differ = [quarters[:, 0, 1], quarters[:, 1, 0]]
        for rows in differ:
            np.invert(rows, out=rows)

    def sort(self) -> None:
        """Sort every column: level by level, blocks of 2^level rows with every second one upside down."""
        levels = (self.rows - 1).bit_length()
        turned = None
        for level in range(1, levels + 1):
            turn = level if level < levels else None
            self.complement(turned, turn)
            turned = turn
            self.merge(level)

    def transpose(self, cell: int = 1, lanes: int = 1) -> None:
        """Make rows of columns; cell: of so many columns at a time, whose elements stay side by side.

        lanes: take every lanes-th column first, then those beside them, and so on.
        """
        source, wide = self.values, f"V{cell * self.here.itemsize}"
        self.rows, self.columns = self.columns // cell, self.rows * cell
        self.here, self.there = self.there, self.here
        source, dest, run = source.view(wide), self.values.view(wide), self.rows // lanes
        for lane in range(lanes):
            copy_transposed(source[:, lane::lanes], dest[lane * run :][:run])


def copy_transposed(source: Array, dest: Array) -> None:
    """Let dest be the transpose of source, strip by strip."""
    for row in range(0, source.shape[0], STRIP):
        dest[:, row : row + STRIP] = source[row : row + STRIP].T


def _sort_side_by_side(rows: Array, padded: int) -> None:
    """Sort rows as the columns of one grid."""
    n = rows.shape[1]
    grid = _Grid(padded, rows.shape[0], rows.dtype)
    copy_transposed(rows, grid.values[:n])
    grid.values[n:] = np.iinfo(rows.dtype).max
    grid.sort()
    copy_transposed(grid.values[:n], rows)


def _sort_one(row: Array, padded: int, tile: int) -> None:
    """Sort one long row in tiles of so many elements."""
    x = row
    if padded > row.size:
        x = np.full(padded, np.iinfo(row.dtype).max, row.dtype)
        x[: row.size] = row
    low = (tile.bit_length() - 1) // 2
    grid = _Grid(1 << low, tile >> low, row.dtype)
    tiles = x.reshape(-1, tile)
    for number, part in enumerate(tiles):
        if number % 2:
            np.invert(part, out=part)
        _sort_tile(part, grid)
    levels = (len(tiles) - 1).bit_length()
    for level in range(1, levels + 1):
        _merge_across(tiles, level, level if level < levels else None)
        for part in tiles:
            _merge_tile(part, grid)
    if x is not row:
        row[...] = x[: row.size]


def _sort_tile(x: Array, grid: _Grid) -> None:
    """Sort all of x: the columns of the grid, then blocks of 2, 4, ... columns until all are one.

    Element i of x may start anywhere, so it starts where its row in memory is. The last merges bring lanes together
    that until then lie interleaved: as cells of one element from each they are transposed at the price of one.
    """
    rows, columns = grid.rows, grid.columns
    lanes = min(CELL_BYTES // x.itemsize, columns)
    depth, levels, in_lanes = (count.bit_length() - 1 for count in (rows, columns, columns // lanes))
    # Complemented on the way in: the blocks that the first merge in a lane wants upside down, and odd lanes.
    place, lane = np.divmod(np.arange(columns), lanes)
    mask = np.where((place ^ lane) & 1, -1, 0).astype(x.dtype)
    np.bitwise_xor(x.reshape(rows, columns), mask, out=grid.values)
    grid.sort()
    for level in range(1, levels + 1):
        cell = lanes if level <= in_lanes else 1
        grid.transpose(cell, lanes if level == in_lanes + 1 else 1)
        grid.complement(level - 1, level if level not in (in_lanes, levels) else None)
        grid.merge(level)
        grid.transpose(cell)
        grid.merge(depth)
    copy_transposed(grid.values, x.reshape(columns, rows))


def _merge_tile(x: Array, grid: _Grid) -> None:
    """Sort x, which is a bitonic sequence: the long distances in one layout, the short ones in the other."""
    rows, columns = grid.rows, grid.columns
    grid.rows, grid.columns = columns, rows
    grid.values[...] = x.reshape(columns, rows)
    grid.merge(columns.bit_length() - 1)
    grid.transpose()
    grid.merge(rows.bit_length() - 1)
    copy_transposed(grid.values, x.reshape(columns, rows))


def _merge_across(tiles: Array, level: int, turn: int | None) -> None:
    """Do the stages of a merge of 2^level tiles whose distances are whole tiles; in slabs that fit the cache."""
    count, tile = tiles.shape
    rows = 1 << level
    columns = max(1, tile >> level)
    grid = _Grid(rows, columns, tiles.dtype, transposes=False)
    # Before, odd blocks of 2^(level-1) tiles were complemented; now odd ones of 2^level are to be.
    for number, part in enumerate(tiles):
        was, will = number >> (level - 1) & 1, number >> level & 1 if turn is not None else 0
        if was != will:
            np.invert(part, out=part)
    for first in range(0, count, rows):
        block = tiles[first : first + rows]
        for column in range(0, tile, columns):
            slab = block[:, column : column + columns]
            grid.values[...] = slab
            grid.merge(level)
            slab[...] = grid.values
