"""The binomial reduction: a tree of whole messages towards the root."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, check_root, finish, flat_input, output, spares, wire_view
from collectives.costs import Cost, Machine
from collectives.reduction import Op, is_commutative, op_name, reducer
from collectives.schedules import Step, scheduled_cost
from collectives.trees import binomial_children, binomial_parent
from ranks import announce, region

_REDUCE, _TO_ROOT = 32_049, 32_050


def binomial_reduce(comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Array | None = None) -> Array | None:
    """Return the elementwise `op` of `x` over all ranks of `comm` on `root`, None elsewhere, up a binomial tree.

        ranks.run(lambda comm: binomial_reduce(comm, np.array([comm.rank + 1]), root=1), 3).results
        # [None, array([6]), None]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it. out counts on root only.
    Cost:    ceil(lg p) rounds, p-1 messages in all; ceil(lg p) (alpha + n beta + n gamma) if p is a power of two.
    Order:   rank order from the root on, root, root+1, ..., root-1, in a binomial tree. An op that is not known to
             be commutative is reduced from rank 0 on, and sent to the root; it must be associative.
    Raises:  TypeError, ValueError if x, op, root or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    who = "binomial_reduce"
    flat, p, rank = flat_input(who, x), comm.size, comm.rank
    reduce = reducer(who, comm, op, flat.dtype)
    check_root(who, root, p)
    result, whole = output(who, out if rank == root else None, x.shape, x.dtype)
    announce(comm, who, op=op_name(op), root=root, shape=x.shape, dtype=x.dtype)
    wire = wire_view(flat.dtype) or np.asarray
    top = root if is_commutative(op) else 0
    v = (rank - top) % p
    with region(comm, who):
        mine, children = flat, binomial_children(v, p)
        came = spares(comm, 1, flat.size, flat.dtype)[0] if children else flat
        for child in reversed(children):
            # `mine` is over v ... child-1, what comes over the ranks from child on.
            comm.Recv(wire(came), (child + top) % p, _REDUCE)
            reduce(mine, came, out=whole)
            mine = whole
        if v:
            comm.Send(wire(mine), (binomial_parent(v) + top) % p, _REDUCE)
        elif not children:
            whole[...] = flat
        if top != root and rank == top:
            comm.Send(wire(whole), root, _TO_ROOT)
        if top != root and rank == root:
            comm.Recv(wire(whole), top, _TO_ROOT)
    return finish(result, whole) if rank == root else None


def binomial_reduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `binomial_reduce` of n_items on each rank, to rank 0."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(v: int) -> list[Step]:
        into = [Step(None, 0, child, n_bytes) for child in reversed(binomial_children(v, p))]
        return into + ([Step(binomial_parent(v), n_bytes, None)] if v else [])

    return scheduled_cost(machine, steps)
