"""The table of all algorithms: what each computes, what it needs, and what it costs.

Sizes in formulas count, for each operation, `n_items` elements of: x on each rank (allreduce, reduce, broadcast,
reduce_scatter, scan, exscan, alltoall), the whole on the root (gather, scatter), the result (allgather).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collectives.all_to_all import (
    bruck_alltoall,
    bruck_alltoall_cost,
    linear_alltoall,
    linear_alltoall_cost,
    pairwise_alltoall,
    pairwise_alltoall_cost,
)
from collectives.allgather import (
    bruck_allgather,
    bruck_allgather_cost,
    neighbour_exchange_allgather,
    neighbour_exchange_allgather_cost,
    recursive_doubling_allgather,
    recursive_doubling_allgather_cost,
)
from collectives.barriers import (
    butterfly_barrier,
    butterfly_barrier_cost,
    central_barrier,
    central_barrier_cost,
    dissemination_barrier,
    dissemination_barrier_cost,
    tournament_barrier,
    tournament_barrier_cost,
    tree_barrier,
    tree_barrier_cost,
)
from collectives.bcube import bcube_allreduce, bcube_allreduce_cost
from collectives.broadcast import (
    binomial_broadcast,
    binomial_broadcast_cost,
    chain_broadcast,
    chain_broadcast_cost,
    scatter_allgather_broadcast,
    scatter_allgather_broadcast_cost,
)
from collectives.costs import Cost, Formula, Machine
from collectives.double_tree import double_tree_allreduce, double_tree_allreduce_cost
from collectives.exscan import (
    linear_exscan,
    linear_exscan_cost,
    recursive_doubling_exscan,
    recursive_doubling_exscan_cost,
)
from collectives.gather import binomial_gather, binomial_gather_cost, linear_gather, linear_gather_cost
from collectives.halving import (
    halving_doubling_allreduce,
    halving_doubling_allreduce_cost,
    rabenseifner_reduce,
    rabenseifner_reduce_cost,
    recursive_doubling_allreduce,
    recursive_doubling_allreduce_cost,
)
from collectives.naive import naive_allreduce, naive_allreduce_cost
from collectives.reduce import binomial_reduce, binomial_reduce_cost
from collectives.reduce_scatter import (
    pairwise_reduce_scatter,
    pairwise_reduce_scatter_cost,
    recursive_halving_reduce_scatter,
    recursive_halving_reduce_scatter_cost,
)
from collectives.ring import (
    ring_allgather,
    ring_allgather_cost,
    ring_allreduce,
    ring_allreduce_cost,
    ring_reduce_scatter,
    ring_reduce_scatter_cost,
)
from collectives.scan import linear_scan, linear_scan_cost, recursive_doubling_scan, recursive_doubling_scan_cost
from collectives.scatter import binomial_scatter, binomial_scatter_cost, linear_scatter, linear_scatter_cost
from collectives.segmented import segmented_ring_allreduce, segmented_ring_allreduce_cost
from collectives.shared import flag_barrier, flag_barrier_cost, staged_allreduce, staged_allreduce_cost
from collectives.two_level import two_level_allreduce, two_level_allreduce_cost
from ranks import Network


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A function and its cost formula. commutative: whether it refuses an op that is not.

    one_node: whether it wants all ranks on one node. overlaps: whether it, and its formula, count on messages that
    travel while their sender computes.
    """

    function: Callable[..., Any]
    cost: Formula
    commutative: bool = False
    one_node: bool = False
    overlaps: bool = False


