"""Scatter: each rank gets its block of what one rank has; straight from there, or handed down a tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, bounds_of, rotate, rotated_bounds
from collectives.kit import Counts, Out, algorithm, cost_of, new_tag
from collectives.trees import binomial_children, binomial_end, binomial_parent
from loggp import Cost, Machine, Rounds, Star, cost_of_rounds
from loggp.patterns import down_a_tree, subtree_bytes

_TAG = new_tag()


@algorithm("scatter")
def linear_scatter(comm: Any, x: Out, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array:
    """Return this rank's block of the `x` of `root`, which sends each rank its own.

    Cost:    the root sends p-1 messages. Its out-port carries (p-1)/p n bytes, so the time is about
             alpha + (p-1)/p n beta.
    """
    p, bounds = comm.size, bounds_of(counts)
    if comm.rank != root:
        comm.Recv(out, root, _TAG)
        return out
    for step in range(1, p):
        dest = (root + step) % p
        comm.Send(x[bounds[dest] : bounds[dest + 1]], dest, _TAG)
    return x[bounds[root] : bounds[root + 1]]


@algorithm("scatter")
def binomial_scatter(comm: Any, x: Out, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array:
    """Return this rank's block of the `x` of `root`, handed down a tree in ever smaller parts.

    Cost:    a rank sends at most ceil(lg p) messages. The time is lg p alpha + (p-1)/p n beta if p is a power of two.
             If root is not 0, a local copy of n bytes is not charged.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    # Number v is rank root+v, so that the blocks of a branch of the tree lie one after the other.
    p, v = comm.size, (comm.rank - root) % comm.size
    bounds = bounds_of(counts)
    places = rotated_bounds(bounds, root)
    start, size = places[v], places[binomial_end(v, p)] - places[v]
    if v == 0:
        held = rotate(x, bounds[root], np.empty_like(x)) if root else x
    else:
        held = out if size == out.size else np.empty(size, out.dtype)
        comm.Recv(held, (root + binomial_parent(v)) % p, _TAG)
    for child in binomial_children(v, p):
        part = held[places[child] - start : places[binomial_end(child, p)] - start]
        comm.Send(part, (root + child) % p, _TAG)
    return held[: counts[comm.rank]]


# -- costs, for root 0 ---------------------------------------------------------------------------------------------


@cost_of(linear_scatter)
def linear_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from the root to each rank."""
    return Star(machine).spread([itemsize * size for size in block_sizes(n_items, machine.p)]).cost()


@cost_of(binomial_scatter)
def binomial_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message down each edge of the tree, with the blocks of its branch."""
    p = machine.p
    rounds = down_a_tree(p, subtree_bytes(n_items, itemsize, p))
    return cost_of_rounds(machine, Rounds.of(p, rounds, n_items * itemsize))
