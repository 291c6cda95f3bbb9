"""A staging buffer: memory shared by the ranks of one node, into which they copy pieces for others to read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.reduction import Op
from collectives.scratch import ASIDE, PAGE
from ranks import can_share_memory, shared_array

# Bytes that a rank stages at a time: with far fewer, ranks wait more often; far more do not fit into the cache.
_STAGED = 1 << 20
_ALL_STAGED = 16 << 20  # and no more than this by all ranks together
_KINDS = 64  # of pieces, by size and dtype, whose slots are kept sliced
_WHOLE = 1 << 20  # bytes of all ranks together; up to here each rank reduces everything itself


def slot_size(p: int) -> int:
    """Return the bytes that each of p ranks stages at a time: fewer when there are many of them.

    Twice as many with three and four, since these wait for each other twice in a piece.
    """
    return max(1 << 16, min(_STAGED if p == 2 else 2 * _STAGED, _ALL_STAGED // (2 * p)))


def whole_size(p: int) -> int:
    """Return up to how many bytes of a piece each of p ranks reduces all of it: more work, but one sync, not two.

    Two ranks always do: their work is hardly more.
    """
    return slot_size(p) if p == 2 else _WHOLE // p


def items_in(n_bytes: int, itemsize: int) -> int:
    """Return how many items to take at a time: those that fit into n_bytes, but one at least."""
    return max(1, n_bytes // max(1, itemsize))


class StagingBuffer:
    """Two slots of shared memory for each rank of a communicator, used in turn.

    A slot is written again only after a sync that comes after the next piece was put into the other one: by then
    all ranks have done with it. So a piece needs no second sync to protect it.
    """

    def __init__(self, comm: Any, who: str) -> None:
        if not can_share_memory(comm):
            raise ValueError(
                f"{who}: got a communicator of {comm.size} ranks that share no memory, expected ranks on one node; "
                "remedy: use an algorithm that sends messages, or comm.Split_type(COMM_TYPE_SHARED)"
            )
        self.size = slot_size(comm.size)
        self.whole = min(self.size, whole_size(comm.size))  # bytes of a piece up to which each rank reduces all
        self.shared = shared_array(comm, (2, self.size + PAGE), np.uint8)
        self.turn, self.rank = 0, comm.rank
        self._made: dict[tuple[int, np.dtype[Any]], list[Slots]] = {}
        self.others = [rank for rank in range(comm.size) if rank != comm.rank]

    def slots(self, n: int, dtype: np.dtype[Any], turn: int) -> list[Array]:
        """Return one of the two slots of each rank, as arrays of n items."""
        if n * dtype.itemsize > self.size:
            raise ValueError(
                f"staged_allreduce: got items of {dtype.itemsize} bytes, expected at most {self.size}; remedy: use an "
                "algorithm that sends messages"
            )
        slot = slice(ASIDE, ASIDE + n * dtype.itemsize)  # as in `scratch`
        return [array[turn, slot].view(dtype) for array in self.shared.arrays]

    def _next_slots(self, piece: Array) -> Slots:
        self.turn = 1 - self.turn
        key = piece.size, piece.dtype
        both = self._made.get(key)
        if both is None:
            if len(self._made) == _KINDS:
                self._made.clear()
            both = [Slots.of(self.slots(*key, turn), self.rank) for turn in (0, 1)]
            self._made[key] = both
        return both[self.turn]

    def reduce_whole(self, piece: Array, target: Array, op: Op) -> None:
        """Put the reduction of all ranks' `piece` into `target`; each rank reduces all of it."""
        slots = self._next_slots(piece).whole
        slots[self.rank][...] = piece
        self.shared.sync()
        if self.rank < 2:
            # Faster than its copy, which the others read meanwhile. Later ranks' shares come after the first result,
            # and `target` may be `piece`.
            slots = [*slots]
            slots[self.rank] = piece
        self._reduce(slots, target, op)

    def _reduce(self, parts: list[Array], target: Array, op: Op) -> None:
        """Put op(... op(part of rank 0, part of rank 1) ...) into `target`."""
        op(parts[0], parts[1], out=target)
        for part in parts[2:]:
            op(target, part, out=target)
        charge = self.shared.charge
        if charge:
            for other in self.others:
                charge(other, target.nbytes)

    def reduce_blocks(self, piece: Array, target: Array, op: Op) -> None:
        """The same, but each rank reduces its block of it, and copies those of the others."""
        _, bounds, before, own, after, parts, blocks = self._next_slots(piece)
        begin, end = bounds[self.rank], bounds[self.rank + 1]
        before[...], after[...] = piece[:begin], piece[end:]
        self.shared.sync()
        parts = [*parts]
        parts[self.rank] = piece[begin:end]
        # Nobody reads this rank's own block of its slot before the next sync: there the others find the result.
        self._reduce(parts, own, op)
        self.shared.sync()
        target[begin:end] = own
        charge = self.shared.charge
        for other in self.others:
            theirs = blocks[other]
            target[bounds[other] : bounds[other + 1]] = theirs
            if charge:
                charge(other, theirs.nbytes)


class Slots(NamedTuple):
    """A slot of each rank, and its parts as a rank sees them: to slice them anew takes longer than to reduce 64 KiB.

    whole: the slots, by rank. bounds: where their blocks begin. before, own, after: this rank's slot before its block,
    in it, and after it. parts: its block, of each rank's slot. blocks: of each rank's slot, its own one.
    """

    whole: list[Array]
    bounds: list[int]
    before: Array
    own: Array
    after: Array
    parts: list[Array]
    blocks: list[Array]

    @classmethod
    def of(cls, slots: list[Array], rank: int) -> Slots:
        """Return `slots` with their parts as `rank` sees them."""
        bounds = block_bounds(slots[0].size, len(slots))
        begin, end = bounds[rank], bounds[rank + 1]
        blocks = [slot[first:last] for slot, (first, last) in zip(slots, pairwise(bounds), strict=True)]
        parts = [slot[begin:end] for slot in slots]
        return cls(slots, bounds, slots[rank][:begin], parts[rank], slots[rank][end:], parts, blocks)
