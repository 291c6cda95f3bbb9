"""The ring: every rank talks to its two neighbours only, and every link is busy in every step.

Block b of the data starts at rank b+1 and travels right. In the reduce-scatter each rank adds its own share to the
block that passes, so after p-1 steps block b arrives complete at rank b. In the all-gather each block goes round once
more, and each rank keeps a copy. One after the other, the two are an all-reduce.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from operator import sub
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, Uneven, block_bounds, block_sizes, bounds_of, cut
from collectives.kit import Counts, Op, Out, algorithm, cost_of, new_tag, scratch
from loggp import Cost, Machine, Round, Rounds, can_be_played, cost_of_rounds, extended_cost
from loggp.patterns import shift
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

    Cost:    each rank sends p-1 messages with all of x except its own block. The time is
             (p-1)(alpha + n/p beta + n/p gamma), where n/p stands for the bytes of the largest block.
    Order:   block b is reduced in rank order b+1, b+2, ..., b, so op must be commutative.
    Source:  Patarasuk & Yuan, JPDC 69(2), 2009.
    """
    return reduce_scatter_round(comm, Ring.of(comm), x, bounds_of(counts), op, out)


def reduce_scatter_round(comm: Any, ring: Ring, x: Array, bounds: list[int], op: Op, own: Array) -> Array:
    """Reduce block `place` of the `x` of all on the ring into `own`, which may be that block of `x`; return it."""
    p, place, left, right = ring
    blocks = cut(x, bounds)
    partial = blocks[place - 1]
    free, spare = scratch(comm, 2, max(map(sub, bounds[1:], bounds)), x.dtype)
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

    Cost:    each rank sends p-1 messages: every block except its right neighbour's. The time is
             (p-1)(alpha + n/p beta), where n/p stands for the bytes of the largest block.
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

    Cost:    each rank sends 2(p-1) messages, 2(p-1)/p * x.nbytes bytes in all when p divides x.size, which is the
             minimum. The time is 2(p-1)(alpha + n/p beta) + (p-1) n/p gamma.
    Order:   block b is reduced in rank order b+1, b+2, ..., b, once, so floats are bit-identical on all ranks, and
             op must be commutative.
    Source:  Patarasuk & Yuan, JPDC 69(2), 2009.
    """
    ring, bounds = Ring.of(comm), block_bounds(x.size, comm.size)
    with region(comm, "ring_reduce_scatter"):
        reduce_scatter_round(comm, ring, x, bounds, op, out[bounds[comm.rank] : bounds[comm.rank + 1]])
    with region(comm, "ring_allgather"):
        return allgather_round(comm, ring, out, bounds)


# -- costs -----------------------------------------------------------------------------------------------------


def ring_at_best_ps(laps: int, machine: Machine, n_items: int, itemsize: int) -> int:
    """Return the time that a block takes on its way round the ring, so many times, or all blocks through a port."""
    n_bytes = n_items // machine.p * itemsize
    return max(laps * machine.round_ps(n_bytes), machine.ring_port_ps(laps * (machine.p - 1), n_bytes))


def ring_bytes_sent(sizes: Array, *, reduces: bool, gathers: bool) -> list[int]:
    """Return what each rank sends in a reduce-scatter and an all-gather of blocks of these bytes."""
    n_bytes: list[int] = (reduces * (sizes.sum() - sizes) + gathers * (sizes.sum() - np.roll(sizes, -1))).tolist()
    return n_bytes


def _cost(machine: Machine, n_items: int, itemsize: int, *, reduces: bool, gathers: bool) -> Cost:
    """Every step takes as long as the largest block does: that block is on its way in each, so no step is shorter.

    Across nodes links differ: then the steps are played, as many as show what one more takes.
    """
    p, network = machine.p, machine.network
    sizes = itemsize * np.array(block_sizes(n_items, p))
    phases, largest = reduces + gathers, int(sizes[0])
    bytes_sent = ring_bytes_sent(sizes, reduces=reduces, gathers=gathers)
    reduce_ps = network.reduce_ps(largest) if reduces else 0
    at_most_ps = (p - 1) * (phases * machine.slowest_ps(largest) + reduce_ps)
    n_rounds = phases * (p - 1)
    if machine.is_exact():
        return Cost(n_rounds, [n_rounds] * p, bytes_sent, at_most_ps, at_most_ps)
    if network.jitter_ps:
        return Cost(n_rounds, [n_rounds] * p, bytes_sent, None, at_most_ps)
    if can_be_played(n_rounds=n_rounds):
        rounds = ring_rounds(p, sizes, reduces=reduces, gathers=gathers)
        return replace(cost_of_rounds(machine, Rounds.of(p, rounds, largest)), at_most_ps=at_most_ps)

    def play(few: int) -> Cost:
        rounds = ring_rounds(few, np.full(few, largest), reduces=reduces, gathers=gathers)
        return cost_of_rounds(machine.first(few), Rounds.of(few, rounds, largest))

    few = 2 * machine.ranks_alike
    can_show = 2 * few <= p and can_be_played(n_in_rounds=phases * (2 * few) ** 2)
    about = extended_cost(few, p, play).about_ps if can_show else at_most_ps
    return Cost(n_rounds, [n_rounds] * p, bytes_sent, None, at_most_ps, about)


cost_of(ring_reduce_scatter, at_best_ps=partial(ring_at_best_ps, 1))(partial(_cost, reduces=True, gathers=False))
ring_allgather_cost = cost_of(ring_allgather, at_best_ps=partial(ring_at_best_ps, 1))(
    partial(_cost, reduces=False, gathers=True)
)
ring_allreduce_cost = cost_of(ring_allreduce, at_best_ps=partial(ring_at_best_ps, 2))(
    partial(_cost, reduces=True, gathers=True)
)


def ring_rounds(p: int, sizes: Array, *, reduces: bool, gathers: bool) -> list[Round]:
    """Return the rounds of a reduce-scatter and an all-gather of blocks of these bytes."""
    ranks = np.arange(p)
    down = [shift(p, 1, sizes[(ranks - 1 - s) % p], sizes[(ranks - 2 - s) % p]) for s in range((p - 1) * reduces)]
    return down + [shift(p, 1, sizes[(ranks - s) % p]) for s in range((p - 1) * gathers)]
