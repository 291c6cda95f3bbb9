"""All-reduce in two levels: rings inside nodes, where links are fast, and rings between nodes for what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds, block_sizes
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from collectives.ring import Ring, allgather_round, reduce_scatter_round
from loggp import (
    Cost,
    Machine,
    Moves,
    Round,
    Rounds,
    Step,
    can_be_played,
    cost_of_rounds,
    extended_cost,
    scheduled_cost,
)
from loggp.patterns import Lines
from ranks import nodes_of

_TAG = new_tag()
# So many nodes show what one more takes.
_FEW = 4


class Place(NamedTuple):
    """Where a rank is. Nodes have `carriers`, as many as the smallest node has ranks; further ranks hand over to one.

    inside: the carriers of its node. across: the carriers with its number, of all nodes. number: which carrier it is,
    None if it is none. helps: the rank that it hands over to. helped: the ranks that hand over to it.
    """

    inside: list[int]
    across: list[int]
    number: int | None
    helps: int | None
    helped: list[int]

    @classmethod
    def of(cls, rank: int, nodes: tuple[int, ...]) -> Place:
        """Return the place of `rank`, given the node of every rank.

        Place.of(4, (0, 0, 1, 1, 1))  # Place(inside=[2, 3], across=[0, 2], number=None, helps=2, helped=[])
        """
        members: dict[int, list[int]] = {}
        for each, node in enumerate(nodes):
            members.setdefault(node, []).append(each)
        width = min(map(len, members.values()))
        own = members[nodes[rank]]
        number = own.index(rank)
        across = [others[number % width] for others in members.values()]
        if number >= width:
            return cls(own[:width], across, None, own[number % width], [])
        return cls(own[:width], across, number, None, own[number + width :: width])


@algorithm("allreduce", commutative=True)
def two_level_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, by rings inside nodes and rings between them.

        ranks.run(lambda comm: two_level_allreduce(comm, np.array([comm.rank + 1])), 16, network="dgx-h100").results[0]
        # array([136])

    A reduce-scatter inside each node, an all-reduce of each block between the nodes, and an all-gather inside. Nodes
    may have different numbers of ranks: those that the smallest has not hand their data to one that goes on.

    Cost:    on N nodes of k ranks the time is 2(k-1)(alpha1 + n/k beta1) + 2(N-1)(alpha2 + n/(N k) beta2), where
             alpha1 and beta1 are those inside a node. Each rank reduces (k-1)/k n + (N-1)/(N k) n bytes.
    Order:   each element is reduced once, round the node and then round the nodes, so floats are bit-identical on all
             ranks, and op must be commutative.
    Source:  Jia et al., arXiv 1807.11205 (hierarchical all-reduce).
    """
    place = Place.of(comm.rank, nodes_of(comm))
    if place.number is None:
        comm.Send(x, place.helps, _TAG)
        comm.Recv(out, place.helps, _TAG)
        return out
    mine, came = x, scratch(comm, 1, x.size, x.dtype)[0] if place.helped else x
    for other in place.helped:
        comm.Recv(came, other, _TAG)
        op(mine, came, out=out)
        mine = out
    _in_two_levels(comm, mine, out, op, place, place.number)
    for other in place.helped:
        comm.Send(out, other, _TAG)
    return out


def _in_two_levels(comm: Any, mine: Array, out: Array, op: Op, place: Place, number: int) -> None:
    """Put the reduction of `mine` over all carriers into `out`."""
    inside, across = Ring.through(place.inside, number), Ring.through(place.across, place.across.index(comm.rank))
    bounds = block_bounds(out.size, inside.p)
    block = out[bounds[number] : bounds[number + 1]]
    inner = block_bounds(block.size, across.p)
    if inside.p == 1:
        block[...] = mine
    else:
        reduce_scatter_round(comm, inside, mine, bounds, op, block)
    reduce_scatter_round(comm, across, block, inner, op, block[inner[across.place] : inner[across.place + 1]])
    allgather_round(comm, across, block, inner)
    allgather_round(comm, inside, out, bounds)


