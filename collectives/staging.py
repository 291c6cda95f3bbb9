"""Memory shared by the ranks of one node, as a stage: where pieces of private arrays are put for others to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.costs import Cost, Machine
from collectives.reduction import Reduce
from ranks import can_share_memory, shared_array

# Bytes that a rank stages at a time: much fewer would wait for each other more often, much more leave the cache.
_STAGED = 1 << 20
_ALL_STAGED = 16 << 20  # and no more than this by all ranks together
# Where in its page a slot begins. Some processors copy ten times as slowly to where addresses end in little more than
# those they copy from, as modulo a page; and large arrays begin at a page, or at the first bytes of one.
_PAGE, _ASIDE = 4096, 2048
_WHOLE = 1 << 20  # bytes, of all ranks together, up to which it pays that each rank reduces all


def slot_size(p: int) -> int:
    """Return the bytes that each of p ranks stages at a time: fewer when there are many of them."""
    return max(1 << 16, min(_STAGED, _ALL_STAGED // (2 * p)))


def whole_size(p: int) -> int:
    """Return up to how many bytes of a piece each of p ranks reduces all of it: more work, but one sync, not two.

    Two ranks always do: their work is hardly more.
    """
    return slot_size(p) if p == 2 else _WHOLE // p


def items_in(n_bytes: int, itemsize: int) -> int:
    """Return how many items to take at a time: those that fit into n_bytes, but one at least."""
    return max(1, n_bytes // max(1, itemsize))


class Stage:
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
        self.shared = shared_array(comm, (2, self.size + _PAGE), np.uint8)
        self.turn, self.rank = 0, comm.rank
        self.others = [rank for rank in range(comm.size) if rank != comm.rank]

    def slots(self, piece: Array, turn: int) -> list[Array]:
        """Return one of the two slots of each rank, as arrays like `piece`."""
        if piece.nbytes > self.size:
            raise ValueError(
                f"staged_allreduce: got items of {piece.itemsize} bytes, expected at most {self.size}; remedy: use an "
                "algorithm that sends messages"
            )
        slot = slice(_ASIDE, _ASIDE + piece.nbytes)
        return [array[turn, slot].view(piece.dtype) for array in self.shared.arrays]

    def _next_slots(self, piece: Array) -> list[Array]:
        self.turn = 1 - self.turn
        return self.slots(piece, self.turn)

    def reduce_whole(self, piece: Array, target: Array, reduce: Reduce) -> None:
        """Put the reduction of all ranks' `piece` into `target`; each rank reduces all of it."""
        slots = self._next_slots(piece)
        slots[self.rank][...] = piece
        self.shared.sync()
        if len(slots) == 2:
            slots[self.rank] = piece  # nearer than its copy; with more ranks, `target` may be `piece`
        self._fold(slots, target, reduce)

    def _fold(self, parts: list[Array], target: Array, reduce: Reduce) -> None:
        """Put op(... op(part of rank 0, part of rank 1) ...) into `target`."""
        reduce(parts[0], parts[1], out=target)
        for part in parts[2:]:
            reduce(target, part, out=target)
        charge = self.shared.charge
        if charge:
            for other in self.others:
                charge(other, target.nbytes)

    def reduce_blocks(self, piece: Array, target: Array, reduce: Reduce) -> None:
        """The same, but each rank reduces its block of it, and copies those of the others."""
        slots, rank = self._next_slots(piece), self.rank
        bounds = block_bounds(piece.size, len(slots))
        begin, end = bounds[rank], bounds[rank + 1]
        own = slots[rank]
        own[:begin], own[end:] = piece[:begin], piece[end:]
        self.shared.sync()
        parts = [slot[begin:end] for slot in slots]
        parts[rank] = piece[begin:end]
        # Nobody reads this rank's own block of its slot before the next sync: there the others find the result.
        self._fold(parts, own[begin:end], reduce)
        self.shared.sync()
        target[begin:end] = own[begin:end]
        charge = self.shared.charge
        for other in self.others:
            theirs = slots[other][bounds[other] : bounds[other + 1]]
            target[bounds[other] : bounds[other + 1]] = theirs
            if charge:
                charge(other, theirs.nbytes)


class NodeClocks:
    """The clocks of all ranks of one node, and how many syncs they have done."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.syncs = machine, 0
        self.now = np.zeros(machine.p, np.int64)
        # A network that was measured knows its memory apart from its messages.
        self.link = getattr(machine.network, "memory", None) or machine.network.intra

    def sync(self) -> None:
        """Let each rank raise p-1 flags, o each, and see those of the others, L later."""
        o, p = self.machine.network.overhead_ps, self.machine.p
        if p == 1:
            return
        self.syncs += 1
        begin, self.now = self.now, self.now + (p - 1) * o
        for distance in range(1, p):
            raised = np.roll(begin, distance) + distance * o
            self.now = np.maximum(self.now, raised + self.link.latency_ps) + o

    def cost(self) -> Cost:
        """Return the cost of what was done so far."""
        p = self.machine.p
        exact = None if self.machine.network.jitter_ps else int(self.now.max())
        return Cost(self.syncs, [self.syncs * (p - 1)] * p, [0] * p, exact, exact)
