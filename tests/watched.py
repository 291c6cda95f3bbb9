"""Arrays that note who reads and writes which bytes, and when by vector clock: two accesses must not race.

The algorithms are oblivious: what they touch, and what a sync orders, does not depend on values or speeds. So one
run in which all conflicting accesses are ordered by syncs proves that no run has a race.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ranks


class Watch:
    """The vector clocks of p ranks, and all accesses so far: (rank, clock then, first byte, end, is it a write)."""

    def __init__(self, p: int) -> None:
        self.clocks = np.eye(p, dtype=np.int64)
        self.accesses: list[tuple[int, np.ndarray, int, int, bool]] = []
        self.rank = 0

    def note(self, array: Any, write: bool) -> None:
        """Note an access of the running rank to all that lies between the ends of an array."""
        if isinstance(array, Watched) and array.size:
            for row in np.asarray(array) if array.ndim > 1 else [np.asarray(array)]:
                begin, end = np.lib.array_utils.byte_bounds(row)
                self.accesses.append((self.rank, self.clocks[self.rank].copy(), begin, end, write))

    def races(self) -> list[tuple[int, int]]:
        """Return the pairs of ranks of which one wrote what the other touched with no sync in between."""
        found = set()
        for index, (rank, clock, begin, end, write) in enumerate(self.accesses):
            for other, other_clock, other_begin, other_end, other_write in self.accesses[:index]:
                conflict = other != rank and (write or other_write) and begin < other_end and other_begin < end
                if conflict and clock[other] < other_clock[other] and other_clock[rank] < clock[rank]:
                    found.add((min(rank, other), max(rank, other)))
        return sorted(found)


class Watched(np.ndarray):
    """An array whose accesses by ufuncs and assignments are noted."""

    watch: Watch

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Watched):
            self.watch = source.watch

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        for array in inputs:
            self.watch.note(array, write=False)
        for array in out:
            self.watch.note(array, write=True)
        return getattr(ufunc, method)(*map(np.asarray, inputs), out=tuple(map(np.asarray, out)), **options)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.watch.note(self[key], write=True)
        self.watch.note(value, write=False)
        np.asarray(self)[key] = np.asarray(value)


def watched(array: np.ndarray, watch: Watch) -> Watched:
    """Return a view of `array` whose accesses are noted."""
    view = array.view(Watched)
    view.watch = watch
    return view


def watched_shared_array(watch: Watch) -> Any:
    """Return what to call in the place of `shared_array`: its arrays are watched, its sync passes clocks on."""

    def make(comm: Any, shape: Any, dtype: Any) -> ranks.SharedArray:
        plain = ranks.shared_array(comm, shape, dtype)
        watch.rank = comm.rank
        tokens = comm.Dup()

        def sync() -> None:
            """Hand the clock to all others, and merge theirs, as the flags of the real sync do."""
            me, p = comm.rank, comm.size
            for other in range(p):
                if other != me:
                    tokens.bsend(watch.clocks[me].copy(), other)
            came = [tokens.recv(source=other) for other in range(p) if other != me]
            watch.clocks[me] = np.max([watch.clocks[me], *came], axis=0)
            watch.clocks[me, me] += 1
            plain.sync()
            watch.rank = me  # whoever runs next notes its own accesses

        return ranks.SharedArray(comm, watched(plain.together, watch), sync, plain.charge)

    return make
