"""Barriers: no rank leaves before every rank has entered. Messages carry no data; only their arrival matters."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from weakref import finalize

import numpy as np

from collectives.arrays import Array
from collectives.kit import algorithm, cost_of, new_tag, rounds_of
from collectives.naive import naive_allreduce_cost
from collectives.trees import binomial_children, binomial_parent
from loggp import NOBODY, Cost, Machine, Moves, Round, Rounds, cost_of_rounds
from loggp.patterns import down_a_tree, shift, up_a_tree
from ranks import hidden, mpi_of

_NOTHING = np.empty(0, np.uint8)
_TAG = new_tag()
_let_others_run = getattr(os, "sched_yield", lambda: None)


@algorithm("barrier")
def central_barrier(comm: Any, root: int = 0) -> None:
    """Wait until all ranks of `comm` have entered: `root` counts them, then lets them go.

        ranks.run(central_barrier, 5).sends  # [4, 1, 1, 1, 1]

    Cost:    2(p-1) messages pass through the root. The time is 2(L + p o) for p > 1.
    Raises:  ValueError if root is no rank of comm.
    """
    others = [other for other in range(comm.size) if other != root]
    if comm.rank != root:
        comm.Send(_NOTHING, root, _TAG)
        comm.Recv(_NOTHING, root, _TAG)
        return
    for other in others:
        comm.Recv(_NOTHING, other, _TAG)
    for other in others:
        comm.Send(_NOTHING, other, _TAG)


@algorithm("barrier")
def butterfly_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered, by exchanges with partners at distances 1, 2, 4, ...

        ranks.run(butterfly_barrier, 4).sends  # [2, 2, 2, 2]

    If p is no power of two, virtual ranks fill up to the next one, q: rank v - p also plays rank v.

    Cost:    each rank and each virtual rank sends one message in each of ceil(lg p) rounds. The time is lg p alpha if
             p is a power of two.
    Source:  Brooks, Int. J. Parallel Programming 15(4), 1986.
    """
    p, rank = comm.size, comm.rank
    q = 1 << (p - 1).bit_length()
    played = [rank, rank + p] if rank + p < q else [rank]
    distance = 1
    while distance < q:
        # Virtual rank v knows of all that differ from it in the bits below `distance`, and tells v ^ distance.
        partners = [(v ^ distance) % p for v in played]
        others = [partner for partner in partners if partner != rank]
        sent = [comm.Isend(_NOTHING, partner, _TAG) for partner in others]
        coming = [comm.Irecv(_NOTHING, partner, _TAG) for partner in others]
        for request in [*coming, *sent]:
            request.Wait()
        distance *= 2


class _Rounds:
    """The rounds of the dissemination on real MPI, as persistent requests: their arguments are checked only once."""

    def __init__(self, comm: Any) -> None:
        own = hidden(comm)
        nothing = [None, 0, mpi_of(comm).BYTE]
        self._requests = [
            (
                own.Recv_init(nothing, (comm.rank - (1 << k)) % comm.size, _TAG),
                own.Send_init(nothing, (comm.rank + (1 << k)) % comm.size, _TAG),
            )
            for k in range((comm.size - 1).bit_length())
        ]
        # Free them when `comm` is freed, or before Python ends: MPI ends after Python, when it is too late.
        finalize(self, _free, [request for pair in self._requests for request in pair], mpi_of(comm))

    def play(self) -> None:
        """Wait until all ranks have entered."""
        for coming, going in self._requests:
            coming.Start()
            going.Start()
            # With fewer processors than ranks, the rank that we wait for may need this processor; an MPI library
            # polls for long in its own wait before it lets others run.
            while not coming.Test():
                _let_others_run()
            going.Wait()


def _free(requests: list[Any], mpi: Any) -> None:
    if not mpi.Is_finalized():
        for request in requests:
            request.Free()


@algorithm("barrier", prepare=lambda comm: _Rounds(comm).play)
def dissemination_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered, with no centre and for any p.

        ranks.run(dissemination_barrier, 5).sends  # [3, 3, 3, 3, 3]

    Cost:    each rank sends one message in each of ceil(lg p) rounds. The time is ceil(lg p) alpha.
    Source:  Hensgen, Finkel, Manber, Int. J. Parallel Programming 17(1), 1988.
    """
    p, rank = comm.size, comm.rank
    distance = 1
    while distance < p:
        # Here it is known that ranks rank-distance+1 ... rank have entered; each round doubles their number.
        comm.Sendrecv(_NOTHING, (rank + distance) % p, _TAG, _NOTHING, (rank - distance) % p, _TAG)
        distance *= 2


@algorithm("barrier")
def tree_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered: counted up a binary tree to rank 0, let go down the same way.

        ranks.run(tree_barrier, 5).sends  # [2, 3, 1, 1, 1]

    Cost:    2(p-1) messages in 2 floor(lg p) rounds. A rank has at most two children.
    Source:  Mellor-Crummey & Scott, ACM TOCS 9(1), 1991: combining trees.
    """
    _up_and_down(comm, *_binary_family(comm.rank, comm.size))


