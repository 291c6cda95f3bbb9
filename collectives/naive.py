"""The all-reduce that everybody writes first: all ranks send to one rank, which reduces and sends the result to all."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from loggp import Cost, Machine, Star

_TAG = new_tag()


@algorithm("allreduce")
def naive_allreduce(comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Out = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, reduced at `root` and sent from there.

    Cost:    each rank sends one message of n bytes, and the root p-1. The root's ports carry (p-1)n bytes in, and the
             same out.
    Order:   op(... op(op(x of rank 0, x of rank 1), x of rank 2) ...), whatever the root, so any op is right.
    """
    p, rank = comm.size, comm.rank
    if rank != root:
        comm.Send(x, root, _TAG)
        comm.Recv(out, root, _TAG)
        return out
    so_far, first, came = x, *scratch(comm, 2, x.size, x.dtype)
    if root:
        comm.Recv(first, 0, _TAG)
        so_far = first
    for source in range(1, p):
        # Before each turn, `so_far` is the reduction over the ranks below `source`.
        if source != root:
            comm.Recv(came, source, _TAG)
        target = out if source == p - 1 else first
        op(so_far, x if source == root else came, out=target)
        so_far = target
    for dest in range(p):
        if dest != root:
            comm.Send(out, dest, _TAG)
    return out


def naive_at_best_ps(machine: Machine, n_items: int, itemsize: int) -> int:
    """Return the time that the root takes to receive, reduce and send, or a message to the root and one back."""
    network, n_bytes = machine.network, n_items * itemsize
    root_ps = (machine.p - 1) * (2 * network.overhead_ps + network.reduce_ps(n_bytes))
    return max(root_ps, 2 * machine.first(2).doublings_ps(n_bytes))


@cost_of(naive_allreduce, at_best_ps=naive_at_best_ps)
def naive_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `naive_allreduce`: the root takes in p-1 messages through one port, then sends p-1."""
    n_bytes = n_items * itemsize
    return Star(machine).collect([n_bytes] * machine.p, n_bytes).spread([n_bytes] * machine.p).cost()
