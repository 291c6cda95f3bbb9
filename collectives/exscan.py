"""Exclusive scan: each rank gets the reduction over the ranks below it, in rank order; rank 0 gets a given value."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from collectives.scan import doublings
from loggp import NOBODY, Cost, Machine, Moves, Rounds, cost_of_chain, cost_of_rounds
from ranks import mpi_of

_TAG = new_tag()


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


@algorithm("exscan")
def recursive_doubling_exscan(comm: Any, x: Array, op: Op = np.add, *, first: Any = None, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`; rounds double how far it reaches.

    Cost:    in each of ceil(lg p) rounds, at distance d, each rank but the last d sends one message. The time is at
             most ceil(lg p) (alpha + n beta + 2 n gamma).
    Order:   ranks in order, grouped as op(what the ranks d below have, what this one has) for d = 1, 2, 4, ...: op
             must be associative, and floats differ from those of linear_exscan.
    Source:  Hillis & Steele, CACM 29(12), 1986.
    """
    rank, nobody = comm.rank, mpi_of(comm).PROC_NULL
    upto, came = x.copy(), scratch(comm, 1, x.size, x.dtype)[0]
    out[...] = first
    for above, below, is_reduced in doublings(rank, comm.size, nobody):
        # `upto` is over the ranks above `below` and up to this one, `out` over the same but this one.
        comm.Sendrecv(upto, above, _TAG, came, below, _TAG)
        if is_reduced and below == rank - 1:
            out[...] = came
        elif is_reduced:
            op(came, out, out=out)
        if is_reduced and above != nobody:  # otherwise nobody asks for it any more
            op(came, upto, out=upto)
    return out


# -- costs ---------------------------------------------------------------------------------------------------------


@cost_of(linear_exscan)
def linear_exscan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `linear_exscan` of n_items on each rank."""
    return cost_of_chain(machine, n_items * itemsize, n_reductions=max(0, machine.p - 2))


@cost_of(recursive_doubling_exscan)
def recursive_doubling_exscan_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `recursive_doubling_exscan` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def moves(ranks: Array, number: Any) -> Moves:
        distance = 1 << number
        comes, sends = ranks >= distance, ranks + distance < p
        to, source = np.where(sends, ranks + distance, NOBODY), np.where(comes, ranks - distance, NOBODY)
        # The first array is copied, and arrays that no later rank needs are not reduced.
        return Moves([to], [n_bytes], [source], n_bytes, comes * ((distance > 1) + sends.astype(int)))

    return cost_of_rounds(machine, Rounds(p, (p - 1).bit_length(), 1, moves, n_bytes, together=True))
