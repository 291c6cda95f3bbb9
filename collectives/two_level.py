"""All-reduce in two levels: rings inside nodes, where links are fast, and rings between nodes for what is left."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from collectives.ring import Ring, allgather_round, reduce_scatter_round
from loggp import NOBODY, Cost, Machine, Moves, Round, Rounds, can_be_played, cost_of_rounds, extended_cost
from ranks import Link, nodes_of

_TAG = new_tag()
_FEW = 4  # nodes that show what one more takes


class Places:
    """Where all ranks are. Nodes have `carriers`, as many as the smallest has ranks; further ranks each help one.

    turn, index: of each rank, its node, and its place there. carriers: by node and number. number: of each rank, the
    number of the carrier that it is or helps. most_helpers: of one carrier.
    """

    def __init__(self, nodes: tuple[int, ...]) -> None:
        turns = {node: turn for turn, node in enumerate(dict.fromkeys(nodes))}
        self.turn = np.array([turns[node] for node in nodes])
        self.counts, self.order = np.bincount(self.turn), np.argsort(self.turn, kind="stable")
        self.n_nodes, self.width = len(self.counts), int(self.counts.min())
        self.most_helpers = (int(self.counts.max()) - 1) // self.width
        self.starts = np.cumsum(self.counts) - self.counts
        self.index = np.empty_like(self.turn)
        self.index[self.order] = np.arange(len(nodes)) - np.repeat(self.starts, self.counts)
        self.number = self.index % self.width
        self.carriers = self.order[self.starts[:, None] + np.arange(self.width)]

    def helpers(self, carrier: int) -> list[int]:
        """Return the ranks that help a carrier.

        Places((0, 0, 1, 1, 1)).helpers(2)  # [4]
        """
        own = self.order[self.starts[self.turn[carrier]] :][: self.counts[self.turn[carrier]]]
        helpers: list[int] = own[self.number[carrier] + self.width :: self.width].tolist()
        return helpers


_places = lru_cache(maxsize=16)(Places)


@algorithm("allreduce", commutative=True)
def two_level_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, by rings inside nodes and rings between them.

        ranks.run(lambda comm: two_level_allreduce(comm, np.array([comm.rank + 1])), 16, network="dgx-h100").results[0]
        # array([136])

    A reduce-scatter inside each node, an all-reduce of each block between the nodes, and an all-gather inside. In a
    larger node, each rank beyond the size of the smallest one hands its data to a rank that takes part.

    Cost:    on N nodes of k ranks the time is 2(k-1)(alpha1 + n/k beta1) + 2(N-1)(alpha2 + n/(N k) beta2), where
             alpha1 and beta1 are those inside a node. Each rank reduces (k-1)/k n + (N-1)/(N k) n bytes.
    Order:   each element is reduced once, round the node and then round the nodes, so floats are bit-identical on all
             ranks, and op must be commutative.
    Source:  Jia et al., arXiv 1807.11205 (hierarchical all-reduce).
    """
    places = _places(nodes_of(comm))
    turn, number = int(places.turn[comm.rank]), int(places.number[comm.rank])
    inside, across = places.carriers[turn].tolist(), places.carriers[:, number].tolist()
    if comm.rank != inside[number]:
        comm.Send(x, inside[number], _TAG)
        comm.Recv(out, inside[number], _TAG)
        return out
    helpers = places.helpers(comm.rank)
    mine, came = x, scratch(comm, 1, x.size, x.dtype)[0] if helpers else x
    for other in helpers:
        comm.Recv(came, other, _TAG)
        op(mine, came, out=out)
        mine = out
    _in_two_levels(comm, mine, out, op, Ring.through(inside, number), Ring.through(across, turn))
    for other in helpers:
        comm.Send(out, other, _TAG)
    return out


def _in_two_levels(comm: Any, mine: Array, out: Array, op: Op, inside: Ring, across: Ring) -> None:
    """Put the reduction of `mine` over all carriers into `out`."""
    bounds = block_bounds(out.size, inside.p)
    block = out[bounds[inside.place] : bounds[inside.place + 1]]
    inner = block_bounds(block.size, across.p)
    if inside.p > 1:
        mine = reduce_scatter_round(comm, inside, mine, bounds, op, block)
    reduce_scatter_round(comm, across, mine, inner, op, block[inner[across.place] : inner[across.place + 1]])
    allgather_round(comm, across, block, inner)
    allgather_round(comm, inside, out, bounds)


# -- costs ---------------------------------------------------------------------------------------------------------


