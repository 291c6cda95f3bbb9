"""All-to-all of blocks of any sizes, and of parts of arrays along any axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import prod
from operator import index
from typing import Any

import numpy as np

from collectives.all_to_all import bruck_alltoall, exchange_at_once, exchange_by_bruck, exchange_in_turn
from collectives.arguments import apart, check_array, finish, flat_input, flattened, output, sizes_of
from collectives.arrays import Array, block_sizes, bounds_of
from collectives.choice import choose, machine_of
from collectives.messages import carrier
from ranks import announce, region

Exchange = Callable[[str, Any, Array, list[int], Array, list[int]], Array]

_EXCHANGES: dict[str, Exchange] = {"pairwise": exchange_in_turn, "linear": exchange_at_once, "bruck": exchange_by_bruck}


def alltoallv(
    comm: Any,
    x: Array,
    counts: Sequence[int],
    receive_counts: Sequence[int] | None = None,
    *,
    algorithm: str = "pairwise",
    out: Array | None = None,
) -> Array:
    """Return the blocks that all ranks of `comm` have for this one, in rank order; blocks may have any sizes.

        ranks.run(lambda comm: alltoallv(comm, np.full(3, comm.rank), [0, 1, 2]), 3).results
        # [array([], dtype=int64), array([0, 1, 2]), array([0, 0, 1, 1, 2, 2])]

    counts:         counts[d] elements go to rank d.
    receive_counts: receive_counts[s] elements come from rank s. If None on all ranks, the ranks exchange counts first.
    algorithm:      "pairwise" or "linear".

    Shape:   x (...,) of sum(counts) elements in C order -> (sum(receive_counts),). `x` is kept unless out overlaps it.
    Cost:    each rank sends p-1 messages with all of x except its own block. Exchanging the counts takes ceil(lg p)
             more messages, of 8 bytes a count.
    Raises:  TypeError, ValueError if arguments do not fit, or are not what another rank sends (TruncationError if
             that is more); CollectiveMismatchError if simulated ranks differ in what is to be alike.
    """
    who, p = "alltoallv", comm.size
    flat = flat_input(who, x)
    _check_algorithm(who, algorithm, ["pairwise", "linear"])
    sent = sizes_of(who, "counts", counts, p, flat.size)
    came = None if receive_counts is None else sizes_of(who, "receive_counts", receive_counts, p)
    if came is not None:
        _check_kept(who, "receive_counts", came, sent[comm.rank], comm.rank)
    announce(comm, who, dtype=x.dtype, algorithm=algorithm, receive_counts=None if came is None else "given")
    with region(comm, who):
        if came is None:
            came = bruck_alltoall(comm, np.array(sent, np.int64)).tolist()
        result, whole = output(who, out, (sum(came),), flat.dtype)
        mine = apart(flat, whole, may_be_same=False)
        _EXCHANGES[algorithm](who, carrier(comm, flat.dtype), mine, bounds_of(sent), whole, bounds_of(came))
    return finish(result, whole, whole)


def alltoall(
    comm: Any,
    x: Array,
    split_axis: int = 0,
    concat_axis: int = 0,
    *,
    split_sizes: Sequence[int] | None = None,
    concat_sizes: Sequence[int] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Split `x` along one axis, send part d to rank d of `comm`, and join what comes along another, in rank order.

        ranks.run(lambda comm: alltoall(comm, np.zeros((2 - comm.rank, 4)), 1, 0, concat_sizes=[2, 1]).shape, 2).results
        # [(3, 2), (3, 2)]: from some of 3 tokens and all 4 heads to all tokens and some of the heads, as in Ulysses

    split_sizes:  lengths of the parts along split_axis, by destination; None: as np.array_split cuts it.
    concat_sizes: lengths of the parts that come along concat_axis, by source; None: x has one shape on all ranks.
                  No rank asks another: lengths that are not known come from ring_allgather(comm, np.array(length)).
    algorithm:    "pairwise", "linear", or "bruck" for parts that are all equal. "auto": the fastest by the network's
                  cost model; "pairwise" if ranks cannot know what the others have (one axis, sizes given).

    With axes and sizes swapped it is its own inverse. On x (p, ...), axes 0 and 0, it is MPI's all-to-all.

    Shape:   x (...,) -> as many axes: split_sizes[rank] long along split_axis, then sum(concat_sizes) along
             concat_axis. `x` is kept unless out overlaps it.
    Cost:    each rank sends p-1 messages (bruck: ceil(lg p)) with all of x except its own part. Empty parts are sent
             too.
    Raises:  TypeError, ValueError if arguments do not fit, or are not what another rank sends (TruncationError if
             that is more); CollectiveMismatchError if simulated ranks differ in what is to be alike.
    Source:  Jacobs et al., DeepSpeed-Ulysses, arXiv 2309.14509.
    """
    who, p = "alltoall", comm.size
    check_array(who, x)
    split, concat = _axis(who, "split_axis", split_axis, x), _axis(who, "concat_axis", concat_axis, x)
    length = x.shape[split]
    sent = block_sizes(length, p) if split_sizes is None else sizes_of(who, "split_sizes", split_sizes, p, length)
    shape = [sent[comm.rank] if axis == split else n for axis, n in enumerate(x.shape)]
    came = [shape[concat]] * p if concat_sizes is None else sizes_of(who, "concat_sizes", concat_sizes, p)
    _check_kept(who, "concat_sizes", came, shape[concat], comm.rank)
    is_equal = len({*sent}) == len({*came}) == 1
    _check_algorithm(who, algorithm, ["auto", "pairwise", "linear", *["bruck"] * is_equal])
    shape[concat] = sum(came)
    result, whole = output(who, out, tuple(shape), x.dtype)
    alike = {"shape": tuple(n if axis != concat or concat_sizes is None else None for axis, n in enumerate(x.shape))}
    if split != concat:  # otherwise the sizes concern this rank only
        alike |= {"split_sizes": tuple(sent), "concat_sizes": tuple(came)}
    announce(comm, who, split_axis=split, concat_axis=concat, **alike, dtype=x.dtype, algorithm=algorithm)
    if algorithm == "auto":
        n_items = x.size if split == concat else _whole(x.shape, split, concat, came) // p
        is_known = split != concat or split_sizes is concat_sizes is None
        algorithm = _fastest(comm, n_items, x.itemsize, is_equal) if is_known else "pairwise"
    with region(comm, who):
        leaving, arriving = _packed(x, split, sent), _room(whole, concat, shape)
        bounds, came_bounds = _bounds(x.shape, split, sent), _bounds(shape, concat, came)
        leaving = apart(leaving, whole, may_be_same=False)
        _EXCHANGES[algorithm](who, carrier(comm, x.dtype), leaving, bounds, arriving, came_bounds)
        if arriving is not whole:
            for part, place in _parts(whole.reshape(shape), concat, came, arriving):
                part[...] = place
    return finish(result, whole, whole)


