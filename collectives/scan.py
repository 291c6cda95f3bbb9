"""Scans in rank order: each rank gets the reduction over the ranks up to itself or, if exclusive, below it.

In an exclusive scan no rank is below rank 0, which gets a given value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, rounds_of, scratch
from loggp import NOBODY, Cost, Machine, Moves, Round, cost_of_chain
from ranks import mpi_of

_TAG = new_tag()


@algorithm("scan")
def linear_scan(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`, handed from rank to rank.

    Cost:    each rank but the last sends one message. The time is (p-1)(alpha + n beta + n gamma).
    Order:   op(... op(op(x0, x1), x2) ...), so any op is right.
    """
    upto = x
    if comm.rank > 0:
        (below,) = scratch(comm, 1, x.size, x.dtype)
        comm.Recv(below, comm.rank - 1, _TAG)
        op(below, x, out=out)
        upto = out
    if comm.rank < comm.size - 1:
        comm.Send(upto, comm.rank + 1, _TAG)
    return upto


@algorithm("exscan")
def linear_exscan(comm: Any, x: Array, op: Op = np.add, *, first: Any = None, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`, handed from rank to rank.

    Cost:    each rank but the last sends one message. The time is (p-1)(alpha + n beta) + (p-2) n gamma.
    Order:   op(... op(op(x0, x1), x2) ...), so any op is right.
    """
    rank, last = comm.rank, comm.size - 1
    below = np.broadcast_to(first, x.shape)
    upto = x
    if rank > 0:
        (below,) = scratch(comm, 1, x.size, x.dtype)
        comm.Recv(below, rank - 1, _TAG)
        if rank < last:
            upto = np.empty_like(x)
            op(below, x, out=upto)
    if rank < last:
        comm.Send(upto, rank + 1, _TAG)
    return below


@algorithm("scan")
def recursive_doubling_scan(comm: Any, x: Array, op: Op = np.add, *, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`; each round doubles how far it reaches.

    Cost:    in each of ceil(lg p) rounds, at distance d, each rank but the last d sends one message. The time is
             ceil(lg p) (alpha + n beta + n gamma).
    Order:   ranks in order, grouped as op(what the ranks d below have, what this one has) for d = 1, 2, 4, ...: op
             must be associative, and floats differ from those of linear_scan.
    Source:  Hillis & Steele, CACM 29(12), 1986.
    """
    (came,) = scratch(comm, 1, x.size, x.dtype)
    upto = x
    for above, below, is_reduced in _doublings(comm):
        # `upto` is over the ranks above `below` and up to this one.
        comm.Sendrecv(upto, above, _TAG, came, below, _TAG)
        if is_reduced:
            op(came, upto, out=out)
            upto = out
    return upto


@algorithm("exscan")
def recursive_doubling_exscan(comm: Any, x: Array, op: Op = np.add, *, first: Any = None, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`; rounds double how far it reaches.

    Cost:    in each of ceil(lg p) rounds, at distance d, each rank but the last d sends one message. The time is at
             most ceil(lg p) (alpha + n beta + 2 n gamma).
    Order:   ranks in order, grouped as op(what the ranks d below have, what this one has) for d = 1, 2, 4, ...: op
             must be associative, and floats differ from those of linear_exscan.
    Source:  Hillis & Steele, CACM 29(12), 1986.
    """
    upto, came, nobody = x.copy(), scratch(comm, 1, x.size, x.dtype)[0], mpi_of(comm).PROC_NULL
    out[...] = first
    for above, below, is_reduced in _doublings(comm):
        # `upto` is over the ranks above `below` and up to this one, `out` over the same but this one.
        comm.Sendrecv(upto, above, _TAG, came, below, _TAG)
        if is_reduced and below == comm.rank - 1:
            out[...] = came
        elif is_reduced:
            op(came, out, out=out)
        if is_reduced and above != nobody:  # otherwise nobody asks for it any more
            op(came, upto, out=upto)
    return out


def _doublings(comm: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield, for distances 1, 2, 4, ..., the rank so far above, the one below, and whether that one exists."""
    rank, p, nobody, distance = comm.rank, comm.size, mpi_of(comm).PROC_NULL, 1
    while distance < p:
        above, below = rank + distance, rank - distance
        yield above if above < p else nobody, below if below >= 0 else nobody, below >= 0
        distance *= 2


# -- costs ---------------------------------------------------------------------------------------------------------


@cost_of(linear_scan)
def linear_scan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """All ranks reduce but the first."""
    return cost_of_chain(machine, n_items * itemsize, n_reductions=machine.p - 1)


@cost_of(linear_exscan)
def linear_exscan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """All ranks reduce but the first and the last."""
    return cost_of_chain(machine, n_items * itemsize, n_reductions=max(0, machine.p - 2))


@rounds_of(recursive_doubling_scan)
def recursive_doubling_scan_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """A rank reduces in each round in which it receives."""
    return [_reach(p, 1 << k, n_items * itemsize, exclusive=False) for k in range((p - 1).bit_length())]


@rounds_of(recursive_doubling_exscan)
def recursive_doubling_exscan_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """A rank reduces up to two arrays: the first one is copied, and one that no later rank needs is not reduced."""
    return [_reach(p, 1 << k, n_items * itemsize, exclusive=True) for k in range((p - 1).bit_length())]


def _reach(p: int, distance: int, n_bytes: int, *, exclusive: bool) -> Round:
    def moves(ranks: Array) -> Moves:
        comes, sends = ranks >= distance, ranks + distance < p
        to, source = np.where(sends, ranks + distance, NOBODY), np.where(comes, ranks - distance, NOBODY)
        times = comes * ((distance > 1) + sends.astype(int)) if exclusive else comes.astype(int)
        return Moves([to], [n_bytes], [source], n_bytes, times)

    return moves
