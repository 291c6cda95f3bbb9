"""Parts of all distributed sorts: agreeing on the ranks' arguments, moving parts of blocks, merging runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from collectives import bruck_allgather
from ranks import announce
from sorting.keys import Array, check_sortable, copy_floats, from_keys, is_extended, keys_in_place

_MOVE = 32_101
_TEXT = 55  # bytes in which a rank describes its x, beside the number of its elements


def agreed(who: str, comm: Any, x: Any, spare: int = 0) -> tuple[list[int], bool, Array]:
    """Return how many elements each rank brings, whether ranks sort integer keys, and a copy of x as keys or unchanged.

    `spare` more elements of memory, not touched yet, are before and behind the copy in the array that is returned.
    Floats are sorted as they are if no rank has NaN or -0.0, since making keys and values again takes a tenth of the
    time of a sort. np.sort may lose the sign of a zero, and comparisons know no place for NaN.

    Cost:    ceil(lg p) sends a rank, of 64 bytes for each other rank.
    Raises:  TypeError on every rank, with the same text, if x is no one-dimensional array of real values on some
             rank, or has another dtype on one than on another.
    """
    announce(comm, who)
    text, size = _description(who, x)
    room, as_keys = _copied(x, spare) if size >= 0 else (np.empty(0), False)
    record = np.zeros(8 + 1 + _TEXT, np.uint8)
    record[:8] = np.array([size], np.int64).view(np.uint8)
    said = np.frombuffer(text.encode()[:_TEXT], np.uint8)
    record[8] = as_keys
    record[9 : 9 + said.size] = said
    everyone = bruck_allgather(comm, record)
    sizes: list[int] = np.ascontiguousarray(everyone[:, :8]).view(np.int64).ravel().tolist()
    texts = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in everyone[:, 9:]]
    if min(sizes) < 0 or len(set(texts)) > 1:
        by_text: dict[str, list[int]] = {}
        for rank, each in enumerate(texts):
            by_text.setdefault(each, []).append(rank)
        got = "; ".join(f"{each} on {_ranks(named)}" for each, named in by_text.items())
        raise TypeError(
            f"{who}: got as x {got}, expected one-dimensional numpy arrays of one real dtype on all ranks; remedy: "
            "x.ravel().astype(...) to the same dtype everywhere"
        )
    as_keys = bool(everyone[:, 8].any())
    if as_keys:
        keys = keys_in_place(room[spare : spare + x.size])
        room = room.view(keys.dtype)
    return sizes, as_keys, room


def _copied(x: Array, spare: int) -> tuple[Array, bool]:
    """Return a copy of `x` with `spare` elements of memory on both sides, and whether keys must stand for its values.

    Memory that nobody touches costs nothing.
    """
    room = np.empty(x.size + 2 * spare, x.dtype.newbyteorder("="))
    copy = room[spare : spare + x.size]
    if x.dtype.kind == "f" and not is_extended(x.dtype):
        return room, not copy_floats(x, copy)
    copy[...] = x
    return room, not is_extended(x.dtype)


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


def restored(block: Array, dtype: np.dtype[Any], as_keys: bool) -> Array:
    """Return the values that `agreed` made a block of, in their dtype; uses it up."""
    values = from_keys(block, dtype) if as_keys else block
    return values.astype(dtype, copy=False)


def merge_runs(runs: Array) -> None:
    """Sort an array that consists of a few sorted runs, in place: merge them.

    NumPy's stable sort finds the runs and merges them (timsort), two in linear time, r in n lg r; keys of 8 and 16
    bits it counts (radix sort), which is linear too. Most of the time goes into branches that cannot be foreseen. A
    merge without any, in tiles that the merge path cuts and np.sort sorts, was an eighth faster for 4 bytes an element
    and slower for 8.
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
    if list(have) == list(want):
        return block
    room, held, wanted = room_for(comm.rank, have, want, block.dtype)
    held[...] = block
    settle(comm, room, have, want)
    return wanted


def room_for(rank: int, have: Sequence[int], want: Sequence[int], dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """Return an array for the part of the global order that a rank has or wants, and views of what it has, wants."""
    first_held, first_wanted = sum(have[:rank]), sum(want[:rank])
    begin = min(first_held, first_wanted)
    end = max(first_held + have[rank], first_wanted + want[rank])
    room = np.empty(end - begin, dtype)
    held, wanted = room[first_held - begin :][: have[rank]], room[first_wanted - begin :][: want[rank]]
    return room, held, wanted


def settle(comm: Any, room: Array, have: Sequence[int], want: Sequence[int]) -> None:
    """Let the parts of the global order move to the ranks that want them; `room` is what `room_for` gave."""
    rank = comm.rank
    origin = min(sum(have[:rank]), sum(want[:rank]))
    requests = []
    for source, dest, begin, end in moves(have, want):
        part = room[begin - origin : end - origin]
        if source == rank != dest:
            requests.append(comm.Isend(part, dest, _MOVE))
        elif dest == rank != source:
            requests.append(comm.Irecv(part, source, _MOVE))
    for request in requests:
        request.Wait()
