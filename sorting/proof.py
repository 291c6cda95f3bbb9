"""Does a network of comparators sort? Answered for all inputs at once, by the 0-1 principle.

A network that sorts all 2^n inputs of zeros and ones sorts everything (Knuth, The Art of Computer Programming 3, 5.3.4,
theorem Z). All these inputs go through together, one bit each: a wire is an array of 2^n bits, and a comparator is one
AND and one OR of two wires.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sorting.networks import ComparatorNetwork

MOST_WIRES = 26  # n 2^n bits: 208 MiB, some seconds
# Bit b of the number of an input, for the 64 inputs of a word.
_WITHIN_WORD = [sum(1 << m for m in range(64) if m >> b & 1) for b in range(6)]

Words = NDArray[np.uint64]


def smallest_unsorted(network: ComparatorNetwork) -> tuple[int, ...] | None:
    """Return the first input of zeros and ones that `network` does not sort, None if it sorts everything.

        smallest_unsorted(bitonic(8))  # None
        smallest_unsorted(ComparatorNetwork(3, [[(0, 1)], [(1, 2)]]))  # (1, 1, 0)

    Order:   inputs are read as binary numbers, wire 0 first, and the smallest is returned.
    Cost:    2^n / 64 words of memory a wire, two operations on such an array a comparator.
    Raises:  ValueError if the network has more than 26 wires.
    Source:  Knuth, The Art of Computer Programming 3, 5.3.4.
    """
    n = network.n
    if n > MOST_WIRES:
        raise ValueError(
            f"smallest_unsorted: got a network of {n} wires, expected at most {MOST_WIRES}, since it tries 2^n "
            "inputs; remedy: prove the same network for fewer wires"
        )
    # Input m puts bit n-1-i of m on wire i, so that the order of m is that of the inputs.
    wires = [_bit_of_every_input(n, n - 1 - i) for i in range(n)]
    spare = np.empty_like(wires[0])
    for stage in network.stages:
        for i, j in stage:
            np.bitwise_and(wires[i], wires[j], out=spare)
            np.bitwise_or(wires[i], wires[j], out=wires[j])
            wires[i], spare = spare, wires[i]
    failed = np.zeros_like(spare)
    for above, below in pairwise(wires):
        failed |= above & ~below
    return _first_input(n, failed)


def sorts(network: ComparatorNetwork) -> bool:
    """Return whether `network` sorts every input, whatever the values: a proof, not a test.

    sorts(bitonic(8))  # True
    """
    return smallest_unsorted(network) is None


def _bit_of_every_input(n: int, b: int) -> Words:
    """Return bit b of the numbers 0 to 2^n - 1, 64 of them a word."""
    words = max(1, 2**n // 64)
    if b < 6:
        return np.full(words, _WITHIN_WORD[b], np.uint64)
    run = 1 << (b - 6)
    made = np.zeros((words // (2 * run), 2, run), np.uint64)
    made[:, 1] = np.uint64(2**64 - 1)
    return made.reshape(-1)


def _first_input(n: int, marked: Words) -> tuple[int, ...] | None:
    """Return the input of the lowest bit that is set, None if there is none."""
    # Fewer than 6 wires fill part of a word; beyond it the inputs repeat, so the lowest bit is a true one.
    hits: Any = np.flatnonzero(marked)
    if not hits.size:
        return None
    word = int(marked[hits[0]])
    m = 64 * int(hits[0]) + (word & -word).bit_length() - 1
    return tuple(m >> (n - 1 - i) & 1 for i in range(n))
