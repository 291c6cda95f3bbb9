"""Sorting networks as data: stages of comparators, from generators that take any number of wires.

A comparator (i, j) with i < j puts the smaller of the values on wires i and j on wire i, and the larger on wire j. The
comparators of one stage touch different wires, so they can all work at once. All comparators point the same way. So a
network for n wires is a network for more wires without the comparators that touch wires from n on: values larger than
all others on those wires would never move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Comparator = tuple[int, int]
Stage = tuple[Comparator, ...]


@dataclass(frozen=True, slots=True)
class ComparatorNetwork:
    """Stages of comparators on n wires, checked: every comparator is (i, j), 0 <= i < j < n, once a wire and stage.

    ComparatorNetwork(2, [[(0, 1)]]).apply(np.array([3, 1]))  # array([1, 3])
    """

    n: int
    stages: tuple[Stage, ...]

    def __init__(self, n: int, stages: Iterable[Iterable[Comparator]]) -> None:
        object.__setattr__(self, "n", _wires("ComparatorNetwork", n))
        object.__setattr__(self, "stages", tuple(tuple(map(tuple, stage)) for stage in stages))
        for number, stage in enumerate(self.stages):
            used = [*chain.from_iterable(stage)]
            wrong = [(i, j) for i, j in stage if not 0 <= i < j < n]
            if wrong or len(set(used)) < len(used):
                got = f"comparator {wrong[0]}" if wrong else f"a wire that two comparators touch, of {sorted(stage)}"
                raise ValueError(
                    f"ComparatorNetwork: got {got} in stage {number}, expected pairs (i, j) of different wires, "
                    f"0 <= i < j < {n}; remedy: order each pair, and give comparators that share a wire stages of "
                    "their own"
                )

    @property
    def depth(self) -> int:
        """The number of stages."""
        return len(self.stages)

    @property
    def size(self) -> int:
        """The number of comparators."""
        return sum(map(len, self.stages))

    def apply(self, x: Array) -> Array:
        """Return what leaves the wires if x[i] enters wire i, in a new array.

            bitonic(4).apply(np.array([3, 1, 2, 0]))  # array([0, 1, 2, 3])

        Shape:   x (n, ...) -> the same; all columns go through at once.
        Raises:  ValueError if the first axis of x is not n long.
        """
        out = np.array(x)
        if out.shape[:1] != (self.n,):
            raise ValueError(
                f"ComparatorNetwork.apply: got x of shape {out.shape}, expected a first axis of {self.n} wires; "
                f"remedy: build the network for {len(out) if out.ndim else 1} wires"
            )
        for stage in self.stages:
            if stage:
                i, j = np.array(stage).T
                low, high = out[i], out[j]
                # Not np.minimum, which spreads NaN. NaN is the largest: nothing is <= NaN, NaN does not equal itself.
                swap = ~(low <= high) & (high == high)
                out[i], out[j] = np.where(swap, high, low), np.where(swap, low, high)
        return out


def bitonic(n: int) -> ComparatorNetwork:
    """Return Batcher's bitonic sorting network: blocks of 2, 4, 8, ... are merged from two sorted halves.

        bitonic(4).stages  # (((0, 1), (2, 3)), ((0, 3), (1, 2)), ((0, 1), (2, 3)))

    Cost:    n = 2^k: depth k(k+1)/2, n k(k+1)/4 comparators; fewer comparators for other n.
    Raises:  ValueError if n is no whole number from 1 up.
    Source:  Batcher, AFIPS Spring Joint Computer Conference 32, 1968.
    """
    _wires("bitonic", n)

    def stages() -> Iterator[list[Comparator]]:
        block = 2
        while block < 2 * n:
            # One half upside down makes two ascending halves a bitonic sequence: wire i meets its mirror image.
            yield [(i, i ^ (block - 1)) for i in range(n) if not i & (block >> 1)]
            distance = block >> 2
            while distance:
                yield [(i, i + distance) for i in range(n) if not i & distance]
                distance >>= 1
            block *= 2

    return _first_wires(n, stages())


def odd_even_merge(n: int) -> ComparatorNetwork:
    """Return Batcher's odd-even merge sorting network.

        odd_even_merge(16).size, bitonic(16).size  # (63, 80)

    Cost:    n = 2^k: depth k(k+1)/2, (k^2 - k + 4) 2^(k-2) - 1 comparators; fewer for other n.
    Raises:  ValueError if n is no whole number from 1 up.
    Source:  Batcher 1968; as merge exchange in Knuth, The Art of Computer Programming 3, 5.2.2.
    """
    _wires("odd_even_merge", n)

    def stages() -> Iterator[list[Comparator]]:
        top = 1 << max(0, (n - 1).bit_length() - 1)
        bit = top
        while bit and n > 1:
            # Wires that agree in `bit` and all bits below are sorted after this round.
            yield [(i, i + bit) for i in range(n) if not i & bit]
            other = top
            while other > bit:
                yield [(i, i + other - bit) for i in range(n) if i & bit]
                other >>= 1
            bit >>= 1

    return _first_wires(n, stages())


def odd_even_transposition(n: int) -> ComparatorNetwork:
    """Return the network in which only neighbours meet: bubble sort, all pairs at once.

        odd_even_transposition(4).stages  # (((0, 1), (2, 3)), ((1, 2),), ((0, 1), (2, 3)), ((1, 2),))

    Cost:    depth n (1 if n = 2), n(n-1)/2 comparators.
    Raises:  ValueError if n is no whole number from 1 up.
    Source:  Habermann, Carnegie Mellon University technical report, 1972.
    """
    _wires("odd_even_transposition", n)
    stages = ([*zip(range(s % 2, n - 1, 2), range(s % 2 + 1, n, 2), strict=True)] for s in range(n))
    return ComparatorNetwork(n, [stage for stage in stages if stage])


def pairwise(n: int) -> ComparatorNetwork:
    """Return the pairwise sorting network: pairs are sorted first, then by their smaller values, then merged.

        sorting.pairwise(16).size, sorting.pairwise(16).depth  # (63, 10)

    Cost:    n = 2^k: depth k(k+1)/2, (k^2 - k + 4) 2^(k-2) - 1 comparators; fewer for other n.
    Raises:  ValueError if n is no whole number from 1 up.
    Source:  Parberry, Parallel Processing Letters 2, 1992.
    """
    _wires("pairwise", n)

    def stages() -> Iterator[list[Comparator]]:
        distance = 1
        while distance < n:
            yield [(i, i + distance) for i in range(n) if not i & distance]
            distance *= 2
        distance >>= 2
        reach = 1
        while distance:
            for step in (reach >> turn for turn in range(reach.bit_length())):
                yield [(i, i + step * distance) for i in range(n) if i & distance]
            distance >>= 1
            reach = 2 * reach + 1

    return _first_wires(n, stages())


NETWORKS: dict[str, Callable[[int], ComparatorNetwork]] = {
    "bitonic": bitonic,
    "odd_even_merge": odd_even_merge,
    "odd_even_transposition": odd_even_transposition,
    "pairwise": pairwise,
}


def _first_wires(n: int, stages: Iterable[list[Comparator]]) -> ComparatorNetwork:
    """Return the network of the comparators that touch only the first n wires."""
    kept = ([(i, j) for i, j in stage if j < n] for stage in stages)
    return ComparatorNetwork(n, [stage for stage in kept if stage])


def _wires(who: str, n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"{who}: got n={n!r}, expected a whole number of wires from 1 up; remedy: pass len(x)")
    return int(n)
