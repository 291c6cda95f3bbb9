"""The all-reduce everybody writes first: all send to one rank, which reduces and sends the result to all."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, check_root, finish, flat_input, output, spares, wire_view
from collectives.costs import Cost, Machine
from collectives.reduction import Op, op_name, reducer
from collectives.schedules import Step, scheduled_cost
from ranks import announce, region

_REDUCE, _BROADCAST = 32_011, 32_012


def naive_allreduce(comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, reduced at `root` and sent from there.

        ranks.run(lambda comm: naive_allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    1 send a rank, p-1 at the root; n bytes each. The root's ports carry (p-1)n bytes in and again out.
    Order:   op(... op(op(x of rank 0, x of rank 1), x of rank 2) ...), whatever the root, so any op is right.
    Raises:  TypeError, ValueError if x, op, root or out do not fit; CollectiveMismatchError if simulated ranks differ.
    """
    flat, p, rank = flat_input("naive_allreduce", x), comm.size, comm.rank
    reduce = reducer("naive_allreduce", comm, op, flat.dtype)
    check_root("naive_allreduce", root, p)
    result, whole = output("naive_allreduce", out, x.shape, x.dtype)
    announce(comm, "naive_allreduce", op=op_name(op), root=root, shape=x.shape, dtype=x.dtype)
    wire = wire_view(flat.dtype) or np.asarray
    with region(comm, "naive_allreduce"):
        if rank != root:
            comm.Send(wire(flat), root, _REDUCE)
            comm.Recv(wire(whole), root, _BROADCAST)
            return finish(result, whole)
        so_far, kept, came = flat, *spares(comm, 2, flat.size, flat.dtype)
        if root:
            comm.Recv(wire(kept), 0, _REDUCE)
            so_far = kept
        for source in range(1, p):
            # Before each turn, `so_far` is the reduction over the ranks below `source`.
            if source != root:
                comm.Recv(wire(came), source, _REDUCE)
            target = whole if source == p - 1 else kept
            reduce(so_far, flat if source == root else came, out=target)
            so_far = target
        if p == 1:
            whole[...] = flat
        for dest in range(p):
            if dest != root:
                comm.Send(wire(whole), dest, _BROADCAST)
    return finish(result, whole)


def naive_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `naive_allreduce`: the root takes in p-1 messages through one port, then sends p-1."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> list[Step]:
        if rank:
            return [Step(0, n_bytes, None), Step(None, 0, 0)]
        return [Step(None, 0, k, n_bytes) for k in range(1, p)] + [Step(k, n_bytes, None) for k in range(1, p)]

    return scheduled_cost(machine, steps)
