"""Broadcasts: a tree of whole messages for small arrays; blocks or segments that keep all links busy for large ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, block_sizes
from collectives.kit import Out, algorithm, cost_of, new_tag, rounds_of
from collectives.ring import Ring, allgather_round, ring_allgather_cost, ring_at_best_ps, ring_rounds
from collectives.trees import binomial_children, binomial_end, binomial_parent
from loggp import Cost, Machine, Round, Rounds, Step, can_be_played, cost_of_rounds, extended_cost, scheduled_cost
from loggp.patterns import down_a_tree, subtree_bytes

_TAG = new_tag()

# Segments of a pipeline: small enough to be buffered by the networks of `ranks.presets`, so that a rank sends on
# without waiting, and large enough to take longer than their overhead.
SEGMENT_BYTES = 65_536
# So many segments fill the pipeline; each further one takes as long as the one before.
_FEW = 16


@algorithm("broadcast")
def binomial_broadcast(comm: Any, x: Array, *, root: int = 0, out: Out = None) -> Array:
    """Return the root's `x` on every rank of `comm`, sent down a binomial tree.

    Cost:    p-1 messages in ceil(lg p) rounds. The time is ceil(lg p) (alpha + n beta).
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    if v:
        comm.Recv(x, (root + binomial_parent(v)) % p, _TAG)
    for child in binomial_children(v, p):
        comm.Send(x, (root + child) % p, _TAG)
    return x


@rounds_of(binomial_broadcast, at_best_ps=lambda machine, n_items, itemsize: machine.doublings_ps(n_items * itemsize))
def binomial_broadcast_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """All bytes down each edge of the tree."""
    return down_a_tree(p, lambda *_: n_items * itemsize)


@algorithm("broadcast")
def scatter_allgather_broadcast(comm: Any, x: Array, *, root: int = 0, out: Out = None) -> Array:
    """Return the root's `x` on every rank of `comm`: its blocks scattered down a binomial tree, then sent round a ring.

    Cost:    the time of ceil(lg p) + p-1 rounds is (ceil(lg p) + p-1) alpha + 2(p-1)/p n beta.
    Source:  van de Geijn's algorithm, as in Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    bounds = block_bounds(x.size, p)
    if v:
        mine = out[bounds[v] : bounds[binomial_end(v, p)]]
        comm.Recv(mine, (root + binomial_parent(v)) % p, _TAG)
    for child in binomial_children(v, p):
        part = x[bounds[child] : bounds[binomial_end(child, p)]]
        comm.Send(part, (root + child) % p, _TAG)
    if v == 0:
        out[: bounds[1]] = x[: bounds[1]]  # the other blocks come round
    # Number v is rank root+v: the same neighbours, in another place.
    return allgather_round(comm, Ring.of(comm)._replace(place=v), out, bounds)


@cost_of(scatter_allgather_broadcast, at_best_ps=partial(ring_at_best_ps, 1))
def scatter_allgather_broadcast_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `scatter_allgather_broadcast` of n_items; of many ranks, if the ring begins at once."""
    p, n_bytes, sizes = machine.p, n_items * itemsize, itemsize * np.array(block_sizes(n_items, machine.p))
    scatter = down_a_tree(p, subtree_bytes(n_items, itemsize, p))
    if can_be_played(n_rounds=p - 1):
        rounds = scatter + ring_rounds(p, sizes, reduces=False, gathers=True)
        return cost_of_rounds(machine, Rounds.of(p, rounds, n_bytes))
    first = cost_of_rounds(machine, Rounds.of(p, scatter, n_bytes))
    then = ring_allgather_cost(machine, n_items, itemsize)
    sends, bytes_sent = np.add([first.sends, first.bytes_sent], [then.sends, then.bytes_sent]).tolist()
    if first.expected_ps is None or then.expected_ps is None:
        return Cost(first.rounds + then.rounds, sends, bytes_sent, None, None)
    return Cost(first.rounds + then.rounds, sends, bytes_sent, None, None, first.expected_ps + then.expected_ps)


@algorithm("broadcast", overlaps=True)
def chain_broadcast(
    comm: Any, x: Array, *, root: int = 0, out: Out = None, segment_bytes: int = SEGMENT_BYTES
) -> Array:
    """Return the root's `x` on every rank of `comm`, handed from rank to rank in segments.

    Cost:    s = ceil(n / segment_bytes) segments take p+s-2 rounds. The time is (p+s-2) (alpha + n/s beta) if every
             message waits for the previous one, and less if segments are buffered.
    Source:  Pjesivac-Grbovic, Angskun, Bosilca, Fagg, Gabriel, Dongarra, Cluster Computing 10(2), 2007.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    left, right = (comm.rank - 1) % p, (comm.rank + 1) % p
    segments = [x[first:end] for first, end in segment_bounds(x.size, x.itemsize, segment_bytes)]
    if v:
        comm.Recv(segments[0], left, _TAG)
    # Before a segment is sent on, all up to it are here; the last rank of the chain only receives.
    for segment, following in pairwise(segments):
        if v == 0:
            comm.Send(segment, right, _TAG)
        elif v == p - 1:
            comm.Recv(following, left, _TAG)
        else:
            comm.Sendrecv(segment, right, _TAG, following, left, _TAG)
    if v < p - 1:
        comm.Send(segments[-1], right, _TAG)
    return x


def chain_at_best_ps(machine: Machine, n_items: int, itemsize: int) -> int:
    """Return the time that the first segment takes along the chain."""
    return machine.round_ps(min(n_items * itemsize, SEGMENT_BYTES // 2))


@cost_of(chain_broadcast, at_best_ps=chain_at_best_ps)
def chain_broadcast_cost(machine: Machine, n_items: int, itemsize: int, segment_bytes: int = SEGMENT_BYTES) -> Cost:
    """Return the cost of `chain_broadcast` of n_items. Of many segments, and of many ranks, only a few are played."""
    p = machine.p
    sizes = [(end - first) * itemsize for first, end in segment_bounds(n_items, itemsize, segment_bytes)]

    def play(ranks: int, few: int) -> Cost:
        def steps(v: int) -> list[Step]:
            left = v - 1 if v else None
            if v == ranks - 1:
                return [Step(None, 0, left) for _ in range(few)] if v else []
            first = [Step(None, 0, left)] if v else []
            return first + [Step(v + 1, size, left if k < few - 1 else None) for k, size in enumerate(sizes[:few])]

        return scheduled_cost(machine.first(ranks), steps)

    def all_segments(ranks: int) -> Cost:
        if len(sizes) <= 2 * _FEW or can_be_played(n_messages=ranks * len(sizes)):
            return play(ranks, len(sizes))
        return extended_cost(_FEW, len(sizes), lambda few: play(ranks, few))

    few_ranks = max(8, 2 * machine.nodes.count(machine.nodes[0]))
    if can_be_played(n_messages=p * min(len(sizes), 2 * _FEW)) or 2 * few_ranks > p:
        played = all_segments(p)
    else:
        played = extended_cost(few_ranks, p, all_segments)
    sends = [len(sizes)] * (p - 1) + [0]
    return replace(played, sends=sends, bytes_sent=[n_items * itemsize] * (p - 1) + [0])


def segment_bounds(n: int, itemsize: int, segment_bytes: int) -> list[tuple[int, int]]:
    """Return (first, end) of each segment of n elements, of about segment_bytes and within one element alike.

    There is one at least, even if it is empty.
    """
    segments = max(1, -(-n * itemsize // segment_bytes))
    bounds = block_bounds(n, segments)
    return list(pairwise(bounds))
