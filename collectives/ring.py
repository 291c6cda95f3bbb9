"""The ring: every rank talks to its two neighbours only, and every link is busy in every step.

Block b of the data starts its way at rank b+1 and travels right. In the reduce-scatter each rank adds its own share
as the block comes by, so that after p-1 steps block b arrives complete at rank b. In the all-gather it goes round
once more and each rank keeps a copy. One after the other they are an all-reduce.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, Uneven, block_bounds, bounds_of, cut
from collectives.calls import Counts, Out
from collectives.catalogue import algorithm, cost_of
from collectives.costs import Cost, Machine
from collectives.messages import new_tag
from collectives.reduction import Op
from collectives.schedules import MOST_MESSAGES, Step, scheduled_cost
from collectives.scratch import scratch
from ranks import region

_TAG = new_tag()


class Ring(NamedTuple):
    """A ring of p ranks as one of them sees it: its neighbours, and its place from 0."""

    p: int
    place: int
    left: int
    right: int

    @classmethod
    def of(cls, comm: Any) -> Ring:
        """Return the ring of all ranks of `comm`."""
        p, rank = comm.size, comm.rank
        return cls(p, rank, (rank - 1) % p, (rank + 1) % p)

    @classmethod
    def through(cls, members: list[int], place: int) -> Ring:
        """Return the ring of these ranks, of which the caller is members[place].

        Ring.through([4, 5, 9], 2)  # Ring(p=3, place=2, left=5, right=4)
        """
        return cls(len(members), place, members[place - 1], members[(place + 1) % len(members)])


@algorithm("reduce_scatter", commutative=True)
def ring_reduce_scatter(comm: Any, x: Array, op: Op = np.add, *, counts: Counts = None, out: Out = None) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks of `comm`.

        ranks.run(lambda comm: ring_reduce_scatter(comm, np.arange(4) * 10**comm.rank), 3).results
        # [array([  0, 111]), array([222]), array([333])]

    Shape:   x (...,) -> (n,): block `rank` of x.ravel(), cut as np.array_split does, or into counts[r] elements for
             rank r. Any size, also smaller than p. `x` is kept unless out is part of it.
    Cost:    p-1 sends a rank; x.nbytes less its own block sent; (p-1)(alpha + n/p beta + n/p gamma), n/p the bytes
             of the largest block.
    Order:   block b is reduced in rank order b+1, b+2, ..., b, so op must be commutative.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Patarasuk & Yuan, JPDC 69(2), 2009.
    """
    return reduce_scatter_round(comm, Ring.of(comm), x, bounds_of(counts), op, out)


def reduce_scatter_round(comm: Any, ring: Ring, x: Array, bounds: list[int], op: Op, own: Array) -> Array:
    """Reduce block `place` of the `x` of all on the ring into `own`, which may be that block of `x`; return it."""
    p, place, left, right = ring
    blocks = cut(x, bounds)
    partial = blocks[place - 1]
    free, spare = scratch(comm, 2, max(end - begin for begin, end in pairwise(bounds)), x.dtype)
    is_uneven = isinstance(blocks, Uneven)
    for step in range(p - 1):
        # Before step s, `partial` is block place-1-s reduced over places place-s ... place.
        share = blocks[place - 2 - step]
        came = free[: share.size] if is_uneven else free
        comm.Sendrecv(partial, right, _TAG, came, left, _TAG)
        target = own if step == p - 2 else came
        op(came, share, out=target)
        # What was sent is free to be received into; what was received is sent next.
        free, spare, partial = spare, free, target
    return own


