"""What the experiment on bitonic sorting asks of networks: sizes, proofs, and what each comparator is for."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from experiments.lab import progress, tables
from experiments.lab.tables import Column
from experiments.lab.terminal import say
from sorting import NETWORKS, ComparatorNetwork, bitonic, smallest_unsorted
from sorting.networks import Comparator

Bits = tuple[int, ...]


def formula(name: str, k: int) -> tuple[int, int]:
    """Return the stages and comparators that are expected for 2^k wires."""
    n = 2**k
    if name == "odd_even_transposition":
        return (n if n > 2 else 1), n * (n - 1) // 2
    return k * (k + 1) // 2, n * k * (k + 1) // 4 if name == "bitonic" else (k * k - k + 4) * n // 4 - 1


def show_networks() -> None:
    """Count stages and comparators, and prove each network for 16 wires by all 65,536 inputs of zeros and ones."""
    rows = []
    for name, make in progress.track([*NETWORKS.items()], "proving"):
        for k in (4, 10):
            network, (depth, size) = make(2**k), formula(name, k)
            assert (network.depth, network.size) == (depth, size), name
            assert k > 4 or smallest_unsorted(network) is None, name
            counts = (depth, network.depth, size, network.size)
            rows.append([name, 2**k, *counts, "proved" if k == 4 else ""])
    counted = [Column(name, what) for what in ("stages", "comparators") for name in ("expected", "counted")]
    tables.table([Column("network"), Column("wires"), *counted, Column("sorts all")], rows, "networks")
    whole = bitonic(16)
    first = " ".join(map(str, smallest_unsorted(without(whole, whole.depth - 1, (0, 1))) or ()))
    say(f"Without its last comparator on wires 0 and 1 the bitonic network fails first on the input\n{first}.")


def without(network: ComparatorNetwork, stage: int, comparator: Comparator) -> ComparatorNetwork:
    """Return `network` without one comparator of one stage.

    without(bitonic(4), 1, (1, 2)).stages  # (((0, 1), (2, 3)), ((0, 3),), ((0, 1), (2, 3)))
    """
    stages = [list(each) for each in network.stages]
    stages[stage].remove(comparator)
    return ComparatorNetwork(network.n, stages)


def failing_inputs(network: ComparatorNetwork) -> int:
    """Return how many of the 2^n inputs of zeros and ones come out unsorted.

    failing_inputs(without(bitonic(8), 3, (0, 7)))  # 1
    """
    numbers = np.arange(2**network.n, dtype=np.int64)
    came = network.apply((numbers >> np.arange(network.n)[:, None] & 1).astype(np.int8))
    return int((came[:-1] > came[1:]).any(axis=0).sum())


def needed_by(network: ComparatorNetwork) -> dict[tuple[int, Comparator], int]:
    """Return for each (stage, comparator) how many inputs of zeros and ones come out unsorted without it.

    needed_by(bitonic(2))  # {(0, (0, 1)): 1}
    """
    every = [(number, pair) for number, stage in enumerate(network.stages) for pair in stage]
    return {(number, pair): failing_inputs(without(network, number, pair)) for number, pair in every}


def halves_left_unsorted(network: ComparatorNetwork) -> list[tuple[int, int]]:
    """Return the sorted halves that the last lg n stages do not merge, as (ones in the first, ones in the second).

        halves_left_unsorted(bitonic(32))  # []

    There are only (n/2 + 1)^2 pairs of sorted halves of zeros and ones, so this works where 2^n inputs are too many.
    """
    half = network.n // 2
    stages = network.stages[len(network.stages) - half.bit_length() :]
    run = np.arange(half)[:, None] >= half - np.arange(half + 1)  # column c: zeros, then c ones
    first, second = np.indices((half + 1, half + 1)).reshape(2, -1)
    came = ComparatorNetwork(network.n, stages).apply(np.concatenate([run[:, first], run[:, second]]))
    wrong = np.flatnonzero((came[:-1] > came[1:]).any(axis=0))
    return [(int(first[at]), int(second[at])) for at in wrong]


def lone_failures(n: int) -> dict[Bits, list[Comparator]]:
    """Return, for each input of zeros and ones that some network of n wires fails on alone, a shortest such network.

        lone_failures(2)  # {(1, 0): []}

    All networks are tried, breadth first: what matters of one is only where it sends each of the 2^n inputs.
    """
    bits = [tuple(m >> (n - 1 - i) & 1 for i in range(n)) for m in range(2**n)]
    paths: dict[tuple[Bits, ...], list[Comparator]] = {tuple(bits): []}
    found: dict[Bits, list[Comparator]] = {}
    todo = [tuple(bits)]
    for images in todo:  # which grows on the way
        failed = [m for m, image in enumerate(images) if list(image) != sorted(image)]
        if len(failed) == 1:
            found.setdefault(bits[failed[0]], paths[images])
        for i, j in combinations(range(n), 2):
            after = tuple(_exchanged(image, i, j) for image in images)
            if after not in paths:
                paths[after] = [*paths[images], (i, j)]
                todo.append(after)
    return found


def _exchanged(image: Bits, i: int, j: int) -> Bits:
    """Return what leaves a comparator on wires i < j."""
    low, high = sorted((image[i], image[j]))
    return (*image[:i], low, *image[i + 1 : j], high, *image[j + 1 :])
