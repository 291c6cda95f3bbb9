"""Accesses of a window that conflict: MPI leaves open what comes of them, so they are reported.

Two accesses conflict if they are of one epoch, share a byte of a rank's memory, and one of them writes. Two reads do
not conflict, and neither do two atomic accesses: Accumulate and its kin. An epoch lasts from one Fence to the next,
from Post to Wait, or from a lock to Unlock; a Flush ends it too. What ranks do with their own memory without a call is
not seen.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks.words.callsite import Mark, site_mark
from ranks.words.datatypes import Scattered

GET, PUT, ATOMIC = "a Get", "a Put", "an atomic access"
_begin = attrgetter("begin")


class Access:
    """An access of a rank's memory.

    begin, end: The addresses of its first byte, and of the one after its last.
    pieces:     The address of each piece, if the bytes do not lie in one; `unit` is the size of a piece.
    kind:       GET, PUT or ATOMIC.
    origin:     The world rank whose access it is.
    mark:       Where its program made it, as `site_of` takes it.
    until_ps:   When it was complete; None while it may not be.
    """

    __slots__ = ("begin", "end", "kind", "mark", "origin", "pieces", "unit", "until_ps")

    def __init__(self, kind: str, origin: int, piece: NDArray[Any] | Scattered, until_ps: int | None) -> None:
        self.kind, self.origin, self.until_ps = kind, origin, until_ps
        self.mark: Mark | None = site_mark()
        self.pieces: NDArray[np.intp] | None = None
        if isinstance(piece, Scattered):
            self.unit = piece.pieces.itemsize
            self.pieces = _address(piece.pieces) + piece.at.reshape(-1) * self.unit
            self.begin, self.end = int(self.pieces.min()), int(self.pieces.max()) + self.unit
        else:
            self.begin = _address(piece)
            self.end = self.begin + piece.nbytes

    def repeats(self, other: Access) -> bool:
        """Return whether it adds nothing to another access, with which it does not conflict."""
        return (
            self.begin == other.begin and self.end == other.end and self.origin == other.origin
            and self.kind == other.kind != PUT and self.pieces is other.pieces is None
            and self.until_ps is other.until_ps is None
        )  # fmt: skip

    def conflicts(self, other: Access) -> bool:
        """Return whether both share a byte, and may not."""
        if self.kind == other.kind != PUT or not (self.begin < other.end and other.begin < self.end):
            return False
        if self.pieces is None and other.pieces is None:
            return True
        return bool(np.intersect1d(self._bytes(other), other._bytes(self)).size)

    def _bytes(self, other: Access) -> NDArray[np.intp]:
        """Return the addresses of the bytes that may be the other's too."""
        if self.pieces is None:
            return np.arange(max(self.begin, other.begin), min(self.end, other.end), dtype=np.intp)
        return (self.pieces[:, None] + np.arange(self.unit, dtype=np.intp)).reshape(-1)


class Conflicts:
    """The accesses of one rank's memory in one epoch.

    epoch:    What tells it from other epochs.
    accesses: They are in the order of their first bytes; the longest has so many bytes.
    n_over:   How many of them are over; beyond a number they are removed together, which takes less time.
    """

    most_over = 64

    def __init__(self) -> None:
        self.epoch: Hashable = None
        self.accesses: list[Access] = []
        self.longest = self.n_over = 0

    def add(self, access: Access, epoch: Hashable, now_ps: int) -> Access | None:
        """Remember an access that begins now, or return one that it conflicts with; they come in order of time."""
        if epoch != self.epoch:
            self.epoch, self.accesses, self.longest, self.n_over = epoch, [], 0, 0
        if self.n_over > max(self.most_over, len(self.accesses) // 2):
            self.accesses = [each for each in self.accesses if _is_under_way(each, now_ps)]
            self.n_over = sum(each.until_ps is not None for each in self.accesses)
        accesses = self.accesses
        for place in range(bisect_left(accesses, access.begin - self.longest, key=_begin), len(accesses)):
            other = accesses[place]
            if other.begin >= access.end:
                break
            if access.repeats(other):
                return None
            if _is_under_way(other, now_ps) and access.conflicts(other):
                return other
        insort(accesses, access, key=_begin)
        self.longest = max(self.longest, access.end - access.begin)
        self.n_over += access.until_ps is not None
        return None

    def complete(self, origin: int, now_ps: int) -> None:
        """Note that the accesses of a rank are complete."""
        for each in self.accesses:
            if each.origin == origin and each.until_ps is None:
                each.until_ps = now_ps
                self.n_over += 1


def _is_under_way(access: Access, now_ps: int) -> bool:
    return access.until_ps is None or access.until_ps > now_ps


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
