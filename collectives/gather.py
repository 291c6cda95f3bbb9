"""Gather: one rank gets the blocks of all, in rank order; straight from each, or collected by a tree on their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, check_root, finish, flat_input, output, wire_view
from collectives.blocks import counts_of, turn_back, turned_bounds
from collectives.costs import Cost, Machine
from collectives.schedules import Step, scheduled_cost
from collectives.trees import binomial_children, binomial_end, binomial_parent
from ranks import announce, region

_LINEAR, _BINOMIAL = 32_131, 32_132


def linear_gather(
    comm: Any, x: Array, *, root: int = 0, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array | None:
    """Return on `root` the blocks `x` of all ranks of `comm`, in rank order; None elsewhere. All send to root.

        ranks.run(lambda comm: linear_gather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
             out counts on root only.
    Cost:    1 send a rank, none at the root, whose in-port takes (p-1)/p n bytes: about alpha + (p-1)/p n beta.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    """
    flat, bounds, result, whole = _begin("linear_gather", comm, x, root, counts, out)
    p, rank, wire = comm.size, comm.rank, wire_view(flat.dtype) or np.asarray
    with region(comm, "linear_gather"):
        if result is None:
            comm.Send(wire(flat), root, _LINEAR)
            return None
        whole[bounds[rank] : bounds[rank + 1]] = flat
        for step in range(1, p):
            source = (root + step) % p
            comm.Recv(wire(whole[bounds[source] : bounds[source + 1]]), source, _LINEAR)
    return finish(result, whole)


def binomial_gather(
    comm: Any, x: Array, *, root: int = 0, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array | None:
    """Return on `root` the blocks `x` of all ranks of `comm`, in rank order; None elsewhere. A tree collects them.

        ranks.run(lambda comm: binomial_gather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's
             block: x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
             out counts on root only.
    Cost:    1 send a rank, none at the root; lg p alpha + (p-1)/p n beta if p is a power of two. If root is not 0, a
             local copy of n bytes that is not charged.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    flat, bounds, result, whole = _begin("binomial_gather", comm, x, root, counts, out)
    p, v = comm.size, (comm.rank - root) % comm.size
    wire = wire_view(flat.dtype) or np.asarray
    places = turned_bounds(bounds, root)
    with region(comm, "binomial_gather"):
        # Number v is rank root+v, so that the blocks of a branch of the tree lie one after the other.
        start, tree, collected = places[v], binomial_children(v, p), flat
        if tree or result is not None:
            size = places[binomial_end(v, p)] - start
            collected = whole if comm.rank == root == 0 else np.empty(size, flat.dtype)
            collected[: flat.size] = flat
        for child in reversed(tree):
            came = collected[places[child] - start : places[binomial_end(child, p)] - start]
            comm.Recv(wire(came), (root + child) % p, _BINOMIAL)
        if result is None:
            comm.Send(wire(collected), (root + binomial_parent(v)) % p, _BINOMIAL)
            return None
    if collected is not whole:
        turn_back(collected, whole, bounds[root])
    return finish(result, whole)


def _begin(
    who: str, comm: Any, x: Array, root: int, counts: Sequence[int] | None, out: Array | None
) -> tuple[Array, list[int], Array | None, Array]:
    """Return x in one piece, the bounds of all blocks, the result (None but on root), and where to put it together."""
    flat, p, rank = flat_input(who, x), comm.size, comm.rank
    check_root(who, root, p)
    bounds = [0, *accumulate(counts_of(who, counts, flat.size, comm))]
    result, whole = None, flat
    if rank == root:
        result, whole = output(who, out, (p, *x.shape) if counts is None else (bounds[p],), flat.dtype)
    alike = {"shape": x.shape} if counts is None else {"counts": tuple(np.diff(bounds).tolist())}
    announce(comm, who, root=root, dtype=x.dtype, **alike)
    return flat, bounds, result, whole


# -- costs, for root 0 ---------------------------------------------------------------------------------------------


def linear_gather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from each rank to the root."""
    bounds = [itemsize * bound for bound in block_bounds(n_items, machine.p)]

    def steps(rank: int) -> Iterator[Step]:
        if rank:
            yield Step(0, bounds[rank + 1] - bounds[rank], None)
        else:
            yield from (Step(None, 0, source) for source in range(1, machine.p))

    return scheduled_cost(machine, steps)


def binomial_gather_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message up each edge of the tree, with the blocks of its branch."""
    bounds = [itemsize * bound for bound in block_bounds(n_items, machine.p)]

    def steps(rank: int) -> Iterator[Step]:
        yield from (Step(None, 0, child) for child in reversed(binomial_children(rank, machine.p)))
        if rank:
            yield Step(binomial_parent(rank), bounds[binomial_end(rank, machine.p)] - bounds[rank], None)

    return scheduled_cost(machine, steps)
