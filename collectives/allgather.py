"""All-gather in few rounds: recursive doubling, Bruck, neighbour exchange; `ring.py` has the ring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, finish, wire_view
from collectives.blocks import begin_allgather, turn_back, turned_bounds
from collectives.costs import Cost, Machine
from collectives.fold import Fold
from collectives.ring import ring_allgather, ring_allgather_cost
from collectives.schedules import Step, cost_in_step, cost_of_steps, scheduled_cost
from ranks import region

_DOUBLING, _FOLD, _BRUCK, _NEIGHBOUR = 32_121, 32_122, 32_123, 32_124


def recursive_doubling_allgather(
    comm: Any, x: Array, *, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; each round doubles the blocks that a rank has.

        ranks.run(lambda comm: recursive_doubling_allgather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
    Cost:    lg p alpha + (p-1)/p n beta if p is a power of two. Otherwise, with q the one below, the first 2(p-q) ranks
             work in pairs: one message of a block before and one of n bytes after, lg q rounds between.
    Raises:  TypeError, ValueError if x, counts or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    who = "recursive_doubling_allgather"
    bounds, result, whole = begin_allgather(who, comm, x, counts, out)
    with region(comm, who):
        _doubling(comm, whole, bounds)
    return finish(result, whole)


def _doubling(comm: Any, whole: Array, bounds: list[int]) -> None:
    """Fill `whole`, in which block `rank` is there at the start."""
    p, rank = comm.size, comm.rank
    fold, wire = Fold.of(rank, p), wire_view(whole.dtype) or np.asarray
    if fold.number is None:
        comm.Send(wire(whole[bounds[rank] : bounds[rank + 1]]), fold.mate, _FOLD)
        comm.Recv(wire(whole), fold.mate, _FOLD)
        return
    if fold.mate is not None:
        comm.Recv(wire(whole[bounds[rank + 1] : bounds[rank + 2]]), fold.mate, _FOLD)
    for partner, sent, came in _doublings(fold, p):
        comm.Sendrecv(
            wire(whole[bounds[sent.start] : bounds[sent.stop]]), partner, _DOUBLING,
            wire(whole[bounds[came.start] : bounds[came.stop]]), partner, _DOUBLING,
        )  # fmt: skip
    if fold.mate is not None:
        comm.Send(wire(whole), fold.mate, _FOLD)


def _doublings(fold: Fold, p: int) -> Iterator[tuple[int, range, range]]:
    """Yield the partner of each round, the blocks that it gets, and those that come from it, for one that goes on."""
    assert fold.number is not None
    distance = 1
    while distance < fold.q:
        # Of a pair the first one goes on, so a number has the blocks from its rank up to the next number's.
        mine, other = (number // distance * distance for number in (fold.number, fold.number ^ distance))
        sent, came = (range(fold.rank_of(n, p), fold.rank_of(n + distance, p)) for n in (mine, other))
        yield fold.rank_of(fold.number ^ distance, p), sent, came
        distance *= 2


def bruck_allgather(comm: Any, x: Array, *, counts: Sequence[int] | None = None, out: Array | None = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; in the fewest rounds for any p.

        ranks.run(lambda comm: bruck_allgather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
    Cost:    ceil(lg p) alpha + (p-1)/p n beta, and a local copy of n bytes that is not charged.
    Raises:  TypeError, ValueError if x, counts or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Bruck, Ho, Kipnis, Upfal, Weathersby, IEEE TPDS 8(11), 1997.
    """
    bounds, result, whole = begin_allgather("bruck_allgather", comm, x, counts, out)
    with region(comm, "bruck_allgather"):
        _bruck(comm, whole, bounds)
    return finish(result, whole)


def _bruck(comm: Any, whole: Array, bounds: list[int]) -> None:
    """Fill `whole`, in which block `rank` is there at the start."""
    p, rank = comm.size, comm.rank
    wire = wire_view(whole.dtype) or np.asarray
    # The blocks of rank, rank+1, ... one after the other: what comes always goes behind what is here.
    turned = np.empty_like(whole)
    places = turned_bounds(bounds, rank)
    turned[: places[1]] = whole[bounds[rank] : bounds[rank + 1]]
    have = 1
    while have < p:
        more = min(have, p - have)
        came = turned[places[have] : places[have + more]]
        comm.Sendrecv(wire(turned[: places[more]]), (rank - have) % p, _BRUCK, wire(came), (rank + have) % p, _BRUCK)
        have += more
    turn_back(turned, whole, bounds[rank])


