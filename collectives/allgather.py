"""All-gather in few rounds: recursive doubling, Bruck, neighbour exchange; `ring.py` has the ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, bounds_of, rotate, rotated_bounds
from collectives.kit import Counts, Out, algorithm, cost_of, new_tag, rounds_of
from collectives.power_of_two import Place
from collectives.ring import Ring, allgather_round, ring_allgather_cost
from loggp import Cost, Machine, Moves, Round, Rounds, can_be_played, cost_of_rounds
from loggp.patterns import Pairs, bound, shift

_TAG = new_tag()


@algorithm("allgather")
def recursive_doubling_allgather(comm: Any, x: Array, *, counts: Counts = None, out: Out = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; each round doubles the blocks that a rank has.

    Cost:    the time is lg p alpha + (p-1)/p n beta if p is a power of two. Otherwise, let q be the largest power of
             two below p. In each pair of the first 2(p-q) ranks, one sends its block before the lg q
             rounds and gets all n bytes after them.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, place, bounds = comm.size, Place.of(comm.rank, comm.size), bounds_of(counts)
    if place.number is None:
        comm.Send(x, place.mate, _TAG)
        comm.Recv(out, place.mate, _TAG)
        return out
    if place.mate is not None:
        comm.Recv(out[bounds[place.mate] : bounds[place.mate + 1]], place.mate, _TAG)
    for partner, sent, came in _doublings(place, p):
        mine, others = (out[bounds[blocks.start] : bounds[blocks.stop]] for blocks in (sent, came))
        comm.Sendrecv(mine, partner, _TAG, others, partner, _TAG)
    if place.mate is not None:
        comm.Send(out, place.mate, _TAG)
    return out


def _doublings(place: Place, p: int) -> Iterator[tuple[int, range, range]]:
    """Yield the partner of each round, the blocks that it gets, and those that come from it, for one that goes on."""
    assert place.number is not None
    distance = 1
    while distance < place.q:
        # Of a pair the first one goes on, so a number has the blocks from its rank up to the next number's.
        mine, other = (number // distance * distance for number in (place.number, place.number ^ distance))
        sent, came = (range(place.rank_of(n, p), place.rank_of(n + distance, p)) for n in (mine, other))
        yield place.rank_of(place.number ^ distance, p), sent, came
        distance *= 2


@algorithm("allgather")
def bruck_allgather(comm: Any, x: Array, *, counts: Counts = None, out: Out = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; in the fewest rounds for any p.

    Cost:    the time is ceil(lg p) alpha + (p-1)/p n beta. The final local copy of n bytes is not charged.
    Source:  Bruck, Ho, Kipnis, Upfal, Weathersby, IEEE TPDS 8(11), 1997.
    """
    p, rank, bounds = comm.size, comm.rank, bounds_of(counts)
    # The blocks of rank, rank+1, ... one after the other: what comes always goes behind what is here.
    rotated, places = np.empty_like(out), rotated_bounds(bounds, rank)
    rotated[: places[1]] = x
    have = 1
    while have < p:
        more = min(have, p - have)
        came = rotated[places[have] : places[have + more]]
        comm.Sendrecv(rotated[: places[more]], (rank - have) % p, _TAG, came, (rank + have) % p, _TAG)
        have += more
    return rotate(rotated, bounds[p] - bounds[rank], out)


