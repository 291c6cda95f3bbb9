"""Gather and scatter: one rank gets the blocks of all, or hands out its own; straight, or along a tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, bounds_of, rotate, rotated_bounds
from collectives.kit import Counts, Out, algorithm, cost_of, new_tag, rounds_of
from collectives.trees import binomial_children, binomial_end, binomial_parent
from loggp import Cost, Machine, Round, Star
from loggp.patterns import down_a_tree, subtree_bytes, up_a_tree

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


# In the trees, number v is rank root+v, so that the blocks of a branch lie one after the other.


@algorithm("gather")
def binomial_gather(comm: Any, x: Array, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array | None:
    """Return on `root` the blocks `x` of all ranks of `comm`, in rank order; None elsewhere. A tree collects them.

    Cost:    each rank but the root sends one message. The time is lg p alpha + (p-1)/p n beta if p is a power of two.
             If root is not 0, a local copy of n bytes is not charged.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, v, bounds = comm.size, (comm.rank - root) % comm.size, bounds_of(counts)
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


@algorithm("scatter")
def binomial_scatter(comm: Any, x: Out, *, root: int = 0, counts: Counts = None, out: Out = None) -> Array:
    """Return this rank's block of the `x` of `root`, handed down a tree in ever smaller parts.

    Cost:    a rank sends at most ceil(lg p) messages. The time is lg p alpha + (p-1)/p n beta if p is a power of two.
             If root is not 0, a local copy of n bytes is not charged.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, v, bounds = comm.size, (comm.rank - root) % comm.size, bounds_of(counts)
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


@cost_of(linear_gather)
def linear_gather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from each rank to the root."""
    return Star(machine).collect([itemsize * size for size in block_sizes(n_items, machine.p)]).cost()


@cost_of(linear_scatter)
def linear_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from the root to each rank."""
    return Star(machine).spread([itemsize * size for size in block_sizes(n_items, machine.p)]).cost()


@rounds_of(binomial_gather)
def binomial_gather_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """One message up each edge of the tree, with the blocks of its branch."""
    return up_a_tree(p, subtree_bytes(n_items, itemsize, p))


@rounds_of(binomial_scatter)
def binomial_scatter_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """One message down each edge of the tree, with the blocks of its branch."""
    return down_a_tree(p, subtree_bytes(n_items, itemsize, p))
