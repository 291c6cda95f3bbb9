"""The bitonic network as one writes it first: the lower rungs of the ladder that the experiment climbs."""

from __future__ import annotations

from typing import Any

import numpy as np

from sorting.kernel import exchange
from sorting.keys import Array, check_sortable, from_keys, to_keys


def sort_pairs(x: list[Any]) -> list[Any]:
    """Return `x` sorted, one comparator of the bitonic network after the other.

    sort_pairs([3, 1, 2])  # [1, 2, 3]

    Any values that can be compared by >, any length.
    """
    out, n = list(x), len(x)
    block = 2
    while block < 2 * n:
        half = block // 2
        for start in range(0, n, block):
            mirror = 2 * start + block - 1
            for i in range(max(start, mirror - n + 1), start + half):
                if out[i] > out[mirror - i]:
                    out[i], out[mirror - i] = out[mirror - i], out[i]
        distance = half // 2
        while distance:
            for start in range(0, n, 2 * distance):
                for i in range(start, min(start + distance, n - distance)):
                    if out[i] > out[i + distance]:
                        out[i], out[i + distance] = out[i + distance], out[i]
            distance //= 2
        block *= 2
    return out


def sort_views(x: Array) -> Array:
    """Return the one-dimensional `x` sorted, a stage of the bitonic network at a time, on views of one array.

        sort_views(np.array([3, 1, 2]))  # array([1, 2, 3])

    All comparators of a stage work at once, but the shorter its distance, the shorter the runs of memory that they
    work on, and every stage goes through all of memory.
    """
    check_sortable("sort_views", x)
    if x.ndim != 1 or x.dtype.itemsize > 8:
        raise ValueError(
            f"sort_views: got x of shape {x.shape} and dtype {x.dtype}, expected one axis and at most 8 bytes an "
            "element; remedy: use bitonic_sort"
        )
    keys, n = to_keys(x), x.size
    padded = 1 << max(0, n - 1).bit_length()
    here = np.full(padded, np.iinfo(keys.dtype).max, keys.dtype)
    here[:n] = keys
    there = np.empty_like(here)
    block = 2
    while block <= padded:
        a, b = here.reshape(-1, 2, block // 2), there.reshape(-1, 2, block // 2)
        # The second half in reverse meets the first, and stays reversed: the two halves are bitonic as well.
        exchange(a[:, 0], a[:, 1, ::-1], b[:, 0], b[:, 1])
        here, there = there, here
        distance = block // 4
        while distance:
            a, b = here.reshape(-1, 2, distance), there.reshape(-1, 2, distance)
            exchange(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
            here, there = there, here
            distance //= 2
        block *= 2
    return from_keys(here[:n], x.dtype).astype(x.dtype, copy=False)
