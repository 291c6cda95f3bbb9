"""Scatter: each rank gets its block of what one rank has; straight from there, or handed down a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, check_root, finish, flat_input, output, sizes_of, wire_view
from collectives.blocks import turn, turned_bounds
from collectives.costs import Cost, Machine
from collectives.schedules import Step, scheduled_cost
from collectives.trees import binomial_children, binomial_end, binomial_parent
from ranks import announce, region

_LINEAR, _BINOMIAL = 32_141, 32_142


def linear_scatter(
    comm: Any, x: Array | None, *, root: int = 0, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array:
    """Return this rank's block of the `x` of `root`, which sends each rank its own.

        ranks.run(lambda comm: linear_scatter(comm, np.arange(6).reshape(3, 2), out=np.empty(2, int)), 3).results
        # [array([0, 1]), array([2, 3]), array([4, 5])]

    Only root knows x: the others pass anything, such as None, and `out`, the array for their block.

    Shape:   x (p, ...) -> (...,). With `counts`, the number of elements for each rank: x of sum(counts) elements ->
             (counts[rank],). `x` is kept unless out is part of it.
    Cost:    p-1 sends at the root, whose out-port gives (p-1)/p n bytes: about alpha + (p-1)/p n beta.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    """
    flat, bounds, result, own = _begin("linear_scatter", comm, x, root, counts, out)
    p, rank, wire = comm.size, comm.rank, wire_view(own.dtype) or np.asarray
    with region(comm, "linear_scatter"):
        if rank != root:
            comm.Recv(wire(own), root, _LINEAR)
            return finish(result, own)
        for step in range(1, p):
            dest = (root + step) % p
            comm.Send(wire(flat[bounds[dest] : bounds[dest + 1]]), dest, _LINEAR)
        # Last, since `out` may be part of x.
        own[...] = flat[bounds[rank] : bounds[rank + 1]]
    return finish(result, own)


def binomial_scatter(
    comm: Any, x: Array | None, *, root: int = 0, counts: Sequence[int] | None = None, out: Array | None = None
) -> Array:
    """Return this rank's block of the `x` of `root`, handed down a tree in ever smaller parts.

        ranks.run(lambda comm: binomial_scatter(comm, np.arange(6).reshape(3, 2), out=np.empty(2, int)), 3).results
        # [array([0, 1]), array([2, 3]), array([4, 5])]

    Only root knows x: the others pass anything, such as None, and `out`, the array for their block.

    Shape:   x (p, ...) -> (...,). With `counts`, the number of elements for each rank: x of sum(counts) elements ->
             (counts[rank],). `x` is kept unless out is part of it.
    Cost:    at most ceil(lg p) sends; lg p alpha + (p-1)/p n beta if p is a power of two. If root is not 0, a local
             copy of n bytes that is not charged.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    flat, bounds, result, own = _begin("binomial_scatter", comm, x, root, counts, out)
    p, v = comm.size, (comm.rank - root) % comm.size
    wire = wire_view(own.dtype) or np.asarray
    places = turned_bounds(bounds, root)
    with region(comm, "binomial_scatter"):
        # Number v is rank root+v, so that the blocks of a branch of the tree lie one after the other.
        start, size = places[v], places[binomial_end(v, p)] - places[v]
        if v == 0:
            held = turn(flat, bounds[root])
        else:
            held = own if size == own.size else np.empty(size, own.dtype)
            comm.Recv(wire(held), (root + binomial_parent(v)) % p, _BINOMIAL)
        for child in binomial_children(v, p):
            part = held[places[child] - start : places[binomial_end(child, p)] - start]
            comm.Send(wire(part), (root + child) % p, _BINOMIAL)
        # Last, since `out` may be part of x.
        if held is not own:
            own[...] = held[: own.size]
    return finish(result, own)


def _begin(
    who: str, comm: Any, x: Array | None, root: int, counts: Sequence[int] | None, out: Array | None
) -> tuple[Array, list[int], Array, Array]:
    """Return x in one piece (on root), the bounds of all blocks, the result, and where to put this rank's block."""
    p, rank = comm.size, comm.rank
    check_root(who, root, p)
    given = x if rank == root else out
    if given is None and rank != root:
        raise ValueError(
            f"{who}: got out=None on rank {rank}, expected the array for this rank's block, since only root {root} "
            "knows x; remedy: pass np.empty(shape, dtype) of the block"
        )
    flat = flat_input(who, given)
    assert given is not None  # flat_input has refused it
    if counts is not None:
        sizes = sizes_of(who, "counts", counts, p, flat.size if rank == root else None)
        shape: tuple[int, ...] = (sizes[rank],)
    elif rank != root:
        sizes, shape = [flat.size] * p, given.shape
    elif given.ndim and given.shape[0] == p:
        sizes, shape = [flat.size // p] * p, given.shape[1:]
    else:
        raise ValueError(
            f"{who}: got x of shape {given.shape} on root {root}, expected ({p}, ...), a block for each of {p} ranks; "
            "remedy: reshape it, or give the sizes of blocks as counts on all ranks"
        )
    result, own = output(who, out, shape, flat.dtype)
    announce(
        comm, who, root=root, dtype=flat.dtype, **({"shape": shape} if counts is None else {"counts": tuple(sizes)})
    )
    return flat, [0, *accumulate(sizes)], result, own


# -- costs, for root 0 ---------------------------------------------------------------------------------------------


def linear_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message from the root to each rank."""
    bounds = [itemsize * bound for bound in block_bounds(n_items, machine.p)]

    def steps(rank: int) -> Iterator[Step]:
        if rank:
            yield Step(None, 0, 0)
        else:
            yield from (Step(dest, bounds[dest + 1] - bounds[dest], None) for dest in range(1, machine.p))

    return scheduled_cost(machine, steps)


def binomial_scatter_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One message down each edge of the tree, with the blocks of its branch."""
    bounds = [itemsize * bound for bound in block_bounds(n_items, machine.p)]

    def steps(rank: int) -> Iterator[Step]:
        if rank:
            yield Step(None, 0, binomial_parent(rank))
        for child in binomial_children(rank, machine.p):
            yield Step(child, bounds[binomial_end(child, machine.p)] - bounds[child], None)

    return scheduled_cost(machine, steps)
