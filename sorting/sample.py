"""Sorts that cut all ranks' data at splitters taken from samples, so that every element moves once."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from collectives import alltoallv, bruck_allgather
from ranks import region
from sorting.blocks import agreed, merge_runs, restored, room_for, settle, sortable
from sorting.keys import CHUNK, Array

SAMPLES = 2**13  # of all ranks together: splitters of partition_sort are off by about n / (2 sqrt(SAMPLES))


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
    sizes, as_keys = agreed("sample_sort", comm, x)
    with region(comm, "sample_sort"):
        block = sortable(x, as_keys)
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


def partition_sort(comm: Any, x: Array) -> Array:
    """Return this rank's block of all ranks' `x` sorted: cut unsorted data at samples, exchange, sort once.

        ranks.run(lambda comm: partition_sort(comm, np.array([3 - comm.rank, 9])), 3).results
        # [array([1, 2]), array([3, 9]), array([9, 9])]

    No run is ever merged: a partition is cheaper than a sort of half the elements and a merge. Samples only guess
    where to cut, so at the end the few elements beyond a block's ends move to their ranks.

    Shape:   x (n,) -> (n,), any n on each rank, 0 too; block r of the global order, as long as rank r's x, which is
             kept. Any real dtype, dates and time spans, NaN and NaT last.
    Cost:    p-1 + 3 ceil(lg p) sends a rank: data; agree, samples, sizes; then the sends of `moves` from what came
             to the sizes wanted, for p = 2 one in all or none. Time: a partition, a local sort.
    Raises:  TypeError on every rank if x is no one-dimensional array of one real dtype on all.
    Source:  Frazer & McKellar, J. ACM 17(3), 1970 (samplesort).
    """
    sizes, as_keys = agreed("partition_sort", comm, x)
    with region(comm, "partition_sort"):
        block = sortable(x, as_keys)
        bounds = _guessed_bounds(comm, block, sizes)
        inner = [bound for bound in bounds[1:-1] if bound < block.size]
        if inner:
            block.partition(sorted(set(inner)))
        counts = bruck_allgather(comm, np.diff(bounds))
        have = counts.sum(axis=0).tolist()
        # What comes lies where it is in the global order, so that at the end only what is on the wrong rank moves.
        room, held, wanted = room_for(comm.rank, have, sizes, block.dtype)
        alltoallv(comm, block, counts[comm.rank].tolist(), counts[:, comm.rank].tolist(), out=held)
        held.sort()
        settle(comm, room, have, sizes)
    return restored(wanted, x.dtype, as_keys)


def _guessed_bounds(comm: Any, block: Array, sizes: list[int]) -> list[int]:
    """Return how many elements of `block` are to go to the ranks below each rank.

    Elements that equal a splitter may go to either side: as many as come nearest to an equal share do.
    """
    total = sum(sizes)
    counts = [min(size, -(-SAMPLES * size // max(1, total))) for size in sizes]
    count = counts[comm.rank]
    # Drawn, since what lies at regular places need not be typical; by rank, so that a run can be repeated.
    drawn = block if count == block.size else np.random.default_rng(comm.rank).choice(block, count)
    samples = np.sort(bruck_allgather(comm, drawn, counts=counts))
    bounds = [0]
    for wanted in list(accumulate(sizes))[:-1]:
        if wanted in (0, total):
            bounds.append(block.size if wanted else 0)
            continue
        splitter = samples[min(samples.size - 1, wanted * samples.size // total)]
        fewest, most = _ranks_of(block, splitter)
        bounds.append(max(bounds[-1], min(max(wanted * block.size // total, fewest), most)))
    return [*bounds, block.size]


def _ranks_of(block: Array, splitter: Any) -> tuple[int, int]:
    """Return how many elements of an unsorted block are less than, and how many at most, `splitter`."""
    if splitter != splitter:  # NaN among extended floats: all that is a number is less
        return int(np.count_nonzero(block == block)), block.size
    less = at_most = 0
    for begin in range(0, block.size, CHUNK):  # both while it is in the cache
        part = block[begin : begin + CHUNK]
        less += int(np.count_nonzero(part < splitter))
        at_most += int(np.count_nonzero(part <= splitter))
    return less, at_most
