"""Sorting networks over ranks: a wire is a rank's sorted block, a comparator an exchange after which the lower rank
keeps the smaller half of both blocks and the higher rank the larger.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranks import mpi_of, region
from sorting.blocks import agreed, merge_runs, redistribute, restored
from sorting.keys import Array
from sorting.networks import ComparatorNetwork, bitonic, odd_even_transposition

_SPLIT = 32_102


def bitonic_block_sort(comm: Any, x: Array) -> Array:
    """Return this rank's block of all ranks' `x` sorted, by a bitonic network of ranks.

        ranks.run(lambda comm: bitonic_block_sort(comm, np.array([3 - comm.rank, 9])), 3).results
        # [array([1, 2]), array([3, 9]), array([9, 9])]

    Shape:   x (n,) -> (n,), any n on each rank, 0 too; block r of the global order, as long as rank r's x, which is
             kept. Any real dtype, dates and time spans, NaN and NaT last.
    Cost:    ceil(lg p) sends a rank to agree, then one for each comparator that touches it in bitonic(p), of at most
             the largest block m: p lg p (lg p + 1)/4 comparators if p is a power of two. If blocks differ in size, then
             the sends of `moves`. Time: a local sort, then lg p (lg p + 1)/2 merges of 2m elements.
    Raises:  TypeError on every rank if x is no one-dimensional array of one real dtype on all.
    Source:  Batcher 1968; Baudet & Stevenson, IEEE Trans. Computers C-27(1), 1978 (blocks on wires).
    """
    return _merge_split_sort("bitonic_block_sort", comm, x, bitonic(comm.size))


def odd_even_block_sort(comm: Any, x: Array) -> Array:
    """Return this rank's block of all ranks' `x` sorted, by exchanges with the neighbours only.

        ranks.run(lambda comm: odd_even_block_sort(comm, np.array([3 - comm.rank, 9])), 3).results
        # [array([1, 2]), array([3, 9]), array([9, 9])]

    Shape, Raises: as bitonic_block_sort.
    Cost:    ceil(lg p) sends a rank to agree, then one for each comparator that touches it in
             odd_even_transposition(p), at most p, of at most the largest block; p(p-1)/2 comparators in p rounds.
    Source:  Baudet & Stevenson, IEEE Trans. Computers C-27(1), 1978.
    """
    return _merge_split_sort("odd_even_block_sort", comm, x, odd_even_transposition(comm.size))


def _merge_split_sort(who: str, comm: Any, x: Array, network: ComparatorNetwork) -> Array:
    """Sort locally, then let the network sort blocks that all hold the largest one's number of elements.

    A network of blocks sorts if all blocks are equally long. Shorter ones are as if filled up with what is larger
    than everything, which is never sent: it moves to the last ranks, so every rank but the last ones ends full.
    """
    (sizes, as_keys, block), rank = agreed(who, comm, x), comm.rank
    capacity = max(sizes)
    with region(comm, who):
        block.sort()
        for stage in network.stages:
            for low, high in stage:
                if rank in (low, high):
                    block = _merge_split(comm, block, capacity, low, high)
        total = sum(sizes)
        have = [min(capacity, max(0, total - capacity * other)) for other in range(comm.size)]
        block = redistribute(comm, block, have, sizes)
    return restored(block, x.dtype, as_keys)


def _merge_split(comm: Any, block: Array, capacity: int, low: int, high: int) -> Array:
    """Exchange blocks; return the `capacity` smallest elements of both on rank `low`, the others on `high`."""
    mpi, partner = mpi_of(comm), high if comm.rank == low else low
    came, status = np.empty(capacity, block.dtype), mpi.Status()
    comm.Sendrecv(block, partner, _SPLIT, came, partner, _SPLIT, status)
    came = came[: status.Get_count(mpi.BYTE) // block.itemsize]
    # Equal elements are the same bits, but both sides must cut at the same place: the lower rank's come first.
    first, second = (block, came) if comm.rank == low else (came, block)
    kept = min(capacity, first.size + second.size)
    cut = _cut(first, second, kept)
    parts = (first[:cut], second[: kept - cut]) if comm.rank == low else (first[cut:], second[kept - cut :])
    merged = np.concatenate(parts)
    merge_runs(merged)
    return merged


def _cut(first: Array, second: Array, kept: int) -> int:
    """Return how many of the `kept` smallest elements of two sorted runs are in the first, which wins ties."""
    low, high = max(0, kept - second.size), min(kept, first.size)
    while low < high:
        middle = (low + high) // 2
        # np.sort's order, in which NaN is last: keys are integers, but extended floats are themselves.
        if np.searchsorted(second[kept - 1 - middle : kept - middle], first[middle]) == 0:
            low = middle + 1
        else:
            high = middle
    return low