@cost_of(two_level_allreduce)
def two_level_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `two_level_allreduce` of n_items on each rank; of many nodes, by what a few take."""
    p, n_nodes = machine.p, len(set(machine.nodes))
    if machine.nodes != tuple(rank * n_nodes // p for rank in range(p)):
        return _cost_of_uneven_nodes(machine, n_items, itemsize)
    width = p // n_nodes
    inside = Lines(width, 1, np.full(p, n_items), itemsize)
    across = inside.further(n_nodes)
    n_rounds = 2 * (width - 1) + 2 * (n_nodes - 1)
    if can_be_played(n_rounds=n_rounds):
        down = [_ring_round(line, step, True) for line in (inside, across) for step in range(line.side - 1)]
        back = [_ring_round(line, step, False) for line in (across, inside) for step in range(line.side - 1)]
        return cost_of_rounds(machine, Rounds.of(p, down + back, n_items * itemsize))
    # Treat all blocks as if they were as large as the largest; then the ranks of all nodes do the same as those of one.
    block, inner = (int(line.part(np.arange(1), np.arange(1))[0]) for line in (inside, across))

    def play(few: int) -> Cost:
        def steps(rank: int) -> Iterator[Step]:
            node = rank - rank % width
            left, right = node + (rank - 1) % width, node + (rank + 1) % width
            before, after = (rank - width) % (few * width), (rank + width) % (few * width)
            yield from [Step(right, block, left, block)] * (width - 1)
            yield from [Step(after, inner, before, inner)] * (few - 1)
            yield from [Step(after, inner, before)] * (few - 1)
            yield from [Step(right, block, left)] * (width - 1)

        return scheduled_cost(machine.first(few * width), steps, width)

    about = extended_cost(_FEW, n_nodes, play) if n_nodes >= 2 * _FEW else play(n_nodes)
    ranks, bytes_sent = np.arange(p), np.zeros(p, np.int64)
    for line in (inside, across):
        place = line.place(ranks)
        bytes_sent += 2 * line.left * itemsize - line.part(ranks, place) - line.part(ranks, place + 1)
    return Cost(n_rounds, [n_rounds] * p, bytes_sent.tolist(), None, None, about.expected_ps)


def _items_sent(rings: list[tuple[int, int]], n: int) -> int:
    """Return the elements that a carrier sends: round rings of p, at a place, twice, all but one block each time."""
    total = 0
    for p, place in rings:
        sizes = block_sizes(n, p)
        total += 2 * n - sizes[place] - sizes[(place + 1) % p]
        n = sizes[place]
    return total


def _round_steps(ring: Ring, bounds: list[int], itemsize: int, *, reduces: bool) -> Iterator[Step]:
    """Yield the steps of a rank in a reduce-scatter, or an all-gather, round a ring."""
    p, place, left, right = ring
    sizes = [(bounds[block + 1] - bounds[block]) * itemsize for block in range(p)]
    for step in range(p - 1):
        if reduces:
            yield Step(right, sizes[(place - 1 - step) % p], left, sizes[(place - 2 - step) % p])
        else:
            yield Step(right, sizes[(place - step) % p], left)


def _ring_round(line: Lines, step: int, reduces: bool) -> Round:
    def moves(ranks: Array) -> Moves:
        place = line.place(ranks)
        right, left = line.rank(ranks, place + 1), line.rank(ranks, place - 1)
        if reduces:
            return Moves([right], [line.part(ranks, place - 1 - step)], [left], line.part(ranks, place - 2 - step))
        return Moves([right], [line.part(ranks, place - step)], [left])

    return moves


def _cost_of_uneven_nodes(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost where nodes have different numbers of ranks: played, or of many ranks estimated."""
    n_bytes, counts = n_items * itemsize, Counter(machine.nodes)
    n_nodes, width, most = len(counts), min(counts.values()), max(counts.values())
    n_rounds = 2 * (width - 1) + 2 * (n_nodes - 1)
    if can_be_played(n_messages=machine.p * n_rounds):
        return scheduled_cost(machine, lambda rank: _steps(Place.of(rank, machine.nodes), rank, n_items, itemsize))
    network, helpers = machine.network, -(-most // width) - 1
    block, inner = -(-n_items // width) * itemsize, -(-n_items // (width * n_nodes)) * itemsize
    about_ps = helpers * (2 * network.message_ps(network.intra, n_bytes) + network.reduce_ps(n_bytes))
    about_ps += (width - 1) * (2 * network.message_ps(network.intra, block) + network.reduce_ps(block))
    about_ps += (n_nodes - 1) * (2 * network.message_ps(network.inter, inner) + network.reduce_ps(inner))
    sends, bytes_sent, seen = [], [], Counter[int]()
    turns = {node: turn for turn, node in enumerate(counts)}
    for node in machine.nodes:
        number = seen[node]
        seen[node] += 1
        if number >= width:
            sends.append(1)
            bytes_sent.append(n_bytes)
            continue
        helped = len(range(number + width, counts[node], width))
        sends.append(n_rounds + helped)
        round_both = _items_sent([(width, number), (n_nodes, turns[node])], n_items)
        bytes_sent.append(round_both * itemsize + helped * n_bytes)
    return Cost(n_rounds + 2 * (helpers > 0), sends, bytes_sent, None, None, about_ps)


def _steps(place: Place, rank: int, n: int, itemsize: int) -> Iterator[Step]:
    """Yield the steps of a rank of n elements, where nodes have different numbers of ranks."""
    if place.number is None:
        yield Step(place.helps, n * itemsize, None)
        yield Step(None, 0, place.helps)
        return
    for other in place.helped:
        yield Step(None, 0, other, n * itemsize)
    bounds = block_bounds(n, len(place.inside))
    inner = block_bounds(bounds[place.number + 1] - bounds[place.number], len(place.across))
    inside, across = Ring.through(place.inside, place.number), Ring.through(place.across, place.across.index(rank))
    yield from _round_steps(inside, bounds, itemsize, reduces=True)
    yield from _round_steps(across, inner, itemsize, reduces=True)
    yield from _round_steps(across, inner, itemsize, reduces=False)
    yield from _round_steps(inside, bounds, itemsize, reduces=False)
    for other in place.helped:
        yield Step(other, n * itemsize, None)
