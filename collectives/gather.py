"""Gather: one rank gets the blocks of all, in rank order; straight from each, or collected by a tree on their way."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, bounds_of, rotate, rotated_bounds
from collectives.kit import Counts, Out, algorithm, cost_of, new_tag
from collectives.trees import binomial_children, binomial_end, binomial_parent
from loggp import Cost, Machine, Rounds, Star, cost_of_rounds
from loggp.patterns import subtree_bytes, up_a_tree

_TAG = new_tag()


@algorithm("gather")
def linear_gather(comm: Any, x: Array, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array | None:
    """Return on `root` the blocks `x` of all ranks of `comm`, in rank order; None elsewhere. All send to root.

    Cost:    each rank but the root sends one message. The root's in-port receives (p-1)/p n bytes, so the time is
             about alpha + (p-1)/p n beta.
    """
    p, bounds = comm.size, bounds_of(counts)
    if comm.rank != root:
        comm.Send(x, root, _TAG)
        return None
    for step in range(1, p):
        source = (root + step) % p
        comm.Recv(out[bounds[source] : bounds[source + 1]], source, _TAG)
    return out


@algorithm("gather")
def binomial_gather(comm: Any, x: Array, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array | None:
    """Return on `root` the blocks `x` of all ranks of `comm`, in rank order; None elsewhere. A tree collects them.

    Cost:    each rank but the root sends one message. The time is lg p alpha + (p-1)/p n beta if p is a power of two.
             If root is not 0, a local copy of n bytes is not charged.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    # Number v is rank root+v, so that the blocks of a branch of the tree lie one after the other.
    p, v = comm.size, (comm.rank - root) % comm.size
    bounds = bounds_of(counts)
    places, tree = rotated_bounds(bounds, root), binomial_children(v, p)
    start, collected = places[v], x
    if tree:
        collected = out if comm.rank == root == 0 else np.empty(places[binomial_end(v, p)] - start, x.dtype)
        collected[: x.size] = x
    for child in reversed(tree):
        comm.Recv(collected[places[child] - start : places[binomial_end(child, p)] - start], (root + child) % p, _TAG)
    if v:
        comm.Send(collected, (root + binomial_parent(v)) % p, _TAG)
        return None
    return rotate(collected, bounds[p] - bounds[root], out) if root else out


# -- costs, for root 0 ---------------------------------------------------------------------------------------------


@cost_of(linear_gather)
def linear_gather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from each rank to the root."""
    return Star(machine).collect([itemsize * size for size in block_sizes(n_items, machine.p)]).cost()


@cost_of(binomial_gather)
def binomial_gather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message up each edge of the tree, with the blocks of its branch."""
    p = machine.p
    rounds = up_a_tree(p, subtree_bytes(n_items, itemsize, p))
    return cost_of_rounds(machine, Rounds.of(p, rounds, n_items * itemsize))
