"""Sample sort: cut all ranks' sorted blocks at splitters taken from samples, so that every element moves once."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from collectives import alltoallv, bruck_allgather
from ranks import region
from sorting.blocks import agreed, merge_runs, restored
from sorting.keys import Array


def sample_sort(comm: Any, x: Array) -> Array:
    """Return this rank's part of all ranks' `x` sorted: sort, cut at regular samples, exchange, merge.

        ranks.run(lambda comm: sample_sort(comm, np.array([3 - comm.rank, 9])), 3).results
        # [array([1, 2]), array([3, 9]), array([9, 9])]

    Shape:   x (n,) -> (m,), any n on each rank; parts in the order of the ranks, m as `sample_bound` says, about
             n/p and at most about 2n/p for n elements in all, whatever their values: equal ones are told apart by
             where they are. x is kept. Any real dtype, dates and time spans, NaN and NaT last.
    Cost:    p-1 + 3 ceil(lg p) sends a rank: data; agree, samples, sizes. Time: a local sort, p-1 binary
             searches, a merge of p runs.
    Raises:  TypeError on every rank if x is no one-dimensional array of one real dtype on all.
    Source:  Shi & Schaeffer, J. Parallel and Distributed Computing 14(4), 1992 (regular sampling).
    """
    sizes, as_keys, block = agreed("sample_sort", comm, x)
    with region(comm, "sample_sort"):
        block.sort()
        came = alltoallv(comm, block, np.diff(_regular_bounds(comm, block, sizes)).tolist())
        merge_runs(came)
    return restored(came, x.dtype, as_keys)


def sample_gap(sizes: list[int]) -> int:
    """Return every how many elements of its sorted block a rank takes a sample: n/p^2, rounded up."""
    return max(1, -(-sum(sizes) // len(sizes) ** 2))


def sample_bound(sizes: list[int]) -> int:
    """Return the most elements that a rank can have after sample_sort of blocks of these sizes.

        sample_bound([1000] * 8), sample_bound([8000] + [0] * 7)  # (1992, 1992)

    Between two splitters lie at most S/p of the S samples, each of which stands for the g elements up to it, and on
    each rank fewer than g elements behind the last of them.
    """
    gap, p = sample_gap(sizes), len(sizes)
    samples = sum(size // gap for size in sizes)
    return min(sum(sizes), gap * -(-samples // p) + p * (gap - 1))


def _regular_bounds(comm: Any, block: Array, sizes: list[int]) -> list[int]:
    """Return where to cut the sorted `block` into a part for each rank.

    All elements are different: equal values come in the order of (rank, place). A splitter is such an element.
    """
    p, rank, gap = comm.size, comm.rank, sample_gap(sizes)
    counts = [size // gap for size in sizes]
    samples = bruck_allgather(comm, np.ascontiguousarray(block[gap - 1 :: gap]), counts=counts)
    if not samples.size:  # no elements at all
        return [0] * (p + 1)
    order = np.argsort(samples, kind="stable")  # that of (value, rank, place), since they came in that of (rank, place)
    chosen = order[[part * samples.size // p for part in range(1, p)]]
    starts = np.array([0, *accumulate(counts)])
    owners = np.searchsorted(starts, chosen, side="right") - 1
    places = (chosen - starts[owners] + 1) * gap - 1
    bounds = [0]
    for value, owner, place in zip(samples[chosen], owners.tolist(), places.tolist(), strict=True):
        side: Any = "right" if rank < owner else "left"
        bounds.append(place if rank == owner else int(np.searchsorted(block, value, side=side)))
    return [*bounds, block.size]
