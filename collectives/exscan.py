"""Exclusive scan: each rank gets the reduction over the ranks below it, in rank order; rank 0 what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array, finish, spares, wire_view
from collectives.costs import Cost, Machine
from collectives.reduction import Op, op_name, refuse_one_array
from collectives.scan import begin_scan, doublings
from collectives.schedules import Step, scheduled_cost
from ranks import mpi_of, region

_LINEAR, _DOUBLING = 32_147, 32_148


def linear_exscan(comm: Any, x: Array, op: Op = np.add, *, first: Any = None, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`, handed from rank to rank.

        ranks.run(lambda comm: linear_exscan(comm, np.array([comm.rank + 1])), 3).results
        # [array([0]), array([1]), array([3])]

    first: what the result of rank 0 is filled with, since no rank is below it. None: the identity of op, which NumPy
           has for add, multiply and some other ufuncs.

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    1 send a rank, none of the last; (p-1)(alpha + n beta) + (p-2) n gamma.
    Order:   op(... op(op(x0, x1), x2) ...), so any op is right.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    """
    filling = _first("linear_exscan", first, op, x)
    flat, reduce, result, whole = begin_scan("linear_exscan", comm, x, op, out, first=repr(filling))
    p, rank, wire = comm.size, comm.rank, wire_view(flat.dtype) or np.asarray
    with region(comm, "linear_exscan"):
        (below,) = spares(comm, 1, flat.size, flat.dtype)
        if rank > 0:
            comm.Recv(wire(below), rank - 1, _LINEAR)
        if rank < p - 1:
            upto = flat if rank == 0 else np.empty_like(flat)
            if rank > 0:
                reduce(below, flat, out=upto)
            comm.Send(wire(upto), rank + 1, _LINEAR)
        # Only now: `out` may be x.
        whole[...] = below if rank > 0 else filling
    return finish(result, whole)


def recursive_doubling_exscan(
    comm: Any, x: Array, op: Op = np.add, *, first: Any = None, out: Array | None = None
) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`; rounds double how far it reaches.

        ranks.run(lambda comm: recursive_doubling_exscan(comm, np.array([comm.rank + 1])), 3).results
        # [array([0]), array([1]), array([3])]

    first: what the result of rank 0 is filled with, since no rank is below it. None: the identity of op, which NumPy
           has for add, multiply and some other ufuncs.

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    ceil(lg p) rounds, in that at distance d a send of each rank but the last d; at most ceil(lg p) (alpha +
             n beta + 2 n gamma).
    Order:   ranks in order, grouped as op(what the ranks d below have, what this one has) for d = 1, 2, 4, ...: op
             must be associative, and floats differ from those of linear_exscan.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Hillis & Steele, CACM 29(12), 1986.
    """
    filling = _first("recursive_doubling_exscan", first, op, x)
    flat, reduce, result, whole = begin_scan("recursive_doubling_exscan", comm, x, op, out, first=repr(filling))
    rank, wire = comm.rank, wire_view(flat.dtype) or np.asarray
    nobody = mpi_of(comm).PROC_NULL
    with region(comm, "recursive_doubling_exscan"):
        upto, came = flat.copy(), spares(comm, 1, flat.size, flat.dtype)[0]
        whole[...] = filling
        for above, below, is_reduced in doublings(rank, comm.size, nobody):
            # `upto` is over the ranks above `below` and up to this one, `whole` over the same but this one.
            comm.Sendrecv(wire(upto), above, _DOUBLING, wire(came), below, _DOUBLING)
            if is_reduced and below == rank - 1:
                whole[...] = came
            elif is_reduced:
                reduce(came, whole, out=whole)
            if is_reduced and above != nobody:  # otherwise nobody asks for it any more
                reduce(came, upto, out=upto)
    return finish(result, whole)


def _first(who: str, first: Any, op: Op, x: Any) -> Array:
    """Return what rank 0 gets, in the dtype of x; ValueError if nothing was given and op has no identity."""
    dtype = x.dtype if isinstance(x, np.ndarray) else None  # begin_scan refuses anything else
    refuse_one_array(who, op)
    if first is None:
        identity = op.identity if isinstance(op, np.ufunc) else None
        if identity is None:
            raise ValueError(
                f"{who}: got first=None and op {op_name(op)}, expected what rank 0 gets, since NumPy knows no identity "
                "of this op; remedy: pass first=..."
            )
        with np.errstate(invalid="ignore"):  # begin_scan refuses an op that does not fit the dtype
            return np.asarray(identity).astype(dtype)
    given = np.asarray(first)
    try:
        filling = given.astype(dtype)
        fits = given.ndim == 0 and bool(filling == given or filling != filling)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(
            f"{who}: got first={first!r:.60}, expected one value that {dtype} can hold; remedy: convert it, or x"
        )
    return filling


# -- costs ---------------------------------------------------------------------------------------------------------


def linear_exscan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `linear_exscan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> Iterator[Step]:
        if rank > 0:
            yield Step(None, 0, rank - 1, n_bytes if rank < p - 1 else 0)
        if rank < p - 1:
            yield Step(rank + 1, n_bytes, None)

    return scheduled_cost(machine, steps)


def recursive_doubling_exscan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `recursive_doubling_exscan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> Iterator[Step]:
        for above, below, is_reduced in doublings(rank, p, None):
            # Each reduction is rounded on its own.
            yield Step(above, n_bytes, below, n_bytes if is_reduced and below != rank - 1 else 0)
            if is_reduced and above is not None:
                yield Step(None, 0, None, n_bytes)

    return scheduled_cost(machine, steps)
