"""Recursive doubling and halving: ranks exchange with partners at distances 1, 2, 4, ..., lg p rounds in all.

A p that is no power of two is folded to one (`fold.py`). Each rank holds the reduction over neighbouring ranks at any
time, so results are in rank order, and an op need not be commutative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, check_root, finish, flat_input, output, spares, wire_view
from collectives.costs import Cost, Machine
from collectives.fold import Fold, fold_in, folded_steps, in_rank_order, unfold
from collectives.reduction import Op, Reduce, op_name, reducer
from collectives.schedules import Step, scheduled_cost
from ranks import announce, region

_EXCHANGE, _HALVE, _DOUBLE, _GATHER = 32_045, 32_046, 32_047, 32_048


def recursive_doubling_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, by exchanges of whole arrays.

        ranks.run(lambda comm: recursive_doubling_allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    lg p (alpha + n beta + n gamma) if p is a power of two; otherwise two more messages to fold and unfold.
    Order:   rank order, in a balanced tree, the same on all ranks: floats are bit-identical, op must be associative.
    Raises:  TypeError, ValueError if x, op or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    who = "recursive_doubling_allreduce"
    flat, p, rank = flat_input(who, x), comm.size, comm.rank
    reduce = reducer(who, comm, op, flat.dtype)
    result, whole = output(who, out, x.shape, x.dtype)
    announce(comm, who, op=op_name(op), shape=x.shape, dtype=x.dtype)
    fold = Fold.of(rank, p)
    with region(comm, who):
        mine = fold_in(comm, flat, whole, reduce, fold)
        if fold.number is not None:
            _double(comm, mine, whole, reduce, fold)
        unfold(comm, whole, fold)
    return finish(result, whole)


def _double(comm: Any, mine: Array, whole: Array, reduce: Reduce, fold: Fold) -> None:
    """Exchange and reduce: after the exchange at distance d, `whole` is over the 2d numbers around.

    Before the first one, a rank's share is `mine`.
    """
    if fold.q == 1:
        whole[...] = mine
        return
    wire = wire_view(whole.dtype) or np.asarray
    (came,) = spares(comm, 1, whole.size, whole.dtype)
    distance, number = 1, fold.number
    assert number is not None
    while distance < fold.q:
        partner = fold.rank_of(number ^ distance, comm.size)
        comm.Sendrecv(wire(mine), partner, _EXCHANGE, wire(came), partner, _EXCHANGE)
        in_rank_order(reduce, mine, came, whole, mine_first=partner > comm.rank)
        mine, distance = whole, 2 * distance


def recursive_doubling_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `recursive_doubling_allreduce` of n_items on each rank."""
    p, n_bytes = machine.p, n_items * itemsize

    def steps(rank: int) -> list[Step]:
        fold = Fold.of(rank, p)
        partners = [fold.rank_of(fold.number ^ d, p) for d in _distances(fold)] if fold.number is not None else []
        return folded_steps(fold, [Step(each, n_bytes, each, n_bytes) for each in partners], n_bytes, unfolds=True)

    return scheduled_cost(machine, steps)


def _distances(fold: Fold) -> list[int]:
    return [1 << k for k in range(fold.q.bit_length() - 1)]


