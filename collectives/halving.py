"""Recursive doubling and halving: ranks exchange with partners at distances 1, 2, 4, ..., lg p rounds in all.

A p that is no power of two is made one by pairs (`power_of_two.py`). Each rank holds the reduction over neighbouring
ranks at any time, so results are in rank order, and an op need not be commutative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.kit import Op, Out, algorithm, new_tag, rounds_of, scratch
from collectives.power_of_two import Place, give_back, in_rank_order, pair_up
from loggp import Machine, Round
from loggp.patterns import Halves, Pairs, exchange, halves

_TAG = new_tag()


@algorithm("allreduce")
def recursive_doubling_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, by exchanges of whole arrays.

    Cost:    the time is lg p (alpha + n beta + n gamma) if p is a power of two. Otherwise two more messages fold and
             unfold the extra ranks.
    Order:   rank order, in a balanced tree, the same on all ranks: floats are bit-identical, op must be associative.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    place = Place.of(comm.rank, comm.size)
    mine = pair_up(comm, x, out, op, place)
    if place.number is not None:
        (came,), distance = scratch(comm, 1, x.size, x.dtype), 1
        while distance < place.q:
            # `mine` is over the `distance` numbers around; each exchange doubles them.
            partner = place.rank_of(place.number ^ distance, comm.size)
            comm.Sendrecv(mine, partner, _TAG, came, partner, _TAG)
            in_rank_order(op, mine, came, out, mine_first=partner > comm.rank)
            mine, distance = out, 2 * distance
    give_back(comm, out, place)
    return out


def whole_reductions_at_best_ps(machine: Machine, n_items: int, itemsize: int) -> int:
    """Return the time that ranks take to pass on and reduce all elements in each round."""
    return machine.doublings_ps(n_items * itemsize, n_items * itemsize)


@rounds_of(recursive_doubling_allreduce, at_best_ps=whole_reductions_at_best_ps)
def recursive_doubling_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """All elements go and come in each round, and are reduced."""
    pairs, n_bytes = Pairs(p), n_items * itemsize
    inner = [exchange(distance, n_bytes, n_bytes) for distance in pairs.distances()]
    return pairs.around(inner, n_bytes, n_bytes, n_bytes)


@algorithm("allreduce")
def halving_doubling_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, as a reduce-scatter by halves and an all-gather.

    Cost:    each rank sends 2 lg p messages. The time is 2 lg p alpha + 2(p-1)/p n beta + (p-1)/p n gamma if p is a
             power of two. Otherwise two more messages of n bytes fold and unfold the extra ranks.
    Order:   rank order, in a balanced tree, each element on one rank: floats are bit-identical on all ranks, op must
             be associative.
    Source:  Rabenseifner's algorithm, as in Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    place = Place.of(comm.rank, comm.size)
    mine = pair_up(comm, x, out, op, place)
    if place.number is not None:
        _halve(comm, mine, out, op, place, 0)
        _double(comm, out, place)
    give_back(comm, out, place)
    return out


@rounds_of(halving_doubling_allreduce)
def halving_doubling_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """Halves of what is left, and back."""
    pairs, n_bytes = Pairs(p), n_items * itemsize
    half = Halves(pairs.q, n_items, itemsize)
    return pairs.around([*half.halving(), *half.doubling()], n_bytes, n_bytes, n_bytes)


def _halve(comm: Any, mine: Array, out: Array, op: Op, place: Place, chosen: int) -> None:
    """Reduce-scatter: after the exchange at distance d, one of 2d parts of `out` is over the 2d numbers around.

    Before the first one, a rank's share is `mine`.
    """
    assert place.number is not None
    bounds = block_bounds(out.size, place.q)
    (spare,) = scratch(comm, 1, bounds[place.q // 2], out.dtype)
    for distance, keep, give, n_blocks in halves(place.number, place.q):
        partner = place.rank_of(place.number ^ distance, comm.size, chosen)
        kept, given = (slice(bounds[b], bounds[b + n_blocks]) for b in (keep, give))
        came = spare[: kept.stop - kept.start]
        comm.Sendrecv(mine[given], partner, _TAG, came, partner, _TAG)
        in_rank_order(op, mine[kept], came, out[kept], mine_first=partner > comm.rank)
        mine = out


def _double(comm: Any, out: Array, place: Place) -> None:
    """All-gather: the way back, from the largest distance to 1."""
    assert place.number is not None
    bounds = block_bounds(out.size, place.q)
    for distance, keep, give, n_blocks in reversed(halves(place.number, place.q)):
        partner = place.rank_of(place.number ^ distance, comm.size)
        kept, given = (out[bounds[b] : bounds[b + n_blocks]] for b in (keep, give))
        comm.Sendrecv(kept, partner, _TAG, given, partner, _TAG)


@algorithm("reduce")
def rabenseifner_reduce(comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Out = None) -> Array | None:
    """Return the elementwise `op` of `x` over all ranks of `comm` on `root`, None elsewhere: by halves, then gathered.

    Cost:    the time of 2 lg p rounds is 2 lg p alpha + 2(p-1)/p n beta + (p-1)/p n gamma if p is a power of two.
             Otherwise one more message of n bytes folds the extra ranks.
    Order:   rank order, in a balanced tree; op must be associative.
    Source:  Rabenseifner's algorithm, as in Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    place = Place.of(comm.rank, comm.size, root)
    mine = pair_up(comm, x, out, op, place)
    if place.number is not None:
        _halve(comm, mine, out, op, place, root)
        _gather(comm, out, place, root)
    return out


def _gather(comm: Any, out: Array, place: Place, root: int) -> None:
    """Go the way of the halving back towards the root: at each distance, the half without the root sends."""
    p, q = comm.size, place.q
    number, target = place.number, Place.of(root, p, root).number
    assert number is not None
    assert target is not None
    bounds = block_bounds(out.size, q)
    for distance, keep, give, n_blocks in reversed(halves(number, q)):
        partner = place.rank_of(number ^ distance, p, root)
        kept, given = (out[bounds[b] : bounds[b + n_blocks]] for b in (keep, give))
        if (number ^ target) & distance:
            comm.Send(kept, partner, _TAG)
            return
        comm.Recv(given, partner, _TAG)


@rounds_of(rabenseifner_reduce)
def rabenseifner_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """Halves of what is left, gathered by number 0."""
    pairs, n_bytes = Pairs(p), n_items * itemsize
    half = Halves(pairs.q, n_items, itemsize)
    return pairs.around([*half.halving(), *half.gathering()], n_bytes, n_bytes, None)
