"""All-reduce in two levels: rings inside nodes, where links are fast, and rings between nodes for what is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.calls import Out
from collectives.catalogue import algorithm, cost_of
from collectives.costs import Cost, Machine
from collectives.messages import new_tag
from collectives.reduction import Op
from collectives.ring import Ring, allgather_round, reduce_scatter_round
from collectives.schedules import MOST_MESSAGES, Step, scheduled_cost
from collectives.scratch import scratch
from ranks import nodes_of

_TAG = new_tag()


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

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    Cost:    N nodes of k ranks: 2(k-1)(alpha1 + n/k beta1) + 2(N-1)(alpha2 + n/(N k) beta2), alpha1 and beta1 inside,
             and (k-1)/k n + (N-1)/(N k) n bytes reduced.
    Order:   each element is reduced once, round the node and then round the nodes, so floats are bit-identical on all
             ranks, and op must be commutative.
    Raises:  TypeError, ValueError if x, op or out do not fit; CollectiveMismatchError if simulated ranks differ.
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
    """Return the cost of `two_level_allreduce` of n_items on each rank."""
    p, n_nodes = machine.p, len(set(machine.nodes))
    regular = machine.nodes == tuple(rank * n_nodes // p for rank in range(p))
    few = 2 * p * (n_nodes + p // n_nodes) <= MOST_MESSAGES
    # Many messages are played by the ranks of one node for all, as if all blocks were as large as the largest.
    alike = None if few or not regular else p // n_nodes
    n = n_items if alike is None else -(-n_items // p) * p

    def steps(rank: int) -> Iterator[Step]:
        place = Place.of(rank, machine.nodes)
        if place.number is None:
            yield Step(place.helps, n * itemsize, None)
            yield Step(None, 0, place.helps)
            return
        for other in place.helped:
            yield Step(None, 0, other, n * itemsize)
        bounds = block_bounds(n, len(place.inside))
        inner = block_bounds(bounds[place.number + 1] - bounds[place.number], len(place.across))
        turn = place.across.index(rank)
        yield from _round_steps(Ring.through(place.inside, place.number), bounds, itemsize, reduces=True)
        yield from _round_steps(Ring.through(place.across, turn), inner, itemsize, reduces=True)
        yield from _round_steps(Ring.through(place.across, turn), inner, itemsize, reduces=False)
        yield from _round_steps(Ring.through(place.inside, place.number), bounds, itemsize, reduces=False)
        for other in place.helped:
            yield Step(other, n * itemsize, None)

    played = scheduled_cost(machine, steps, alike)
    if n == n_items:
        return played
    bytes_sent = [_items_sent(Place.of(rank, machine.nodes), rank, n_items) * itemsize for rank in range(p)]
    return replace(played, bytes_sent=bytes_sent, time_ps=None, at_most_ps=None, about_ps=played.time_ps)


def _items_sent(place: Place, rank: int, n: int) -> int:
    """Return the elements that a carrier sends: round each ring twice, all but one block each time."""
    total = 0
    for members in (place.inside, place.across):
        turn, bounds = members.index(rank), block_bounds(n, len(members))
        sizes = [end - first for first, end in pairwise(bounds)]
        total += 2 * n - sizes[turn] - sizes[(turn + 1) % len(members)]
        n = sizes[turn]
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