@algorithm("allgather")
def ring_allgather(comm: Any, x: Array, *, counts: Counts = None, out: Out = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order.

        ranks.run(lambda comm: ring_allgather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless it is part of out.
    Cost:    p-1 sends a rank; all blocks but that of the right neighbour sent; (p-1)(alpha + n/p beta), n/p the
             bytes of the largest block.
    Raises:  TypeError, ValueError if x, counts or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    return allgather_round(comm, Ring.of(comm), out, bounds_of(counts))


def allgather_round(comm: Any, ring: Ring, whole: Array, bounds: list[int]) -> Array:
    """Let the blocks of `whole` go round the ring; block `place` is here at the start."""
    p, place, left, right = ring
    blocks = cut(whole, bounds)
    latest = blocks[place]
    for step in range(p - 1):
        # Before step s, blocks place-s ... place are here.
        came = blocks[place - 1 - step]
        comm.Sendrecv(latest, right, _TAG, came, left, _TAG)
        latest = came
    return whole


@algorithm("allreduce", commutative=True, phases=True)
def ring_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, as a reduce-scatter and an all-gather.

        ranks.run(lambda comm: ring_allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    Cost:    2(p-1) sends a rank; 2(p-1)/p * x.nbytes bytes sent when p divides x.size;
             2(p-1)(alpha + n/p beta) + (p-1) n/p gamma. The bytes are the fewest possible.
    Order:   block b is reduced in rank order b+1, b+2, ..., b, once, so floats are bit-identical on all ranks, and
             op must be commutative.
    Raises:  TypeError, ValueError if x, op or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Patarasuk & Yuan, JPDC 69(2), 2009.
    """
    ring, bounds = Ring.of(comm), block_bounds(x.size, comm.size)
    with region(comm, "ring_reduce_scatter"):
        reduce_scatter_round(comm, ring, x, bounds, op, out[bounds[comm.rank] : bounds[comm.rank + 1]])
    with region(comm, "ring_allgather"):
        return allgather_round(comm, ring, out, bounds)


# -- costs -----------------------------------------------------------------------------------------------------


@cost_of(ring_reduce_scatter)
def ring_reduce_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `ring_reduce_scatter` of n_items on each rank."""
    return _cost(machine, n_items, itemsize, reduces=True, gathers=False)


@cost_of(ring_allgather)
def ring_allgather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `ring_allgather` whose result has n_items."""
    return _cost(machine, n_items, itemsize, reduces=False, gathers=True)


@cost_of(ring_allreduce)
def ring_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `ring_allreduce` of n_items on each rank."""
    return _cost(machine, n_items, itemsize, reduces=True, gathers=True)


def _cost(machine: Machine, n_items: int, itemsize: int, *, reduces: bool, gathers: bool) -> Cost:
    """Every step takes as long as the largest block does: that block is on its way in each, so no step is shorter.

    Across nodes, links differ: then the steps are played, of a few nodes' ranks if there are many.
    """
    p = machine.p
    bounds = block_bounds(n_items, p)
    sizes = [(bounds[b + 1] - bounds[b]) * itemsize for b in range(p)]
    phases, n_bytes = reduces + gathers, n_items * itemsize
    bytes_sent = [reduces * (n_bytes - sizes[rank]) + gathers * (n_bytes - sizes[(rank + 1) % p]) for rank in range(p)]
    reduce_ps = machine.network.reduce_ps(sizes[0]) if reduces else 0
    at_most_ps = (p - 1) * (phases * machine.slowest_ps(sizes[0]) + reduce_ps)
    sends = [phases * (p - 1)] * p
    if machine.is_exact():
        return Cost(phases * (p - 1), sends, bytes_sent, at_most_ps, at_most_ps)
    if machine.network.jitter_ps:
        return Cost(phases * (p - 1), sends, bytes_sent, None, at_most_ps)
    few = p * sends[0] <= MOST_MESSAGES
    # Blocks as large as the largest, so that ranks are alike: exact if all are, otherwise nearly.
    blocks = sizes if few else [sizes[0]] * p

    def steps(rank: int) -> Iterator[Step]:
        left, right = (rank - 1) % p, (rank + 1) % p
        if reduces:
            for step in range(p - 1):
                yield Step(right, blocks[(rank - 1 - step) % p], left, blocks[(rank - 2 - step) % p])
        if gathers:
            for step in range(p - 1):
                yield Step(right, blocks[(rank - step) % p], left)

    played = scheduled_cost(machine, steps, None if few else machine.ranks_alike).time_ps
    exact = played if few or n_items % p == 0 else None
    return Cost(phases * (p - 1), sends, bytes_sent, exact, at_most_ps, played)
