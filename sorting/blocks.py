"""What the distributed sorts share: agreeing on what the ranks brought, moving parts of blocks, merging runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from collectives import ring_allgather
from ranks import announce
from sorting.keys import Array, check_sortable, from_keys, is_extended, to_keys

_MOVE = 32_101
_TEXT = 56  # bytes of what a rank says about its x, beside the number of its elements


def agreed_sizes(who: str, comm: Any, x: Any) -> list[int]:
    """Return how many elements each rank brings.

    Cost:    p-1 sends a rank, of 64 bytes each.
    Raises:  TypeError on every rank, with the same text, if x is no one-dimensional array of real values on some
             rank, or has another dtype on one than on another.
    """
    announce(comm, who)
    text, size = _description(who, x)
    record = np.zeros(8 + _TEXT, np.uint8)
    record[:8] = np.array([size], np.int64).view(np.uint8)
    said = np.frombuffer(text.encode()[:_TEXT], np.uint8)
    record[8 : 8 + said.size] = said
    everyone = ring_allgather(comm, record)
    sizes: list[int] = np.ascontiguousarray(everyone[:, :8]).view(np.int64).ravel().tolist()
    texts = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in everyone[:, 8:]]
    if min(sizes) < 0 or len(set(texts)) > 1:
        by_text: dict[str, list[int]] = {}
        for rank, each in enumerate(texts):
            by_text.setdefault(each, []).append(rank)
        got = "; ".join(f"{each} on {_ranks(named)}" for each, named in by_text.items())
        raise TypeError(
            f"{who}: got as x {got}, expected one-dimensional numpy arrays of one real dtype on all ranks; remedy: "
            "x.ravel().astype(...) to the same dtype everywhere"
        )
    return sizes


def _description(who: str, x: Any) -> tuple[str, int]:
    """Return what to tell the others about x: its dtype and size, or what is wrong with it and -1."""
    try:
        array = check_sortable(who, x)
    except (TypeError, ValueError):
        if type(x) is not np.ndarray:
            return type(x).__name__, -1
        return (f"dtype {x.dtype}" if x.ndim else "shape ()"), -1
    return (str(array.dtype), array.size) if array.ndim == 1 else (f"shape {array.shape}", -1)


def _ranks(named: list[int]) -> str:
    """Return ranks as people write them, the first few of many."""
    shown = ", ".join(map(str, named[:8])) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
    return f"rank{'s' if len(named) > 1 else ''} {shown}"


def sortable(x: Array) -> Array:
    """Return a copy of `x` as what the ranks sort and send: integer keys, of extended floats the values."""
    return np.array(x, x.dtype.newbyteorder("="), subok=False) if is_extended(x.dtype) else to_keys(x)


def restored(block: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values that `sortable` made a block of, in their dtype; uses it up."""
    values = block if is_extended(dtype) else from_keys(block, dtype)
    return values.astype(dtype, copy=False)


def merge_runs(runs: Array) -> None:
    """Sort an array that consists of a few sorted runs, in place: merge them.

    NumPy's stable sort finds the runs and merges them (timsort), two in linear time, r in n lg r; keys of 8 and 16
    bits it counts (radix sort), which is linear too.
    """
    runs.sort(kind="stable")


def moves(have: Sequence[int], want: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return (source, dest, begin, end) of every part of the global order that lies on one rank and belongs to another.

        moves([3, 1], [2, 2])  # [(0, 0, 0, 2), (0, 1, 2, 3), (1, 1, 3, 4)]

    have, want: elements of each rank before and after; parts that stay where they are, are in it too.
    """
    found = []
    source = dest = begin = 0
    source_end, dest_end = have[0], want[0]
    total = sum(have)
    while begin < total:
        end = min(source_end, dest_end)
        if end > begin:
            found.append((source, dest, begin, end))
        begin = end
        if begin == source_end and source + 1 < len(have):
            source += 1
            source_end += have[source]
        if begin == dest_end and dest + 1 < len(want):
            dest += 1
            dest_end += want[dest]
    return found


def redistribute(comm: Any, block: Array, have: Sequence[int], want: Sequence[int]) -> Array:
    """Return want[rank] elements of the global order, of which each rank brings have[rank].

    Cost:    a send for each part that moves: those of `moves` with source other than dest.
    """
    rank = comm.rank
    if list(have) == list(want):
        return block
    mine, first = sum(have[:rank]), sum(want[:rank])
    out = np.empty(want[rank], block.dtype)
    requests = []
    for source, dest, begin, end in moves(have, want):
        part, place = block[begin - mine : end - mine], out[begin - first : end - first]
        if source == dest == rank:
            place[...] = part
        elif source == rank:
            requests.append(comm.Isend(part, dest, _MOVE))
        elif dest == rank:
            requests.append(comm.Irecv(place, source, _MOVE))
    for request in requests:
        request.Wait()
    return out