def neighbour_exchange_allgather(
    comm: Any, x: Array, *, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; left and right neighbours swap pairs in turn.

        ranks.run(lambda comm: neighbour_exchange_allgather(comm, np.array([comm.rank, -comm.rank])), 2).results[0]
        # array([[ 0,  0], [ 1, -1]])

    An odd number of ranks cannot be paired: then it calls ring_allgather.

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
    Cost:    p/2 alpha + (p-1)/p n beta, half of the rounds of the ring; for odd p that of the ring.
    Raises:  TypeError, ValueError if x, counts or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Chen, Zhang, Zhang, Yuan, HPC-Asia 2005.
    """
    if comm.size % 2:
        return ring_allgather(comm, x, counts=counts, out=out)
    bounds, result, whole = begin_allgather("neighbour_exchange_allgather", comm, x, counts, out)
    wire = wire_view(whole.dtype) or np.asarray
    with region(comm, "neighbour_exchange_allgather"):
        for partner, sent, came in _swaps(comm.rank, comm.size):
            comm.Sendrecv(
                wire(whole[bounds[sent.start] : bounds[sent.stop]]), partner, _NEIGHBOUR,
                wire(whole[bounds[came.start] : bounds[came.stop]]), partner, _NEIGHBOUR,
            )  # fmt: skip
    return finish(result, whole)


def _swaps(rank: int, p: int) -> Iterator[tuple[int, range, range]]:
    """Yield the partner of each round, the blocks that it gets, and those that come from it, for even p."""
    mate = rank ^ 1
    yield mate, range(rank, rank + 1), range(mate, mate + 1)
    latest = rank // 2
    for turn in range(1, p // 2):
        pair = _pair_that_comes(rank, turn, p)
        partner = mate if turn % 2 == 0 else (2 * rank - mate) % p
        yield partner, range(2 * latest, 2 * latest + 2), range(2 * pair, 2 * pair + 2)
        latest = pair


def _pair_that_comes(rank: int, turn: int, p: int) -> int:
    """Return k, if blocks 2k and 2k+1 come in a turn: from outside and through the mate by turns, ever farther ones."""
    outward = 1 if rank % 2 else -1
    away = (turn + 1) // 2 if turn % 2 else -(turn // 2)
    return (rank // 2 + outward * away) % (p // 2)


# -- costs ---------------------------------------------------------------------------------------------------------


def recursive_doubling_allgather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of _doubling, as a schedule."""
    p = machine.p
    bounds = [itemsize * bound for bound in block_bounds(n_items, p)]

    def steps(rank: int) -> Iterator[Step]:
        fold = Fold.of(rank, p)
        if fold.number is None:
            yield Step(fold.mate, bounds[rank + 1] - bounds[rank], None)
            yield Step(None, 0, fold.mate)
            return
        if fold.mate is not None:
            yield Step(None, 0, fold.mate)
        for partner, sent, _ in _doublings(fold, p):
            yield Step(partner, bounds[sent.stop] - bounds[sent.start], partner)
        if fold.mate is not None:
            yield Step(fold.mate, bounds[p], None)

    in_step = machine.is_exact() and n_items % p == 0 and p & (p - 1) == 0
    return cost_in_step(machine, steps(0)) if in_step else scheduled_cost(machine, steps)


def bruck_allgather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of _bruck, as a schedule."""
    p, n_bytes = machine.p, n_items * itemsize
    bounds = [itemsize * bound for bound in block_bounds(n_items, p)]

    def steps(rank: int) -> Iterator[Step]:
        have = 1
        while have < p:
            more = min(have, p - have)
            end = rank + more
            size = bounds[end] - bounds[rank] if end <= p else n_bytes - bounds[rank] + bounds[end - p]
            yield Step((rank - have) % p, size, (rank + have) % p)
            have += more

    in_step = machine.is_exact() and n_items % p == 0
    return cost_in_step(machine, steps(0)) if in_step else scheduled_cost(machine, steps)


def neighbour_exchange_allgather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of _swaps, as a schedule; for odd p the ring's."""
    p = machine.p
    if p % 2:
        return ring_allgather_cost(machine, n_items, itemsize)
    bounds = [itemsize * bound for bound in block_bounds(n_items, p)]

    def steps(rank: int) -> Iterator[Step]:
        for partner, sent, _ in _swaps(rank, p):
            yield Step(partner, bounds[sent.stop] - bounds[sent.start], partner)

    if machine.is_exact() and n_items % p == 0:
        return cost_in_step(machine, steps(0))
    at_most_ps = machine.slowest_ps(bounds[1]) + (p // 2 - 1) * machine.slowest_ps(bounds[2])
    # Its own block, then all pairs but the last one that comes.
    last = [2 * _pair_that_comes(rank, p // 2 - 1, p) for rank in range(p)]
    bytes_sent = [bounds[r + 1] - bounds[r] + bounds[p] - bounds[last[r] + 2] + bounds[last[r]] for r in range(p)]
    bound = Cost(p // 2, [p // 2] * p, bytes_sent, None, at_most_ps if machine.is_exact() else None)
    return cost_of_steps(machine, steps, bound)
