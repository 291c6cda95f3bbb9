"""What collectives on blocks of one whole begin with: sizes checked, room made, all ranks told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from collectives.arrays import Array, block_sizes, flat_input, output, same_memory, sizes_of
from collectives.reduction import Op, Reduce, op_name, reducer
from ranks import announce


def begin_reduce_scatter(
    who: str, comm: Any, x: Array, op: Op, counts: Sequence[int] | None, out: Array | None
) -> tuple[Array, list[int], Reduce, Array, Array]:
    """Return x in one piece, the bounds of its blocks, the reduction, the result, and where to compute it."""
    flat, p = flat_input(who, x), comm.size
    reduce = reducer(who, comm, op, flat.dtype)
    sizes = block_sizes(flat.size, p) if counts is None else sizes_of(who, "counts", counts, p, flat.size)
    result, own = output(who, out, (sizes[comm.rank],), flat.dtype)
    alike = {} if counts is None else {"counts": tuple(sizes)}
    announce(comm, who, op=op_name(op), shape=x.shape, dtype=x.dtype, **alike)
    return flat, [0, *accumulate(sizes)], reduce, result, own


def begin_allgather(
    who: str, comm: Any, x: Array, counts: Sequence[int] | None, out: Array | None
) -> tuple[list[int], Array, Array]:
    """Return the bounds of all blocks, the result, and where to put it together; this rank's block is there already."""
    flat, rank = flat_input(who, x), comm.rank
    sizes = counts_of(who, counts, flat.size, comm)
    bounds = [0, *accumulate(sizes)]
    shape = (comm.size, *x.shape) if counts is None else (bounds[-1],)
    result, whole = output(who, out, shape, flat.dtype)
    alike = {"shape": x.shape} if counts is None else {"counts": tuple(sizes)}
    announce(comm, who, dtype=x.dtype, **alike)
    own = whole[bounds[rank] : bounds[rank + 1]]
    if not same_memory(own, flat):
        own[...] = flat
    return bounds, result, whole


def counts_of(who: str, counts: Sequence[int] | None, mine: int, comm: Any) -> list[int]:
    """Return the number of elements on each rank: all have as many as this one if `counts` is None."""
    if counts is None:
        return [mine] * comm.size
    sizes = sizes_of(who, "counts", counts, comm.size)
    if sizes[comm.rank] != mine:
        raise ValueError(
            f"{who}: got counts {counts} and, on rank {comm.rank}, {mine} elements, expected the count of this rank "
            "to be its number of elements; remedy: pass the same, true counts on all ranks"
        )
    return sizes


def turned_bounds(bounds: list[int], first: int) -> list[int]:
    """Return the bounds of the same blocks when block `first` is the first one, and those before it come last.

    turned_bounds([0, 3, 6, 8], 1)  # [0, 3, 5, 8]
    """
    start, total = bounds[first], bounds[-1]
    return [bound - start for bound in bounds[first:]] + [bound - start + total for bound in bounds[1 : first + 1]]


def turn(whole: Array, start: int) -> Array:
    """Return the elements from `start` on, and behind them those before it."""
    if not start:
        return whole
    turned, to_end = np.empty_like(whole), whole.size - start  # np.concatenate would change the byte order
    turned[:to_end], turned[to_end:] = whole[start:], whole[:start]
    return turned


def turn_back(turned: Array, whole: Array, start: int) -> None:
    """Copy `turned`, whose first element belongs at `start`, into `whole`."""
    to_end = whole.size - start
    whole[start:], whole[:start] = turned[:to_end], turned[to_end:]
