"""Scan: each rank gets the reduction over the ranks up to itself, in rank order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from loggp import NOBODY, Cost, Machine, Moves, Rounds, cost_of_chain, cost_of_rounds
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
    for above, below, is_reduced in doublings(comm.rank, comm.size, mpi_of(comm).PROC_NULL):
        # `upto` is over the ranks above `below` and up to this one.
        comm.Sendrecv(upto, above, _TAG, came, below, _TAG)
        if is_reduced:
            op(came, upto, out=out)
            upto = out
    return upto


def doublings(rank: int, p: int, nobody: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield, for distances 1, 2, 4, ..., the rank so far above, the one below, and whether that one exists."""
    distance = 1
    while distance < p:
        above, below = rank + distance, rank - distance
        yield above if above < p else nobody, below if below >= 0 else nobody, below >= 0
        distance *= 2


# -- costs ---------------------------------------------------------------------------------------------------------


@cost_of(linear_scan)
def linear_scan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `linear_scan` of n_items on each rank."""
    return cost_of_chain(machine, n_items * itemsize, n_reductions=machine.p - 1)


@cost_of(recursive_doubling_scan)
def recursive_doubling_scan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `recursive_doubling_scan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def moves(ranks: Array, number: Any) -> Moves:
        comes, distance = ranks >= 1 << number, 1 << number
        to, source = np.where(ranks + distance < p, ranks + distance, NOBODY), np.where(comes, ranks - distance, NOBODY)
        return Moves([to], [n_bytes], [source], n_bytes * comes)

    return cost_of_rounds(machine, Rounds(p, (p - 1).bit_length(), 1, moves, n_bytes, together=True))
