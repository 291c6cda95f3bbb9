"""Scan: each rank gets the reduction over the ranks up to itself, or up to the one before (exscan), in rank order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array, finish, flat_input, output, spares, wire_view
from collectives.costs import Cost, Machine
from collectives.reduction import Op, Reduce, op_name, reducer
from collectives.schedules import Step, scheduled_cost
from ranks import announce, mpi_of, region

_LINEAR, _DOUBLING = 32_145, 32_146


def linear_scan(comm: Any, x: Array, op: Op = np.add, *, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`, handed from rank to rank.

        ranks.run(lambda comm: linear_scan(comm, np.array([comm.rank + 1])), 3).results
        # [array([1]), array([3]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    1 send a rank, none of the last; (p-1)(alpha + n beta + n gamma).
    Order:   op(... op(op(x0, x1), x2) ...), so any op is right.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    """
    flat, reduce, result, whole = begin_scan("linear_scan", comm, x, op, out)
    wire = wire_view(flat.dtype) or np.asarray
    with region(comm, "linear_scan"):
        if comm.rank == 0:
            whole[...] = flat
        else:
            (below,) = spares(comm, 1, flat.size, flat.dtype)
            comm.Recv(wire(below), comm.rank - 1, _LINEAR)
            reduce(below, flat, out=whole)
        if comm.rank < comm.size - 1:
            comm.Send(wire(whole), comm.rank + 1, _LINEAR)
    return finish(result, whole)


def recursive_doubling_scan(comm: Any, x: Array, op: Op = np.add, *, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`; each round doubles how far it reaches.

        ranks.run(lambda comm: recursive_doubling_scan(comm, np.array([comm.rank + 1])), 3).results
        # [array([1]), array([3]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    ceil(lg p) rounds, in that at distance d a send of each rank but the last d; ceil(lg p) (alpha + n beta +
             n gamma).
    Order:   ranks in order, grouped as op(what the ranks d below have, what this one has) for d = 1, 2, 4, ...: op
             must be associative, and floats differ from those of linear_scan.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Hillis & Steele, CACM 29(12), 1986.
    """
    flat, reduce, result, whole = begin_scan("recursive_doubling_scan", comm, x, op, out)
    wire = wire_view(flat.dtype) or np.asarray
    (came,) = spares(comm, 1, flat.size, flat.dtype)
    with region(comm, "recursive_doubling_scan"):
        whole[...] = flat
        for above, below, is_reduced in doublings(comm.rank, comm.size, mpi_of(comm).PROC_NULL):
            # `whole` is over the ranks above `below` and up to this one.
            comm.Sendrecv(wire(whole), above, _DOUBLING, wire(came), below, _DOUBLING)
            if is_reduced:
                reduce(came, whole, out=whole)
    return finish(result, whole)


def doublings(rank: int, p: int, nobody: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield, for distances 1, 2, 4, ..., the rank so far above, the one below, and whether that one exists."""
    distance = 1
    while distance < p:
        above, below = rank + distance, rank - distance
        yield above if above < p else nobody, below if below >= 0 else nobody, below >= 0
        distance *= 2


def begin_scan(
    who: str, comm: Any, x: Array, op: Op, out: Array | None, **more: Any
) -> tuple[Array, Reduce, Array, Array]:
    """Return x in one piece, the reduction, the result, and where to compute it."""
    flat = flat_input(who, x)
    reduce = reducer(who, comm, op, flat.dtype)
    result, whole = output(who, out, x.shape, x.dtype)
    announce(comm, who, op=op_name(op), shape=x.shape, dtype=x.dtype, **more)
    return flat, reduce, result, whole


# -- costs ---------------------------------------------------------------------------------------------------------


def linear_scan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `linear_scan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> Iterator[Step]:
        if rank > 0:
            yield Step(None, 0, rank - 1, n_bytes)
        if rank < p - 1:
            yield Step(rank + 1, n_bytes, None)

    return scheduled_cost(machine, steps)


def recursive_doubling_scan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `recursive_doubling_scan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> Iterator[Step]:
        for above, below, is_reduced in doublings(rank, p, None):
            yield Step(above, n_bytes, below, n_bytes * is_reduced)

    return scheduled_cost(machine, steps)
