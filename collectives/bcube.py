"""All-reduce on a cube of more than two ranks a side: in each round a rank exchanges with all others on its line."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from loggp import Cost, Machine, Moves, Round, Rounds, cost_of_rounds
from loggp.patterns import Lines

_TAG = new_tag()

BASE = 4
# All messages are played for lines up to this length, or if there are few; not for lines of a large prime.
_SHORT, _MOST_MESSAGES = 16, 1 << 16


class Line(NamedTuple):
    """A round of a rank: the ranks on its line in order, its place among them, and the bounds of their parts."""

    ranks: list[int]
    place: int
    bounds: list[int]


@algorithm("allreduce")
def bcube_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None, base: int = BASE) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, on a cube with about `base` ranks a side.

    p is written as a product of sides up to base, as far as its prime factors allow; each round has one side. Lines
    of b ranks reduce-scatter what is left, each rank sending b-1 parts at once; the way back is an all-gather.

    Cost:    each rank sends b-1 messages in each of 2 log_b p rounds, 2(p-1)/p n bytes in all. The time is about
             2 log_b p alpha + 2(p-1)/p n beta + (p-1)/p n gamma.
    Order:   rank order, grouped by lines, each element on one rank: floats are bit-identical on all ranks, op must
             be associative.
    Source:  gloo's allreduce_bcube (docs/algorithms.md).
    """
    lines, mine = lines_of(comm.rank, comm.size, x.size, base), x
    for line in lines:
        _reduce_scatter(comm, mine, out, op, line)
        mine = out
    for line in reversed(lines):
        _allgather(comm, out, line)
    return out


def sides(p: int, base: int) -> list[int]:
    """Return factors of p, none above `base` but primes: as few as small primes put together greedily make.

    sides(24, 4)  # [4, 2, 3]
    """
    found: list[int] = []
    prime = 2
    while p > 1:
        if p % prime:
            prime += 1
            continue
        p //= prime
        if found and found[-1] * prime <= base:
            found[-1] *= prime
        else:
            found.append(prime)
    return found


def lines_of(rank: int, p: int, n: int, base: int) -> list[Line]:
    """Return the rounds of a rank for n elements: lines of neighbours first, then of ranks ever further away.

    lines_of(2, 6, 60, 4)[1]  # Line(ranks=[0, 2, 4], place=1, bounds=[0, 10, 20, 30])
    """
    found, distance, first, end = [], 1, 0, n
    for side in sides(p, base):
        place = rank // distance % side
        start = rank - place * distance
        bounds = [first + bound for bound in block_bounds(end - first, side)]
        found.append(Line([start + k * distance for k in range(side)], place, bounds))
        first, end = bounds[place], bounds[place + 1]
        distance *= side
    return found


def _reduce_scatter(comm: Any, mine: Array, out: Array, op: Op, line: Line) -> None:
    """Send every other rank of the line its part of `mine`, and reduce what comes for the own one, in rank order.

    Before, `mine` is over the neighbours that earlier rounds have joined; after, the own part of `out` is over all
    the line's.
    """
    ranks, place, bounds = line
    own = slice(bounds[place], bounds[place + 1])
    shares = scratch(comm, len(ranks), own.stop - own.start, out.dtype)
    others = _others(line)
    sent = [comm.Isend(mine[bounds[k] : bounds[k + 1]], ranks[k], _TAG) for k in others]
    coming = [comm.Irecv(shares[k], ranks[k], _TAG) for k in reversed(others)]
    for request in [*coming, *sent]:
        request.Wait()
    room, shares[place] = shares[0], mine[own]
    so_far = shares[0]
    for share in shares[1:]:
        # This rank's share may be in the memory of the result, so only the last reduction writes there.
        target = out[own] if share is shares[-1] else room
        op(so_far, share, out=target)
        so_far = target


def _allgather(comm: Any, out: Array, line: Line) -> None:
    ranks, place, bounds = line
    others = _others(line)
    parts = [out[first:end] for first, end in pairwise(bounds)]
    sent = [comm.Isend(parts[place], ranks[k], _TAG) for k in others]
    coming = [comm.Irecv(parts[k], ranks[k], _TAG) for k in reversed(others)]
    for request in [*coming, *sent]:
        request.Wait()


def _others(line: Line) -> list[int]:
    """Return the places of the others from the next one on, so that no two ranks begin with the same one."""
    side = len(line.ranks)
    return [(line.place + k) % side for k in range(1, side)]


@cost_of(bcube_allreduce)
def bcube_allreduce_cost(machine: Machine, n_items: int, itemsize: int, base: int = BASE) -> Cost:
    """Return the cost of `bcube_allreduce` of n_items on each rank."""
    p, n_bytes, factors = machine.p, n_items * itemsize, sides(machine.p, base)
    lines: list[Lines] = []
    for side in factors:
        lines.append(lines[-1].further(side) if lines else Lines(side, 1, np.full(p, n_items), itemsize))
    width, n_rounds = max(factors, default=2) - 1, 2 * len(factors)
    if width < _SHORT or width * p * n_rounds <= _MOST_MESSAGES:
        rounds = [*(_scatter_round(line) for line in lines), *(_gather_round(line) for line in lines[::-1])]
        return cost_of_rounds(machine, Rounds.of(p, rounds, n_bytes, width))
    # Lines so long that the messages of a round queue at ports, one behind the other.
    ranks, bytes_sent = np.arange(p), np.zeros(p, np.int64)
    for line in lines:
        own = line.part(ranks, line.place(ranks))
        bytes_sent += line.left * itemsize - own + (line.side - 1) * own
    sends, nothing_ps = 2 * sum(side - 1 for side in factors), machine.slowest_ps(0)
    about_ps = n_rounds * nothing_ps + 2 * sends * machine.network.overhead_ps + machine.network.reduce_ps(n_bytes)
    sharing = machine.nodes.count(machine.nodes[0]) if machine.network.shared_node_port else 1
    about_ps += sharing * (machine.slowest_ps(int(bytes_sent.max())) - nothing_ps)
    return Cost(n_rounds, [sends] * p, bytes_sent.tolist(), None, None, about_ps)


def _scatter_round(line: Lines) -> Round:
    def moves(ranks: Array) -> Moves:
        places = [line.place(ranks) + k for k in range(1, line.side)]
        to, own = [line.rank(ranks, place) for place in places], line.part(ranks, line.place(ranks))
        return Moves(to, [line.part(ranks, place) for place in places], to[::-1], own, line.side - 1)

    return moves


def _gather_round(line: Lines) -> Round:
    def moves(ranks: Array) -> Moves:
        to = [line.rank(ranks, line.place(ranks) + k) for k in range(1, line.side)]
        return Moves(to, [line.part(ranks, line.place(ranks))] * len(to), to[::-1])

    return moves