CATALOGUE: dict[str, dict[str, Algorithm]] = {
    "allreduce": {
        "naive": Algorithm(naive_allreduce, naive_allreduce_cost),
        "ring": Algorithm(ring_allreduce, ring_allreduce_cost, commutative=True),
        "recursive_doubling": Algorithm(recursive_doubling_allreduce, recursive_doubling_allreduce_cost),
        "halving_doubling": Algorithm(halving_doubling_allreduce, halving_doubling_allreduce_cost),
        "staged": Algorithm(staged_allreduce, staged_allreduce_cost, one_node=True),
        "segmented_ring": Algorithm(
            segmented_ring_allreduce, segmented_ring_allreduce_cost, commutative=True, overlaps=True
        ),
        "bcube": Algorithm(bcube_allreduce, bcube_allreduce_cost),
        "two_level": Algorithm(two_level_allreduce, two_level_allreduce_cost, commutative=True),
        "double_tree": Algorithm(double_tree_allreduce, double_tree_allreduce_cost, commutative=True, overlaps=True),
    },
    "broadcast": {
        "binomial": Algorithm(binomial_broadcast, binomial_broadcast_cost),
        "scatter_allgather": Algorithm(scatter_allgather_broadcast, scatter_allgather_broadcast_cost),
        "chain": Algorithm(chain_broadcast, chain_broadcast_cost, overlaps=True),
    },
    "reduce": {
        "binomial": Algorithm(binomial_reduce, binomial_reduce_cost),
        "rabenseifner": Algorithm(rabenseifner_reduce, rabenseifner_reduce_cost),
    },
    "reduce_scatter": {
        "ring": Algorithm(ring_reduce_scatter, ring_reduce_scatter_cost, commutative=True),
        "recursive_halving": Algorithm(
            recursive_halving_reduce_scatter, recursive_halving_reduce_scatter_cost, commutative=True
        ),
        "pairwise": Algorithm(pairwise_reduce_scatter, pairwise_reduce_scatter_cost),
    },
    "allgather": {
        "ring": Algorithm(ring_allgather, ring_allgather_cost),
        "recursive_doubling": Algorithm(recursive_doubling_allgather, recursive_doubling_allgather_cost),
        "bruck": Algorithm(bruck_allgather, bruck_allgather_cost),
        "neighbour_exchange": Algorithm(neighbour_exchange_allgather, neighbour_exchange_allgather_cost),
    },
    "gather": {
        "linear": Algorithm(linear_gather, linear_gather_cost),
        "binomial": Algorithm(binomial_gather, binomial_gather_cost),
    },
    "scatter": {
        "linear": Algorithm(linear_scatter, linear_scatter_cost),
        "binomial": Algorithm(binomial_scatter, binomial_scatter_cost),
    },
    "alltoall": {
        "linear": Algorithm(linear_alltoall, linear_alltoall_cost),
        "pairwise": Algorithm(pairwise_alltoall, pairwise_alltoall_cost),
        "bruck": Algorithm(bruck_alltoall, bruck_alltoall_cost),
    },
    "scan": {
        "linear": Algorithm(linear_scan, linear_scan_cost),
        "recursive_doubling": Algorithm(recursive_doubling_scan, recursive_doubling_scan_cost),
    },
    "exscan": {
        "linear": Algorithm(linear_exscan, linear_exscan_cost),
        "recursive_doubling": Algorithm(recursive_doubling_exscan, recursive_doubling_exscan_cost),
    },
    "barrier": {
        "central": Algorithm(central_barrier, central_barrier_cost),
        "butterfly": Algorithm(butterfly_barrier, butterfly_barrier_cost),
        "dissemination": Algorithm(dissemination_barrier, dissemination_barrier_cost),
        "tree": Algorithm(tree_barrier, tree_barrier_cost),
        "tournament": Algorithm(tournament_barrier, tournament_barrier_cost),
        "flag": Algorithm(flag_barrier, flag_barrier_cost, one_node=True),
    },
}

BY_FUNCTION: dict[str, Algorithm] = {
    algorithm.function.__name__: algorithm for algorithms in CATALOGUE.values() for algorithm in algorithms.values()
}


def cost(
    algorithm: str, network: Network, p: int, n_items: int = 0, itemsize: int = 1, buffering: str = "eager"
) -> Cost:
    """Return the predicted cost of a call of `algorithm` by its function's name, on ranks 0 to p-1 of `network`.

        cost("ring_allreduce", ranks.presets["alpha-beta"], 4, 1000, 8).time_ps  # 7200000: 6 (1 us + 2000 B / 10 GB/s)

    n_items, itemsize: elements of x on each rank (of the result for ring_allgather) and bytes of one; roots are 0.
    """
    if algorithm not in BY_FUNCTION:
        raise ValueError(
            f"cost: got algorithm {algorithm!r}, expected one of {', '.join(BY_FUNCTION)}; remedy: choose one of these"
        )
    if p < 1 or n_items < 0 or itemsize < 0 or buffering not in ("none", "eager", "infinite"):
        raise ValueError(
            f"cost: got p={p}, n_items={n_items}, itemsize={itemsize}, buffering={buffering!r}, expected p from 1, "
            "the others from 0, and none, eager or infinite; remedy: correct the one that differs"
        )
    return BY_FUNCTION[algorithm].cost(Machine.of(network, p, buffering), n_items, itemsize)
