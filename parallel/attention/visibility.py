"""Which keys a query may attend to: causal order of positions, segments of packed documents, any mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.arguments import Sizes, check_mask, refuse

# A head's keys and values serve about this many queries while they are in the cache.
_BAND = 1024


class Tile(NamedTuple):
    """Keys `cols` for a block of queries; `hidden` says which queries do not see which keys of `edge`.

    `edge` counts from the first of `cols`; outside of it every query sees every key, and everywhere if hidden is None.
    """

    cols: slice
    edge: slice
    hidden: Array | None


@dataclass(frozen=True)
class Visibility:
    """Which keys each query sees: those that every given condition allows."""

    sizes: Sizes
    causal: bool
    mask: Array | None
    q_positions: Array
    k_positions: Array
    q_segments: Array | None
    k_segments: Array | None

    @cached_property
    def is_full(self) -> bool:
        """Return whether every query sees every key."""
        if self.mask is not None or self.q_segments is not None:
            return False
        if not self.causal or 0 in (self.sizes.queries, self.sizes.keys):
            return True
        return bool(self.k_positions.max() <= self.q_positions.min())

    def bands(self, b: int, height: int, width: int) -> Iterator[tuple[int, list[tuple[slice, list[Tile]]]]]:
        """Yield (h, [(rows, tiles), ...]) for each band of queries, in blocks of at most `height`, and each head.

        The tiles, of at most `width` keys, hold every key that a query of `rows` sees. Heads that see alike share them.
        """
        per_head = self.mask is not None and self.mask.strides[1] != 0
        step = max(_BAND // height, 1) * height
        for first in range(0, self.sizes.queries, step):
            stop = min(first + step, self.sizes.queries)
            blocks = [slice(start, min(start + height, stop)) for start in range(first, stop, height)]
            band: list[tuple[slice, list[Tile]]] = []
            for h in range(self.sizes.heads):
                if per_head or h == 0:
                    band = [(rows, list(self._tiles(b, h, rows, width))) for rows in blocks]
                yield h, band

    def hidden(self, b: int, h: int, rows: slice, cols: slice) -> Array:
        """Return which of the keys `cols` each of the queries `rows` does not see: (rows, cols) of bool."""
        hidden = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.bool_)
        if self.causal:
            hidden |= self.k_positions[cols] > self.q_positions[rows, None]
        if self.q_segments is not None and self.k_segments is not None:
            hidden |= self.k_segments[b, cols] != self.q_segments[b, rows, None]
        if self.mask is not None:
            hidden |= ~self.mask[b, h, rows, cols]
        return hidden

    def _tiles(self, b: int, h: int, rows: slice, width: int) -> Iterator[Tile]:
        some, every = self._reach(b, rows)
        for cols in _pieces(some, width):
            edges = np.flatnonzero(~every[cols])
            if self.mask is not None:
                edge = slice(0, cols.stop - cols.start)
            elif edges.size:
                edge = slice(int(edges[0]), int(edges[-1]) + 1)
            else:
                yield Tile(cols, slice(0, 0), None)
                continue
            hidden = self.hidden(b, h, rows, slice(cols.start + edge.start, cols.start + edge.stop))
            if edge.stop - edge.start < cols.stop - cols.start or not hidden.all():
                yield Tile(cols, edge, hidden)

    def _reach(self, b: int, rows: slice) -> tuple[Array, Array]:
        """Return for each key whether some query of `rows` may see it, and whether every one does, mask aside.

        The first may say yes too often: it looks only at the range of positions and segments.
        """
        some = np.ones(self.sizes.keys, np.bool_)
        every = some.copy()
        if self.causal:
            positions = self.q_positions[rows]
            some &= self.k_positions <= positions.max()
            every &= self.k_positions <= positions.min()
        if self.q_segments is not None and self.k_segments is not None:
            low, high = self.q_segments[b, rows].min(), self.q_segments[b, rows].max()
            some &= (low <= self.k_segments[b]) & (self.k_segments[b] <= high)
            every &= some if low == high else False
        return some, every


def visibility(
    who: str, sizes: Sizes, causal: Any, mask: Any, q_positions: Any, k_positions: Any, q_segments: Any, k_segments: Any
) -> Visibility:
    """Return what the arguments of an attention function say about who sees whom; raise if they make no sense."""
    if (q_segments is None) != (k_segments is None):
        given, other = ("k", "q") if q_segments is None else ("q", "k")
        got, expected = f"{given}_segments without {other}_segments", "both or neither"
        refuse(ValueError, who, got, expected, "pass a segment id for each query and each key")
    return Visibility(
        sizes,
        bool(causal),
        check_mask(who, mask, sizes),
        _positions(who, "q_positions", q_positions, sizes.queries),
        _positions(who, "k_positions", k_positions, sizes.keys),
        _segments(who, "q_segments", q_segments, (sizes.batch, sizes.queries)),
        _segments(who, "k_segments", k_segments, (sizes.batch, sizes.keys)),
    )


def _positions(who: str, name: str, given: Any, n: int) -> Array:
    """Return n positions: those given, or consecutive ones from the one given."""
    if type(given) is int:
        return _consecutive(given, n)
    positions = np.asarray(given)
    if not np.issubdtype(positions.dtype, np.integer) or positions.shape not in ((), (n,)):
        got = f"{name} of dtype {positions.dtype} and shape {positions.shape}"
        expected = f"the first token's position, or an array of {n} integers"
        refuse(ValueError, who, got, expected, "pass the place of each token in the whole sequence")
    positions = positions.astype(np.int64)
    return positions + np.arange(n) if positions.ndim == 0 else positions


@lru_cache(maxsize=8)
def _consecutive(first: int, n: int) -> Array:
    """Return n positions from the first on, read-only, since all who ask for them share them."""
    positions = np.arange(first, first + n)
    positions.flags.writeable = False
    return positions


def _segments(who: str, name: str, given: Any, shape: tuple[int, int]) -> Array | None:
    """Return a segment id for each token of each sequence of the batch."""
    if given is None:
        return None
    segments = np.asarray(given)
    if not np.issubdtype(segments.dtype, np.integer) or segments.shape not in (shape, shape[1:]):
        got = f"{name} of dtype {segments.dtype} and shape {segments.shape}"
        expected = f"integers of shape {shape} or {shape[1:]}"
        refuse(ValueError, who, got, expected, "pass the number of the document of each token")
    return np.broadcast_to(segments, shape)


def _pieces(some: Array, width: int) -> Iterator[slice]:
    """Yield slices of at most `width`, nearly equal, that begin and end with a True and together hold all of them."""
    hits = np.flatnonzero(some)
    if not hits.size:
        return
    start, stop = int(hits[0]), int(hits[-1]) + 1
    n = -(-(stop - start) // width)
    bounds = [start + (stop - start) * i // n for i in range(n + 1)]
    # Without gaps, as in causal attention, the equal parts are it.
    if hits.size == stop - start:
        yield from (slice(low, high) for low, high in pairwise(bounds))
        return
    for low, high in pairwise(bounds):
        inside = np.flatnonzero(some[low:high])
        if inside.size:
            yield slice(low + int(inside[0]), low + int(inside[-1]) + 1)