@algorithm("allgather")
def neighbour_exchange_allgather(comm: Any, x: Array, *, counts: Counts = None, out: Out = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order; left and right neighbours swap pairs in turn.

        ranks.run(lambda comm: neighbour_exchange_allgather(comm, np.array([comm.rank, -comm.rank])), 2).results[0]
        # array([[ 0,  0], [ 1, -1]])

    An odd number of ranks cannot be paired: then it is the ring.

    Cost:    the time is p/2 alpha + (p-1)/p n beta: half as many rounds as the ring needs. For odd p this is the ring.
    Source:  Chen, Zhang, Zhang, Yuan, HPC-Asia 2005.
    """
    bounds = bounds_of(counts)
    if comm.size % 2:
        return allgather_round(comm, Ring.of(comm), out, bounds)
    for partner, sent, came in _swaps(comm.rank, comm.size):
        mine, others = (out[bounds[blocks.start] : bounds[blocks.stop]] for blocks in (sent, came))
        comm.Sendrecv(mine, partner, _TAG, others, partner, _TAG)
    return out


def _swaps(rank: int, p: int) -> Iterator[tuple[int, range, range]]:
    """Yield the partner of each round, the blocks that it gets, and those that come from it, for even p."""
    mate = rank ^ 1
    yield mate, range(rank, rank + 1), range(mate, mate + 1)
    for turn in range(1, p // 2):
        latest, pair = (_pair_that_comes(rank, each, p) for each in (turn - 1, turn))
        yield _partner(rank, turn, p), range(2 * latest, 2 * latest + 2), range(2 * pair, 2 * pair + 2)


def _pair_that_comes(rank: Any, turn: int, p: int) -> Any:
    """Return k, if blocks 2k and 2k+1 come in a turn: from outside and through the mate by turns, ever farther ones."""
    outward = 2 * (rank % 2) - 1
    away = (turn + 1) // 2 if turn % 2 else -(turn // 2)
    return (rank // 2 + outward * away) % (p // 2)


# -- costs ---------------------------------------------------------------------------------------------------------


@rounds_of(recursive_doubling_allgather)
def recursive_doubling_allgather_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """The rounds of _doublings."""
    pairs = Pairs(p)
    # A number has the blocks from its rank up to the next number's.
    edges = itemsize * bound(n_items, p, pairs.rank_of(np.arange(pairs.q + 1)))

    def at(distance: int) -> Round:
        def moves(numbers: Array) -> Moves:
            first, partner = numbers // distance * distance, numbers ^ distance
            return Moves([partner], [edges[first + distance] - edges[first]], [partner])

        return moves

    own = itemsize * np.array(block_sizes(n_items, p))
    return pairs.around([at(distance) for distance in pairs.distances()], own, 0, n_items * itemsize)


@rounds_of(bruck_allgather)
def bruck_allgather_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """Each rank sends the blocks from its own on, ever more, some of them from the first one on again."""
    n_bytes = n_items * itemsize
    bounds = itemsize * bound(n_items, p, np.arange(p + 1))

    def at(have: int) -> Round:
        ends = np.arange(p) + min(have, p - have)
        return shift(p, -have, bounds[ends % p] + ends // p * n_bytes - bounds[:p])

    return [at(1 << k) for k in range((p - 1).bit_length())]


@cost_of(neighbour_exchange_allgather)
def neighbour_exchange_allgather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of _swaps; for odd p the ring's."""
    p = machine.p
    if p % 2:
        return ring_allgather_cost(machine, n_items, itemsize)
    bounds = itemsize * bound(n_items, p, np.arange(p + 1))

    def moves(ranks: Array, turn: int) -> Moves:
        partner = _partner(ranks, turn, p)
        if not turn:
            return Moves([partner], [bounds[ranks + 1] - bounds[ranks]], [partner])
        pair = _pair_that_comes(ranks, turn - 1, p)
        return Moves([partner], [bounds[2 * pair + 2] - bounds[2 * pair]], [partner])

    if can_be_played(n_rounds=p // 2):
        return cost_of_rounds(machine, Rounds(p, p // 2, 1, moves, int(bounds[2])))
    in_step_ps = machine.slowest_ps(int(bounds[1])) + (p // 2 - 1) * machine.slowest_ps(int(bounds[2]))
    # Its own block, then all pairs but the last one that comes.
    ranks = np.arange(p)
    last = 2 * _pair_that_comes(ranks, p // 2 - 1, p)
    bytes_sent = bounds[ranks + 1] - bounds[ranks] + bounds[p] - bounds[last + 2] + bounds[last]
    exact = in_step_ps if machine.is_exact() and n_items % p == 0 else None
    at_most_ps = in_step_ps if machine.is_exact() else None
    return Cost(p // 2, [p // 2] * p, bytes_sent.tolist(), exact, at_most_ps, in_step_ps)


def _partner(rank: Any, turn: int, p: int) -> Any:
    """Return with whom ranks swap in a turn: their mate, or their neighbour on the other side."""
    mate = rank ^ 1
    return mate if turn % 2 == 0 else (2 * rank - mate) % p
