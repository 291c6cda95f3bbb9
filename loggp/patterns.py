"""Who sends how much to whom in the patterns that algorithms are made of, as rounds of arrays of ranks.

n elements are cut into p blocks as np.array_split does it: block b begins at `bound(n, p, b)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from loggp.rounds import NOBODY, Array, Moves, Round


def bound(n: int, p: int, block: Array) -> Array:
    """Return the first element of each of these blocks; that of block p is n, the end.

    bound(8, 3, np.arange(4))  # array([0, 3, 6, 8])
    """
    begin: Array = block * (n // p) + np.minimum(block, n % p)
    return begin


def shift(p: int, distance: int, n_bytes: Array | int, reduced: Array | int = 0) -> Round:
    """Return the round in which every rank sends n_bytes, by rank or for all, to the one `distance` above it."""

    def moves(ranks: Array) -> Moves:
        return Moves([(ranks + distance) % p], [_of(n_bytes, ranks)], [(ranks - distance) % p], _of(reduced, ranks))

    return moves


def _of(by_rank: Array | int, ranks: Array) -> Any:
    return by_rank[ranks] if isinstance(by_rank, np.ndarray) else by_rank


# -- binomial trees with root 0 --------------------------------------------------------------------------------------

# bytes(child, distance): what a child at this distance from its parent sends up, or gets.
EdgeBytes = Callable[[Array, int], Any]


def down_a_tree(p: int, n_bytes: EdgeBytes, begin: int = 0) -> list[Round]:
    """Return the rounds in which ranks send to their children, first to the child with the largest subtree.

    begin: the number of the first of these rounds.
    """
    n_rounds = (p - 1).bit_length()

    def at(level: int) -> Round:
        def moves(ranks: Array) -> Moves:
            distance = 1 << level
            sends, comes = _edges(ranks, distance, p)
            to, source = np.where(sends, ranks + distance, NOBODY), np.where(comes, ranks - distance, NOBODY)
            # A rank has nothing to do before the round in which its parent sends to it.
            lowest = np.frexp(ranks & -ranks)[1] - 1
            then = begin + n_rounds - np.where((lowest >= 0) & (lowest < level), lowest + 1, level)
            return Moves([to], [n_bytes(ranks + distance, distance)], [source], then=then)

        return moves

    return [at(level) for level in reversed(range(n_rounds))]


def up_a_tree(p: int, n_bytes: EdgeBytes, reduced: int = 0, begin: int = 0) -> list[Round]:
    """Return the rounds in which ranks receive from their children, first from the one with the smallest subtree."""
    n_rounds = (p - 1).bit_length()

    def at(level: int) -> Round:
        def moves(ranks: Array) -> Moves:
            distance = 1 << level
            comes, sends = _edges(ranks, distance, p)
            source, to = np.where(comes, ranks + distance, NOBODY), np.where(sends, ranks - distance, NOBODY)
            # One that has sent to its parent has nothing more to do.
            then = begin + np.where(sends, n_rounds, level + 1)
            return Moves([to], [n_bytes(ranks, distance)], [source], np.where(comes, reduced, 0), then=then)

        return moves

    return [at(level) for level in range(n_rounds)]


def _edges(ranks: Array, distance: int, p: int) -> tuple[Array, Array]:
    """Return which ranks have a child at this distance, and which are such a child."""
    place = ranks % (2 * distance)
    return (place == 0) & (ranks + distance < p), place == distance


def subtree_bytes(n_items: int, itemsize: int, p: int) -> EdgeBytes:
    """Return the bytes of the blocks of all ranks in the subtree of a child."""

    def n_bytes(child: Array, distance: int) -> Array:
        child, end = np.minimum(child, p), np.minimum(child + distance, p)
        return (bound(n_items, p, end) - bound(n_items, p, child)) * itemsize

    return n_bytes


# -- any p made a power of two ---------------------------------------------------------------------------------------


class Pairs:
    """Ranks of which the first 2(p-q) work in pairs, where q is the largest power of two up to p.

    The even rank of each pair goes on, and so do the ranks without a partner. They have numbers 0 ... q-1.
    """

    def __init__(self, p: int) -> None:
        self.p, self.q = p, 1 << (p.bit_length() - 1)
        self.extra = p - self.q

    def number(self, ranks: Array) -> Array:
        """Return the numbers of ranks, and NOBODY for those that do not go on."""
        number = np.where(ranks < 2 * self.extra, ranks // 2, ranks - self.extra)
        return np.where((ranks < 2 * self.extra) & (ranks % 2 == 1), NOBODY, number)

    def rank_of(self, number: Array) -> Array:
        """Return the ranks that have these numbers; for number q, return p."""
        return np.where(number < self.extra, 2 * number, number + self.extra)

    def distances(self) -> list[int]:
        """Return 1, 2, 4, ..., q/2."""
        return [1 << k for k in range(self.q.bit_length() - 1)]

    def among_numbers(self, round_of_numbers: Round) -> Round:
        """Return a round of ranks in which each rank that goes on does what its number does."""
        if not self.extra:
            return round_of_numbers

        def moves(ranks: Array) -> Moves:
            numbers = self.number(ranks)
            goes_on = numbers != NOBODY
            (to,), (n_bytes,), (source,), reduced, *_ = round_of_numbers(np.maximum(numbers, 0))
            to, source = (np.where(goes_on & (n != NOBODY), self.rank_of(n), NOBODY) for n in (to, source))
            return Moves([to], [n_bytes], [source], np.where(goes_on, reduced, 0))

        return moves

    def around(self, inner: list[Round], n_bytes: Array | int, reduced: int, back: Array | int | None) -> list[Round]:
        """Return rounds of numbers as rounds of ranks; the odd rank of each pair sends before them and receives after.

        n_bytes: what the odd ranks send, by rank or for all. reduced: the bytes that their partners then reduce.
        back: the bytes that the odd ranks receive at the end; None: they receive nothing.
        """
        rounds = [self.among_numbers(each) for each in inner]
        if not self.extra:
            return rounds
        last = len(inner) + 1

        def fold(ranks: Array) -> Moves:
            first, second = self._pairs(ranks)
            then = np.where(second, last, 1)
            to, source = np.where(second, ranks - 1, NOBODY), np.where(first, ranks + 1, NOBODY)
            return Moves([to], [_of(n_bytes, ranks)], [source], np.where(first, reduced, 0), then=then)

        def unfold(ranks: Array) -> Moves:
            first, second = self._pairs(ranks)
            to, source = np.where(first, ranks + 1, NOBODY), np.where(second, ranks - 1, NOBODY)
            size = _of(back, np.minimum(ranks + 1, self.p - 1)) if back is not None else 0
            return Moves([to], [size], [source])

        return [fold, *rounds, *([unfold] if back is not None else [])]

    def _pairs(self, ranks: Array) -> tuple[Array, Array]:
        paired = ranks < 2 * self.extra
        return paired & (ranks % 2 == 0), paired & (ranks % 2 == 1)


def exchange(distance: int, n_bytes: Array | int, reduced: Array | int = 0) -> Round:
    """Return the round in which numbers that differ in one bit exchange n_bytes, by number or for all."""

    def moves(numbers: Array) -> Moves:
        partner = numbers ^ distance
        return Moves([partner], [_of(n_bytes, numbers)], [partner], _of(reduced, numbers))

    return moves


class Half(NamedTuple):
    """What a number keeps and gives away in an exchange at a distance: n_blocks each, from these blocks on."""

    distance: int
    kept: Any
    given: Any
    n_blocks: int


def halves(number: Any, q: int) -> list[Half]:
    """Return what a number, or each of an array, keeps and gives in exchanges at distances 1, 2, ..., q/2.

    halves(2, 4)  # [Half(distance=1, kept=0, given=2, n_blocks=2), Half(distance=2, kept=1, given=0, n_blocks=1)]
    """
    found, first, distance = [], number * 0, 1
    while distance < q:
        n_blocks, upper = q // (2 * distance), number // distance % 2
        found.append(Half(distance, first + upper * n_blocks, first + (1 - upper) * n_blocks, n_blocks))
        first, distance = first + upper * n_blocks, 2 * distance
    return found


class Halves:
    """The bytes that q numbers keep and give away, by distance, and the rounds in which they do so."""

    def __init__(self, q: int, n_items: int, itemsize: int) -> None:
        def n_bytes(first: Array, n_blocks: int) -> Array:
            return (bound(n_items, q, first + n_blocks) - bound(n_items, q, first)) * itemsize

        ways = halves(np.arange(q), q)
        self.ways = [(way.distance, n_bytes(way.given, way.n_blocks), n_bytes(way.kept, way.n_blocks)) for way in ways]

    def halving(self) -> list[Round]:
        """Return the rounds of the reduce-scatter."""
        return [exchange(distance, given, kept) for distance, given, kept in self.ways]

    def doubling(self) -> list[Round]:
        """Return the rounds of the all-gather, which is the reduce-scatter in reverse."""
        return [exchange(distance, kept) for distance, _, kept in reversed(self.ways)]

    def gathering(self) -> list[Round]:
        """Return the rounds of a gather to number 0: in each, the upper half of the numbers sends and is done."""
        return [_to_lower(distance, kept) for distance, _, kept in reversed(self.ways)]


def _to_lower(distance: int, n_bytes: Array) -> Round:
    def moves(numbers: Array) -> Moves:
        sends = (numbers >= distance) & (numbers < 2 * distance)
        to = np.where(sends, numbers - distance, NOBODY)
        return Moves([to], [n_bytes[numbers]], [np.where(numbers < distance, numbers + distance, NOBODY)])

    return moves


# -- lines of ranks that share out what they have ----------------------------------------------------------------------


class Lines(NamedTuple):
    """All ranks in lines of `side` ranks, `distance` apart, which share out the `left` elements of each rank."""

    side: int
    distance: int
    left: Array
    itemsize: int

    def further(self, side: int) -> Lines:
        """Return lines of ranks that are further apart and share out the part that each rank has got here."""
        ranks = np.arange(self.left.size)
        own = self.part(ranks, self.place(ranks)) // max(1, self.itemsize)
        return Lines(side, self.distance * self.side, own, self.itemsize)

    def place(self, ranks: Array) -> Array:
        """Return the places of ranks on their lines."""
        place: Array = ranks // self.distance % self.side
        return place

    def rank(self, ranks: Array, place: Array) -> Array:
        """Return which rank is at a place of each rank's line; after the last place comes the first one again."""
        rank: Array = ranks + (place % self.side - self.place(ranks)) * self.distance
        return rank

    def part(self, ranks: Array, place: Array) -> Array:
        """Return the bytes of the part that belongs to a place of each rank's line."""
        left = self.left[ranks]
        part: Array = self.itemsize * (left // self.side + (place % self.side < left % self.side))
        return part
