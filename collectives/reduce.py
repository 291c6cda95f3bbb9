"""The binomial reduction: a tree of whole messages towards the root."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.halving import whole_reductions_at_best_ps
from collectives.kit import Op, Out, algorithm, new_tag, rounds_of, scratch
from collectives.reduction import is_commutative
from collectives.trees import binomial_children, binomial_parent
from loggp import Round
from loggp.patterns import up_a_tree

_TAG = new_tag()


@algorithm("reduce")
def binomial_reduce(comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Out = None) -> Array | None:
    """Return the elementwise `op` of `x` over all ranks of `comm` on `root`, None elsewhere, up a binomial tree.

    Cost:    p-1 messages in ceil(lg p) rounds. If p is a power of two, the time is lg p (alpha + n beta + n gamma).
    Order:   rank order from the root on, root, root+1, ..., root-1, in a binomial tree. An op that is not known to
             be commutative is reduced from rank 0 on, and sent to the root; it must be associative.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    p, rank = comm.size, comm.rank
    top = root if is_commutative(op) else 0
    v = (rank - top) % p
    came, made = *scratch(comm, 1, x.size, x.dtype), x
    for child in reversed(binomial_children(v, p)):
        # `made` is over v ... child-1, what comes over the ranks from child on.
        comm.Recv(came, (top + child) % p, _TAG)
        op(made, came, out=out)
        made = out
    if v:
        comm.Send(made, (top + binomial_parent(v)) % p, _TAG)
    if top != root and rank == top:
        comm.Send(made, root, _TAG)
    if top != root and rank == root:
        comm.Recv(out, top, _TAG)
        made = out
    return made


@rounds_of(binomial_reduce, at_best_ps=whole_reductions_at_best_ps)
def binomial_reduce_rounds(p: int, n_items: int, itemsize: int) -> list[Round]:
    """One message up each edge of the tree, reduced there."""
    return up_a_tree(p, lambda *_: n_items * itemsize, n_items * itemsize)