def halving_doubling_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, as a reduce-scatter by halves and an all-gather.

        ranks.run(lambda comm: halving_doubling_allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    Cost:    2 lg p sends a rank; 2 lg p alpha + 2(p-1)/p n beta + (p-1)/p n gamma if p is a power of two;
             otherwise two more messages of n bytes to fold and unfold.
    Order:   rank order, in a balanced tree, each element on one rank: floats are bit-identical on all ranks, op must
             be associative.
    Raises:  TypeError, ValueError if x, op or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Rabenseifner's algorithm, as in Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    who = "halving_doubling_allreduce"
    flat, p, rank = flat_input(who, x), comm.size, comm.rank
    reduce = reducer(who, comm, op, flat.dtype)
    result, whole = output(who, out, x.shape, x.dtype)
    announce(comm, who, op=op_name(op), shape=x.shape, dtype=x.dtype)
    fold = Fold.of(rank, p)
    with region(comm, who):
        mine = fold_in(comm, flat, whole, reduce, fold)
        if fold.number is not None:
            _halve(comm, mine, whole, reduce, fold, 0)
            _double_again(comm, whole, fold)
        unfold(comm, whole, fold)
    return finish(result, whole)


def halving_doubling_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `halving_doubling_allreduce` of n_items on each rank."""
    p = machine.p

    def steps(rank: int) -> list[Step]:
        fold, inner = Fold.of(rank, p), []
        if fold.number is not None:
            halves = _halving_steps(fold, p, n_items, itemsize, 0)
            inner = halves + [Step(each.to, each.reduced, each.source) for each in reversed(halves)]
        # What was kept and reduced on the way down is what is sent on the way back.
        return folded_steps(fold, inner, n_items * itemsize, unfolds=True)

    return scheduled_cost(machine, steps)


def _ranges(number: int, q: int) -> list[tuple[int, int, int]]:
    """Return, for each distance 1, 2, ..., q/2, the first block kept, the first given away, and how many of each.

    _ranges(2, 4)  # [(0, 2, 2), (1, 0, 1)]
    """
    found, first, distance = [], 0, 1
    while distance < q:
        n_blocks = q // (2 * distance)
        upper = bool(number & distance)
        found.append((first + upper * n_blocks, first + (not upper) * n_blocks, n_blocks))
        first += upper * n_blocks
        distance *= 2
    return found


def _halving_steps(fold: Fold, p: int, n_items: int, itemsize: int, chosen: int) -> list[Step]:
    assert fold.number is not None
    bounds = block_bounds(n_items, fold.q)
    found = []
    for distance, (keep, give, n_blocks) in zip(_distances(fold), _ranges(fold.number, fold.q), strict=True):
        partner = fold.rank_of(fold.number ^ distance, p, chosen)
        kept, given = ((bounds[b + n_blocks] - bounds[b]) * itemsize for b in (keep, give))
        found.append(Step(partner, given, partner, kept))
    return found


def _halve(comm: Any, mine: Array, whole: Array, reduce: Reduce, fold: Fold, chosen: int) -> None:
    """Reduce-scatter: after the exchange at distance d, one of 2d parts of `whole` is over the 2d numbers around.

    Before the first one, a rank's share is `mine`.
    """
    assert fold.number is not None
    if fold.q == 1:
        whole[...] = mine
        return
    bounds = block_bounds(whole.size, fold.q)
    wire = wire_view(whole.dtype) or np.asarray
    (spare,) = spares(comm, 1, bounds[(fold.q + 1) // 2], whole.dtype)
    for distance, (keep, give, n_blocks) in zip(_distances(fold), _ranges(fold.number, fold.q), strict=True):
        partner = fold.rank_of(fold.number ^ distance, comm.size, chosen)
        kept, given = (slice(bounds[b], bounds[b + n_blocks]) for b in (keep, give))
        came = spare[: kept.stop - kept.start]
        comm.Sendrecv(wire(mine[given]), partner, _HALVE, wire(came), partner, _HALVE)
        in_rank_order(reduce, mine[kept], came, whole[kept], mine_first=partner > comm.rank)
        mine = whole


def _double_again(comm: Any, whole: Array, fold: Fold) -> None:
    """All-gather: the way back, from the largest distance to 1."""
    assert fold.number is not None
    bounds = block_bounds(whole.size, fold.q)
    wire = wire_view(whole.dtype) or np.asarray
    way = list(zip(_distances(fold), _ranges(fold.number, fold.q), strict=True))
    for distance, (keep, give, n_blocks) in reversed(way):
        partner = fold.rank_of(fold.number ^ distance, comm.size)
        kept, given = (whole[bounds[b] : bounds[b + n_blocks]] for b in (keep, give))
        comm.Sendrecv(wire(kept), partner, _DOUBLE, wire(given), partner, _DOUBLE)


def rabenseifner_reduce(
    comm: Any, x: Array, op: Op = np.add, *, root: int = 0, out: Array | None = None
) -> Array | None:
    """Return the elementwise `op` of `x` over all ranks of `comm` on `root`, None elsewhere: by halves, then gathered.

        ranks.run(lambda comm: rabenseifner_reduce(comm, np.array([comm.rank + 1]), root=1), 3).results
        # [None, array([6]), None]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
             out counts on root only.
    Cost:    2 lg p rounds; 2 lg p alpha + 2(p-1)/p n beta + (p-1)/p n gamma if p is a power of two; otherwise a
             message of n bytes more to fold.
    Order:   rank order, in a balanced tree; op must be associative.
    Raises:  TypeError, ValueError if x, op, root or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Rabenseifner's algorithm, as in Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    who = "rabenseifner_reduce"
    flat, p, rank = flat_input(who, x), comm.size, comm.rank
    reduce = reducer(who, comm, op, flat.dtype)
    check_root(who, root, p)
    result, whole = output(who, out if rank == root else None, x.shape, x.dtype)
    announce(comm, who, op=op_name(op), root=root, shape=x.shape, dtype=x.dtype)
    fold = Fold.of(rank, p, root)
    with region(comm, who):
        mine = fold_in(comm, flat, whole, reduce, fold)
        if fold.number is not None:
            _halve(comm, mine, whole, reduce, fold, root)
            _gather(comm, whole, fold, root)
    return finish(result, whole) if rank == root else None


def _gather(comm: Any, whole: Array, fold: Fold, root: int) -> None:
    """Go the way of the halving back towards the root: at each distance, the half of ranks without it sends."""
    p, q = comm.size, fold.q
    number, target = fold.number, Fold.of(root, p, root).number
    assert number is not None
    assert target is not None
    bounds = block_bounds(whole.size, q)
    wire = wire_view(whole.dtype) or np.asarray
    for distance, (keep, give, n_blocks) in reversed(list(zip(_distances(fold), _ranges(number, q), strict=True))):
        partner = fold.rank_of(number ^ distance, p, root)
        kept, given = (whole[bounds[b] : bounds[b + n_blocks]] for b in (keep, give))
        if (number ^ target) & distance:
            comm.Send(wire(kept), partner, _GATHER)
            return
        comm.Recv(wire(given), partner, _GATHER)


def rabenseifner_reduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of `rabenseifner_reduce` of n_items on each rank, to rank 0."""
    p = machine.p

    def steps(rank: int) -> list[Step]:
        fold, inner = Fold.of(rank, p), []
        if fold.number is not None:
            inner = _halving_steps(fold, p, n_items, itemsize, 0)
            for distance, step in reversed(list(zip(_distances(fold), inner, strict=True))):
                if fold.number & distance:
                    inner.append(Step(step.to, step.reduced, None))
                    break
                inner.append(Step(None, 0, step.source))
        return folded_steps(fold, inner, n_items * itemsize, unfolds=False)

    return scheduled_cost(machine, steps)
