"""Reduce-scatter in few rounds, by recursive halving, and with no rank between, pairwise; `ring.py` has the ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, block_sizes, bounds_of
from collectives.calls import Counts, Out
from collectives.catalogue import algorithm, cost_of
from collectives.costs import Cost, Machine
from collectives.messages import new_tag
from collectives.power_of_two import Place
from collectives.reduction import Op
from collectives.schedules import Step, cost_in_step, cost_of_steps, scheduled_cost
from collectives.scratch import scratch

_TAG = new_tag()


@algorithm("reduce_scatter", commutative=True)
def recursive_halving_reduce_scatter(
    comm: Any, x: Array, op: Op = np.add, *, counts: Counts = None, out: Out = None
) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks; each round halves what is left to do.

        ranks.run(lambda comm: recursive_halving_reduce_scatter(comm, np.arange(4) * 10**comm.rank), 3).results
        # [array([  0, 111]), array([222]), array([333])]

    Shape:   x (...,) -> (n,): block `rank` of x.ravel(), cut as np.array_split does, or into counts[r] elements for
             rank r. Any size, also smaller than p. `x` is kept unless out is part of it.
    Cost:    lg p alpha + (p-1)/p n (beta + gamma) if p is a power of two. Otherwise, with q the one below, the first
             2(p-q) ranks work in pairs: one message of n bytes before and one of a block after, lg q rounds between.
    Order:   pairs first, then x of i and i+q/2, of i and i+q/4, ...: op must be commutative.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
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
    """Return this rank's block of the elementwise `op` of `x` over all ranks; each sends each its block.

        ranks.run(lambda comm: pairwise_reduce_scatter(comm, np.arange(4) * 10**comm.rank), 3).results
        # [array([  0, 111]), array([222]), array([333])]

    Shape:   x (...,) -> (n,): block `rank` of x.ravel(), cut as np.array_split does, or into counts[r] elements for
             rank r. Any size, also smaller than p. `x` is kept unless out is part of it.
    Cost:    p-1 sends a rank; x.nbytes less its own block sent; at most (p-1)(alpha + n/p beta) + n gamma.
    Order:   block b is op(op(x0, op(x1, ... xb)), op(xb+1, ... op(xp-2, xp-1))): ranks in order, so op only has to be
             associative.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
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


@cost_of(recursive_halving_reduce_scatter)
def recursive_halving_reduce_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of _halving, as a schedule."""
    p = machine.p
    bounds = [itemsize * bound for bound in block_bounds(n_items, p)]

    def steps(rank: int) -> Iterator[Step]:
        place = Place.of(rank, p)
        if place.number is None:
            yield Step(place.mate, bounds[p], None)
            yield Step(None, 0, place.mate)
            return
        if place.mate is not None:
            yield Step(None, 0, place.mate, bounds[p])
        first, half = 0, place.q // 2
        while half:
            edges = [bounds[place.rank_of(first + part * half, p)] for part in range(3)]
            lower, higher = edges[1] - edges[0], edges[2] - edges[1]
            upper, partner = bool(place.number & half), place.rank_of(place.number ^ half, p)
            yield Step(partner, lower if upper else higher, partner, higher if upper else lower)
            first, half = first + half * upper, half // 2
        if place.mate is not None:
            yield Step(place.mate, bounds[rank + 2] - bounds[rank + 1], None)

    in_step = machine.is_exact() and n_items % p == 0 and p & (p - 1) == 0
    return cost_in_step(machine, steps(0)) if in_step else scheduled_cost(machine, steps)


@cost_of(pairwise_reduce_scatter)
def pairwise_reduce_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """A rank has nothing to reduce when its first block from above comes, so ranks fall out of step: a schedule."""
    p = machine.p
    sizes = [itemsize * size for size in block_sizes(n_items, p)]

    def steps(rank: int) -> Iterator[Step]:
        for step in range(1, p):
            dest, source = (rank + step) % p, (rank - step) % p
            yield Step(dest, sizes[dest], source, 0 if source == p - 1 else sizes[rank])
        if rank < p - 1:
            yield Step(None, 0, None, sizes[rank])

    bytes_sent = [sum(sizes) - size for size in sizes]
    # In step, but for one reduction of those that had nothing to reduce once.
    at_most_ps = (p - 1) * machine.slowest_ps(sizes[0]) + p * machine.network.reduce_ps(sizes[0])
    bound = Cost(p - 1, [p - 1] * p, bytes_sent, None, at_most_ps if machine.is_exact() else None)
    return cost_of_steps(machine, steps, bound)