@algorithm("barrier")
def tournament_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered: in round k one of each pair at distance 2^k goes on; rank 0 wins.

        ranks.run(tournament_barrier, 5).sends  # [3, 1, 2, 1, 1]

    The winner is settled beforehand: the lower rank. Winners wake the ranks that they have beaten, the last one first.

    Cost:    2(p-1) messages in 2 ceil(lg p) rounds. The time is 2 ceil(lg p) alpha if p is a power of two and o is 0.
    Source:  Hensgen, Finkel, Manber, Int. J. Parallel Programming 17(1), 1988.
    """
    _up_and_down(comm, *_tournament_family(comm.rank, comm.size))


def _binary_family(rank: int, p: int) -> tuple[int | None, list[int]]:
    """Return the parent and the children of a rank in the tree laid out as a heap."""
    children = [child for child in (2 * rank + 1, 2 * rank + 2) if child < p]
    return ((rank - 1) // 2 if rank else None), children


def _tournament_family(rank: int, p: int) -> tuple[int | None, list[int]]:
    """Return who beats a rank, and whom it beats, in the order of the rounds."""
    return (binomial_parent(rank) if rank else None), binomial_children(rank, p)[::-1]


def _up_and_down(comm: Any, parent: int | None, children: list[int]) -> None:
    """Wait for the children, tell the parent, wait for it, and let the children go in the opposite order."""
    for child in children:
        comm.Recv(_NOTHING, child, _TAG)
    if parent is not None:
        comm.Send(_NOTHING, parent, _TAG)
        comm.Recv(_NOTHING, parent, _TAG)
    for child in reversed(children):
        comm.Send(_NOTHING, child, _TAG)


# -- costs: n_items and itemsize are there because every formula has them -----------------------------------------


@cost_of(central_barrier)
def central_barrier_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `central_barrier`: that of reducing nothing through the root."""
    return naive_allreduce_cost(machine, 0, 1)


@cost_of(butterfly_barrier)
def butterfly_barrier_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `butterfly_barrier`: a rank that plays a virtual one has two partners in a round."""
    p = machine.p
    q = 1 << (p - 1).bit_length()

    def moves(ranks: Array, number: int) -> Moves:
        partners, slots = [], []
        for virtual in (ranks, ranks + p):
            other = virtual ^ (1 << number)
            partners.append(np.where((virtual < q) & (other % p != ranks), other % p, NOBODY))
            slots.append(other // p)
        # Of two messages between the same ranks, the first is received first.
        twice = partners[0] == partners[1]
        slots = [np.where(twice, first, slot) for first, slot in zip((0, 1), slots, strict=True)]
        return Moves(partners, [0, 0], partners, slots=slots)

    return cost_of_rounds(machine, Rounds(p, (p - 1).bit_length(), 2, moves, 0))


@cost_of(dissemination_barrier)
def dissemination_barrier_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `dissemination_barrier`."""
    p = machine.p
    rounds = (p - 1).bit_length()
    at_most_ps = rounds * machine.slowest_ps(0)
    if machine.is_exact() or machine.network.jitter_ps:
        return Cost(rounds, [rounds] * p, [0] * p, at_most_ps if machine.is_exact() else None, at_most_ps)
    played = cost_of_rounds(machine, Rounds.of(p, [shift(p, 1 << k, 0) for k in range(rounds)], 0))
    return replace(played, at_most_ps=at_most_ps)


@rounds_of(tree_barrier)
def tree_barrier_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """Level by level up, and down again."""
    deepest = p.bit_length() - 1
    places = [(level, side) for level in range(deepest, 0, -1) for side in (1, 2)]

    def at(number: int, level: int, side: int, *, up: bool) -> Round:
        def moves(ranks: Array) -> Moves:
            own = np.frexp(ranks + 1)[1] - 1
            child = np.where((own == level - 1) & (2 * ranks + side < p), 2 * ranks + side, NOBODY)
            parent = np.where((own == level) & (ranks % 2 == side % 2), (ranks - 1) // 2, NOBODY)
            # A rank has something to do where its children have their turn, and where it has its own.
            turns = [2 * (deepest - own - 1), 2 * (deepest - own - 1) + 1, 2 * (deepest - own) + (ranks + 1) % 2]
            then = np.full(ranks.size, 2 * len(places))
            for turn in (*turns, *(2 * len(places) - 1 - turn for turn in turns)):
                then = np.where((turn > number) & (turn < then), turn, then)
            to, source = (parent, child) if up else (child, parent)
            return Moves([to], [0], [source], then=then)

        return moves

    both = [(True, place) for place in places] + [(False, place) for place in reversed(places)]
    return [at(number, *place, up=up) for number, (up, place) in enumerate(both)]


@rounds_of(tournament_barrier)
def tournament_barrier_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """Up a binomial tree, and down again."""
    up = up_a_tree(p, lambda *_: 0)
    return [*up, *down_a_tree(p, lambda *_: 0, len(up))]
