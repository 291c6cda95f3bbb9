"""Partition sort: cut the ranks' unsorted data at samples, exchange the parts in place, and sort once."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from collectives import bruck_allgather
from ranks import mpi_of, region
from sorting.blocks import agreed, restored, settle
from sorting.keys import CHUNK, Array

SAMPLES = 2**13  # of all ranks together: cuts are off by about n / (2 sqrt(SAMPLES)) of n elements
SPARE = 16  # 1/SPARE of the block is kept free on both sides of it: 5 times the error of the cuts of two ranks
PIECE_BYTES = 2**20  # exchanged at a time: what comes waits in the cache for the place of what went

_SWAP = 32_103

Interval = tuple[int, int]


def partition_sort(comm: Any, x: Array) -> Array:
    """Return this rank's block of all ranks' `x` sorted: cut unsorted data at samples, exchange, sort once.

        ranks.run(lambda comm: partition_sort(comm, np.array([3 - comm.rank, 9])), 3).results
        # [array([1, 2]), array([3, 9]), array([9, 9])]

    No run is ever merged, because a partition is cheaper than a sort of half the elements and a merge. Received
    elements take the places of sent ones, because order does not matter before the sort. Samples only guess where to
    cut, so at the end the few elements beyond a block's ends move to their ranks.

    Shape:   x (n,) -> (n,), any n on each rank, 0 too; block r of the global order, as long as rank r's x, which is
             kept. Any real dtype, dates and time spans, NaN and NaT last.
    Cost:    each rank sends 3 ceil(lg p) messages to agree, with samples, and with sizes; then one for each MiB, or
             part of a MiB, that it has for each other rank; then those of `moves`, which bring all blocks to their
             sizes (for p = 2 one in all, or none). Time: a partition, a local sort. Memory: a copy of x and a piece; a
             second one for what ranks have for others beyond what these have for them.
    Raises:  TypeError on every rank if x is no one-dimensional array of one real dtype on all.
    Source:  Frazer & McKellar, J. ACM 17(3), 1970 (samplesort).
    """
    spare = x.size // SPARE if isinstance(x, np.ndarray) else 0
    sizes, as_keys, room = agreed("partition_sort", comm, x, spare)
    rank = comm.rank
    with region(comm, "partition_sort"):
        block = room[spare : spare + x.size]
        bounds = _guessed_bounds(comm, block, sizes)
        inner = {bound for bound in bounds if 0 < bound < block.size}
        if inner:
            block.partition(sorted(inner))
        counts = bruck_allgather(comm, np.diff(bounds))
        live, extra = _swap(comm, block, bounds, counts[:, rank].tolist())
        have = counts.sum(axis=0).tolist()
        first = sum(have[:rank]) - sum(sizes[:rank])
        room, held, wanted = _around(room, spare, block, slice(first, first + have[rank]))
        _gather(room, [(wanted.start + a, wanted.start + b) for a, b in live], extra, held.start, held.stop)
        room[held].sort()
        settle(comm, room, have, sizes)
    return restored(room[wanted], x.dtype, as_keys)


def _guessed_bounds(comm: Any, block: Array, sizes: list[int]) -> list[int]:
    """Return how many elements of `block` are to go to the ranks below each rank.

    Elements that equal a splitter may go to either side: as many as come nearest to an equal share do.
    """
    total = sum(sizes)
    counts = [min(size, -(-SAMPLES * size // max(1, total))) for size in sizes]
    count = counts[comm.rank]
    # Samples are random because regular places need not be typical; seeded by rank, so that a run can be repeated.
    drawn = block if count == block.size else np.random.default_rng(comm.rank).choice(block, count)
    samples = np.sort(bruck_allgather(comm, drawn, counts=counts))
    bounds = [0]
    for wanted in list(accumulate(sizes))[:-1]:
        if wanted in (0, total):
            bounds.append(block.size if wanted else 0)
            continue
        place = min(samples.size - 1, wanted * samples.size // total)
        is_repeated = bool(np.count_nonzero(samples[max(0, place - 1) : place + 2] == samples[place]) > 1)
        fewest, most = _ranks_of(block, samples[place], is_repeated)
        bounds.append(max(bounds[-1], min(max(wanted * block.size // total, fewest), most)))
    return [*bounds, block.size]


def _ranks_of(block: Array, splitter: Any, is_repeated: bool) -> tuple[int, int]:
    """Return how many elements of an unsorted block are less than, and how many at most, `splitter`.

    The latter are not counted where it is not repeated among the samples: then elements that equal it are few.
    """
    if splitter != splitter:  # NaN among extended floats: all that is a number is less
        return int(np.count_nonzero(block == block)), block.size
    less = at_most = 0
    for begin in range(0, block.size, CHUNK):  # both while it is in the cache
        part = block[begin : begin + CHUNK]
        less += int(np.count_nonzero(part < splitter))
        if is_repeated:
            at_most += int(np.count_nonzero(part <= splitter))
    return less, max(less, at_most)


# -- the exchange ------------------------------------------------------------------------------------------------


def _swap(comm: Any, block: Array, bounds: list[int], coming: list[int]) -> tuple[list[Interval], list[Array]]:
    """Send part d of `block`, cut at `bounds`, to each rank d; coming[s] elements from each rank s take their place.

    Return where there are elements then, if fewer came than went, and what found no place, if more did.
    """
    p, rank, mpi = comm.size, comm.rank, mpi_of(comm)
    piece = max(1, PIECE_BYTES // block.itemsize)
    scratch = np.empty(min(piece, max(coming)), block.dtype)
    extra = []
    for step in range(p):
        other = (step - rank) % p  # whose other is this rank: each pair meets in one step
        if other == rank:
            continue
        part = block[bounds[other] : bounds[other + 1]]
        for begin in range(0, max(part.size, coming[other]), piece):
            going = part[begin : begin + piece]
            came = scratch[: max(0, coming[other] - begin)]
            dest = other if going.size else mpi.PROC_NULL
            source = other if came.size else mpi.PROC_NULL
            comm.Sendrecv(going, dest, _SWAP, came, source, _SWAP)
            going[: came.size] = came[: going.size]
            if came.size > going.size:
                extra.append(came[going.size :].copy())
    live = [(begin, min(end, begin + came)) for (begin, end), came in zip(pairwise(bounds), coming, strict=True)]
    return live, extra


def _around(room: Array, spare: int, block: Array, held: slice) -> tuple[Array, slice, slice]:
    """Return memory for the part of the global order that a rank wants or holds, and where in it is the one, the other.

    What it wants is to be where its block is, room[spare:], and `held` counts from there. If that is not in `room`,
    the block moves to new memory.
    """
    begin, end = min(0, held.start), max(block.size, held.stop)
    if spare + begin < 0 or spare + end > room.size:
        spare, room = -begin, np.empty(end - begin, block.dtype)
        room[spare : spare + block.size] = block
    return (
        room[spare + begin : spare + end],
        slice(held.start - begin, held.stop - begin),
        slice(-begin, block.size - begin),
    )


def _gather(room: Array, live: list[Interval], extra: list[Array], begin: int, end: int) -> None:
    """Let all elements be in room[begin:end], in any order: those outside, and `extra`, fill the gaps inside."""
    outside = [room[a : min(b, begin)] for a, b in live] + [room[max(a, end) : b] for a, b in live]
    moving = np.concatenate([*outside, *extra])
    inside = [(min(max(a, begin), end), min(max(b, begin), end)) for a, b in live]
    for (_, a), (b, _) in pairwise([(begin, begin), *inside, (end, end)]):
        room[a:b], moving = moving[: b - a], moving[b - a :]