def _whole(shape: tuple[int, ...], split: int, concat: int, came: list[int]) -> int:
    """Return how many elements all ranks have together: a number that they know alike, unlike that of their parts."""
    return prod(n for axis, n in enumerate(shape) if axis not in (split, concat)) * shape[split] * sum(came)


def _packed(x: Array, axis: int, sizes: list[int]) -> Array:
    """Return the elements of x, part after part along `axis`, each in C order; a view of x where that is possible."""
    if _is_leading(axis, x.shape):
        return flattened(x)
    packed = np.empty(x.size, x.dtype)
    for part, place in _parts(x, axis, sizes, packed):
        place[...] = part
    return packed


def _room(whole: Array, axis: int, shape: Sequence[int]) -> Array:
    """Return where parts along `axis` of the result can arrive one after the other: `whole` itself if they lie so."""
    return whole if _is_leading(axis, shape) else np.empty_like(whole)


def _is_leading(axis: int, shape: Sequence[int]) -> bool:
    """Return whether parts along `axis` lie one after the other in C order."""
    return prod(shape[:axis]) <= 1


def _parts(array: Array, axis: int, sizes: list[int], flat: Array) -> Iterator[tuple[Array, Array]]:
    """Yield each part of `array` along `axis`, and its place in `flat`, where parts lie one after the other."""
    places = pairwise(_bounds(array.shape, axis, sizes))
    for (begin, end), (first, last) in zip(pairwise(bounds_of(sizes)), places, strict=True):
        part = array[(slice(None),) * axis + (slice(begin, end),)]
        yield part, flat[first:last].reshape(part.shape)


def _bounds(shape: Sequence[int], axis: int, sizes: list[int]) -> list[int]:
    """Return where parts along `axis` begin and end, in elements, when they lie one after the other."""
    unit = prod(shape[:axis]) * prod(shape[axis + 1 :])
    return [unit * bound for bound in bounds_of(sizes)]


def _check_algorithm(who: str, algorithm: str, names: list[str]) -> None:
    if algorithm not in names:
        why = " for parts that are not all equal" if algorithm == "bruck" else ""
        raise ValueError(f"{who}: got algorithm {algorithm!r}, expected {' or '.join(names)}{why}; remedy: choose one")


def _fastest(comm: Any, n_items: int, itemsize: int, is_equal: bool) -> str:
    """Return the algorithm that is predicted to be the fastest for so much on each rank; all can but one."""
    candidates = choose("alltoall", machine_of(comm), n_items, itemsize).candidates
    return next(name for name, _ in candidates if is_equal or name != "bruck")


def _axis(who: str, name: str, axis: Any, x: Array) -> int:
    """Return the axis counted from the first one."""
    if not isinstance(axis, (int, np.integer)) or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{who}: got {name}={axis!r} for x of shape {x.shape}, expected an axis of it; remedy: choose one of "
            f"{x.ndim}, counted from 0"
        )
    return index(axis) % x.ndim


def _check_kept(who: str, name: str, came: list[int], kept: int, rank: int) -> None:
    """Raise ValueError unless a rank expects from itself what it sends to itself."""
    if came[rank] != kept:
        raise ValueError(
            f"{who}: got {name}={came} on rank {rank}, which keeps {kept} of its own x, expected {kept} at place "
            f"{rank}; remedy: give what each rank really sends here"
        )