class Levels:
    """The schedule. sizes: bytes of a block, and of a part of it, if all are alike; None: as they are cut."""

    def __init__(self, places: Places, n_items: int, itemsize: int, sizes: list[int] | None = None) -> None:
        self.places, self.n_items, self.itemsize, self.sizes = places, n_items, itemsize, sizes
        self.in_rings = 2 * (places.width - 1 + places.n_nodes - 1)  # rounds
        self.n_rounds = self.in_rings + 2 * places.most_helpers

    def part(self, level: int, ranks: Array, place: Array) -> Any:
        """Return the bytes of a block in the ring inside a node (level 0), or of a part of it in the one across (1)."""
        if self.sizes is not None:
            return self.sizes[level]
        width, n_nodes = self.places.width, self.places.n_nodes
        block = place % width if level == 0 else self.places.number[ranks]
        items = self.n_items // width + (block < self.n_items % width)
        return self.itemsize * (items if level == 0 else items // n_nodes + (place % n_nodes < items % n_nodes))

    def rounds(self) -> list[Round]:
        """Return the rounds in which helpers hand over, those of the rings, and those in which helpers get results."""
        helping = range(1, self.places.most_helpers + 1)
        inside = [(0, step) for step in range(self.places.width - 1)]
        across = [(1, step) for step in range(self.places.n_nodes - 1)]
        rings = [self._ring(*step, reduces=True) for step in inside + across]
        rings += [self._ring(*step, reduces=False) for step in across + inside]
        return [*(self._help(n, back=False) for n in helping), *rings, *(self._help(n, back=True) for n in helping)]

    def _ring(self, level: int, step: int, *, reduces: bool) -> Round:
        places = self.places

        def moves(ranks: Array) -> Moves:
            turn, number, carries = places.turn[ranks], places.number[ranks], places.index[ranks] < places.width
            place = (number, turn)[level]
            if level == 0:
                right, left = (places.carriers[turn, each % places.width] for each in (place + 1, place - 1))
            else:
                right, left = (places.carriers[each % places.n_nodes, number] for each in (place + 1, place - 1))
            to, source = np.where(carries, right, NOBODY), np.where(carries, left, NOBODY)
            if not reduces:
                return Moves([to], [self.part(level, ranks, place - step)], [source])
            sent, reduced = (self.part(level, ranks, place - ago - step) for ago in (1, 2))
            return Moves([to], [sent], [source], carries * reduced)

        return moves

    def _help(self, turn: int, *, back: bool) -> Round:
        places, n_bytes = self.places, self.n_items * self.itemsize

        def moves(ranks: Array) -> Moves:
            node, place = places.turn[ranks], places.index[ranks] + turn * places.width
            is_helped = (place < (turn + 1) * places.width) & (place < places.counts[node])
            own = np.minimum(places.starts[node] + place, places.order.size - 1)
            helper = np.where(is_helped, places.order[own], NOBODY)
            helps = places.index[ranks] // places.width == turn
            carrier = np.where(helps, places.carriers[node, places.number[ranks]], NOBODY)
            to, source = (helper, carrier) if back else (carrier, helper)
            return Moves([to], [n_bytes], [source], 0 if back else n_bytes * is_helped)

        return moves

    def sent(self) -> tuple[Array, Array]:
        """Return the messages and the bytes that each rank sends."""
        places, n_bytes, ranks = self.places, self.n_items * self.itemsize, np.arange(self.places.turn.size)
        helped, carries = (places.counts[places.turn] - 1 - places.number) // places.width, places.index < places.width
        # Each block of a ring is sent twice, but its own and its right neighbour's once.
        n_sent = 2 * n_bytes + self.part(0, ranks, places.number) - self.part(0, ranks, places.number + 1)
        n_sent -= self.part(1, ranks, places.turn) + self.part(1, ranks, places.turn + 1)
        return np.where(carries, self.in_rings + helped, 1), np.where(carries, n_sent + helped * n_bytes, n_bytes)


@cost_of(two_level_allreduce)
def two_level_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `two_level_allreduce` of n_items on each rank; of many nodes, by what a few take.

    If these have different numbers of ranks, `rounds` may then be one too many.
    """
    places, network, n_bytes = Places(machine.nodes), machine.network, n_items * itemsize
    levels = Levels(places, n_items, itemsize)
    if can_be_played(n_rounds=levels.n_rounds, n_in_rounds=levels.n_rounds * machine.p):
        return cost_of_rounds(machine, Rounds.of(machine.p, levels.rounds(), n_bytes))
    # Treat all blocks as if they were as large as the largest, and nodes as if they had no helpers; then the ranks of
    # all nodes do the same as those of one.
    first = np.zeros(1, int)
    sizes = [int(levels.part(level, places.carriers[0, :1], first)[0]) for level in (0, 1)]

    def play(few: int) -> Cost:
        nodes = tuple(rank // places.width for rank in range(few * places.width))
        rounds = Levels(Places(nodes), n_items, itemsize, sizes).rounds()
        return cost_of_rounds(replace(machine, nodes=nodes), Rounds.of(len(nodes), rounds, n_bytes))

    def both_ways_ps(link: Link, n_bytes: int) -> int:
        return 2 * network.message_ps(link, n_bytes) + network.reduce_ps(n_bytes)

    few = min(2 * _FEW, places.n_nodes)
    in_rings_ps: int | None
    if can_be_played(n_in_rounds=2 * (places.width + few) * few * places.width):
        in_rings_ps = (extended_cost(_FEW, places.n_nodes, play) if few == 2 * _FEW else play(few)).expected_ps
    else:
        in_rings_ps = (places.width - 1) * both_ways_ps(network.intra, sizes[0])
        in_rings_ps += (places.n_nodes - 1) * both_ways_ps(network.inter, sizes[1])
    helping_ps = places.most_helpers * both_ways_ps(network.intra, n_bytes)
    about_ps = None if in_rings_ps is None else in_rings_ps + helping_ps
    sends, bytes_sent = levels.sent()
    n_rounds = levels.in_rings + 2 * (places.most_helpers > 0)
    return Cost(n_rounds, sends.tolist(), bytes_sent.tolist(), None, None, about_ps)
