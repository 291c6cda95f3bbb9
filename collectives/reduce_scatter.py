"""Reduce-scatter in few rounds by recursive halving, or pairwise without ranks in between; `ring.py` has the ring."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, bounds_of
from collectives.kit import Counts, Op, Out, algorithm, cost_of, new_tag, rounds_of, scratch
from collectives.power_of_two import Place
from loggp import Cost, Machine, Moves, Round, Rounds, can_be_played, cost_of_rounds
from loggp.patterns import Pairs, bound

_TAG = new_tag()


@algorithm("reduce_scatter", commutative=True)
def recursive_halving_reduce_scatter(
    comm: Any, x: Array, op: Op = np.add, *, counts: Counts = None, out: Out = None
) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks; each round halves what is left to do.

    Cost:    the time is lg p alpha + (p-1)/p n (beta + gamma) if p is a power of two. Otherwise, let q be the largest
             power of two below p. In each pair of the first 2(p-q) ranks, one sends n bytes before the lg q rounds
             and gets its block after them.
    Order:   pairs first, then x of i and i+q/2, of i and i+q/4, ...: op must be commutative.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, place, bounds = comm.size, Place.of(comm.rank, comm.size), bounds_of(counts)
    if place.number is None:
        comm.Send(x, place.mate, _TAG)
        comm.Recv(out, place.mate, _TAG)
        return out
    partial = x
    if place.mate is not None:
        partial = np.empty_like(x)
        comm.Recv(partial, place.mate, _TAG)
        op(x, partial, out=partial)
    # Of a pair the first one goes on, so a number works for the blocks from its rank up to the next number's.
    edges = [bounds[place.rank_of(number, p)] for number in range(place.q + 1)]
    first, half = 0, place.q // 2
    while half:
        # `partial`: the blocks of numbers first, first+1, ... 2 half of them, over the numbers alike modulo 2 half.
        middle, upper = edges[first + half] - edges[first], bool(place.number & half)
        kept, given = (partial[middle:], partial[:middle]) if upper else (partial[:middle], partial[middle:])
        came, partner = np.empty_like(kept), place.rank_of(place.number ^ half, p)
        comm.Sendrecv(given, partner, _TAG, came, partner, _TAG)
        op(*((came, kept) if upper else (kept, came)), out=came)
        partial, first, half = came, first + half * upper, half // 2
    if place.mate is not None:
        comm.Send(partial[out.size :], place.mate, _TAG)
    return partial[: out.size]


@algorithm("reduce_scatter")
def pairwise_reduce_scatter(comm: Any, x: Array, op: Op = np.add, *, counts: Counts = None, out: Out = None) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks; every rank sends every other its block.

    Cost:    each rank sends p-1 messages with all of x except its own block. The time is at most
             (p-1)(alpha + n/p beta) + n gamma.
    Order:   block b is op(op(x0, op(x1, ... xb)), op(xb+1, ... op(xp-2, xp-1))): ranks in order, so op only has to be
             associative.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, rank, bounds = comm.size, comm.rank, bounds_of(counts)
    low, low_room = x[bounds[rank] : bounds[rank + 1]], np.empty_like(out)
    high, spare = scratch(comm, 2, out.size, out.dtype)
    for step in range(1, p):
        # First from rank-1, ..., 0, each left of what is in `low`; then from p-1, ..., rank+1, left of `high`.
        dest, source = (rank + step) % p, (rank - step) % p
        came = high if source == p - 1 else spare
        comm.Sendrecv(x[bounds[dest] : bounds[dest + 1]], dest, _TAG, came, source, _TAG)
        if source < rank:
            op(came, low, out=low_room)
            low = low_room
        elif source != p - 1:
            op(came, high, out=high)
    if rank == p - 1:
        return low
    op(low, high, out=out)
    return out


# -- costs ---------------------------------------------------------------------------------------------------------


@rounds_of(recursive_halving_reduce_scatter)
def recursive_halving_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """In each round, the blocks of half of the numbers that a rank still works for."""
    pairs = Pairs(p)
    # A number works for the blocks from its rank up to the next number's.
    edges = itemsize * bound(n_items, p, pairs.rank_of(np.arange(pairs.q + 1)))

    def at(half: int) -> Round:
        def moves(numbers: Array) -> Moves:
            first = numbers // (2 * half) * (2 * half)
            lower, higher = edges[first + half] - edges[first], edges[first + 2 * half] - edges[first + half]
            is_upper, partner = (numbers & half) != 0, numbers ^ half
            given, kept = np.where(is_upper, lower, higher), np.where(is_upper, higher, lower)
            return Moves([partner], [given], [partner], kept)

        return moves

    n_bytes, own = n_items * itemsize, itemsize * np.array(block_sizes(n_items, p))
    return pairs.around([at(half) for half in pairs.distances()[::-1]], n_bytes, n_bytes, own)


@cost_of(pairwise_reduce_scatter)
def pairwise_reduce_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """A rank has nothing to reduce when its first block from above comes, so ranks fall out of step: it is played."""
    p = machine.p
    sizes = itemsize * np.array(block_sizes(n_items, p))

    def moves(ranks: Array, number: int) -> Moves:
        step = number + 1
        dest, source = (ranks + step) % p, (ranks - step) % p
        # The first block from above is kept as it is; all blocks from there are reduced into those from below.
        times = (source != p - 1).astype(int) + (ranks < p - 1) * (step == p - 1)
        return Moves([dest], [sizes[dest]], [source], sizes[ranks], times)

    if can_be_played(n_rounds=p - 1):
        return cost_of_rounds(machine, Rounds(p, p - 1, 1, moves, int(sizes[0])))
    # As if all ranks kept step, plus one reduction: a rank that had nothing to reduce in one round does it later.
    about_ps = (p - 1) * machine.slowest_ps(int(sizes[0])) + p * machine.network.reduce_ps(int(sizes[0]))
    bytes_sent = (n_items * itemsize - sizes).tolist()
    return Cost(p - 1, [p - 1] * p, bytes_sent, None, about_ps if machine.is_exact() else None, about_ps)
