"""Wrong variants of sorting networks and sorts; none may pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from sorting import ComparatorNetwork, bitonic, odd_even_merge, odd_even_transposition

# -- networks ----------------------------------------------------------------------------------------------------


def bitonic_all_the_same_way(n: int) -> ComparatorNetwork:
    """Half-cleaners at distances block/2, block/4, ... with every comparator downwards: halves are never mirrored."""
    stages = []
    block = 2
    while block < 2 * n:
        distance = block // 2
        while distance:
            stages.append([(i, i + distance) for i in range(n - distance) if not i & distance])
            distance //= 2
        block *= 2
    return ComparatorNetwork(n, stages)


def bitonic_without_its_last_stage(n: int) -> ComparatorNetwork:
    """Right up to the last comparators."""
    return ComparatorNetwork(n, bitonic(n).stages[:-1])


def transposition_one_round_short(n: int) -> ComparatorNetwork:
    """n-1 rounds of neighbours: the value that has the longest way does not arrive."""
    return ComparatorNetwork(n, odd_even_transposition(n).stages[:-1])


def bitonic_cut_to_a_power_of_two(n: int) -> ComparatorNetwork:
    """Wires beyond the last power of two are forgotten."""
    return ComparatorNetwork(n, bitonic(1 << (n.bit_length() - 1)).stages)


def odd_even_merge_stages_swapped(n: int) -> ComparatorNetwork:
    """The same comparators, two stages in the wrong order."""
    stages = [*odd_even_merge(n).stages]
    return ComparatorNetwork(n, [*stages[:-2], *stages[:-3:-1]])


NETWORKS = [
    bitonic_all_the_same_way,
    bitonic_without_its_last_stage,
    transposition_one_round_short,
    bitonic_cut_to_a_power_of_two,
    odd_even_merge_stages_swapped,
]

# -- sorts of arrays -----------------------------------------------------------------------------------------------


def minimum_and_maximum_of_floats(x: Any, **options: Any) -> Any:
    """NaN spreads: both sides of a comparator become NaN."""
    out = np.array(x)
    for stage in bitonic(max(1, out.size)).stages:
        i, j = np.array(stage).T
        out[i], out[j] = np.minimum(out[i], out[j]), np.maximum(out[i], out[j])
    return out


def bits_of_floats_as_integers(x: Any, **options: Any) -> Any:
    """Negative floats come out in reverse, NaN with a sign bit first."""
    return np.sort(x.view(f"i{x.itemsize}")).view(x.dtype) if x.dtype.kind == "f" else np.sort(x)


def padding_with_zeros(x: Any, **options: Any) -> Any:
    """What was padded is taken for data."""
    padded = np.zeros(1 << max(0, x.size - 1).bit_length(), x.dtype)
    padded[: x.size] = x
    return np.sort(padded)[: x.size]


def sorts_its_argument(x: Any, **options: Any) -> Any:
    """Right, but in place."""
    x.sort()
    return x


def descending_by_negation(x: Any, *, descending: bool = False, **options: Any) -> Any:
    """-x overflows for the least integer and wraps for unsigned zero."""
    return -np.sort(-x) if descending and x.dtype.kind in "iuf" else np.sort(x)


SORTS = [
    minimum_and_maximum_of_floats,
    bits_of_floats_as_integers,
    padding_with_zeros,
    sorts_its_argument,
    descending_by_negation,
]

# -- distributed sorts -----------------------------------------------------------------------------------------------


def _by_network(comm: Any, x: Any, network: ComparatorNetwork, *, keep: Any = None) -> Any:
    """Merge-split after a network; keep(merged, own size, is low) is what stays, the own size by default."""
    block = np.sort(x)
    for stage in network.stages:
        for low, high in stage:
            if comm.rank in (low, high):
                partner = high if comm.rank == low else low
                merged = np.sort(np.concatenate([block, comm.sendrecv(block, partner, source=partner)]))
                is_low = comm.rank == low
                if keep:
                    block = keep(merged, block, is_low)
                else:
                    block = merged[: block.size] if is_low else merged[merged.size - block.size :]
    return block


def blocks_of_their_own_sizes(comm: Any, x: Any) -> Any:
    """A network of blocks of different sizes: an empty one lets nothing through."""
    return _by_network(comm, x, bitonic(comm.size))


def one_round_short(comm: Any, x: Any) -> Any:
    """Odd-even transposition of p-1 rounds."""
    return _by_network(comm, x, transposition_one_round_short(comm.size))


def keeps_the_wrong_half(comm: Any, x: Any) -> Any:
    """Descending by rank."""
    return _by_network(comm, x, bitonic(comm.size), keep=lambda m, b, low: m[m.size - b.size :] if low else m[: b.size])


def cuts_at_the_own_median(comm: Any, x: Any) -> Any:
    """Each side keeps what lies on its side of its own middle element: elements are lost or doubled."""

    def keep(merged: Any, block: Any, low: bool) -> Any:
        pivot = block[block.size // 2] if block.size else 0
        return merged[merged <= pivot][: block.size] if low else merged[merged >= pivot][-block.size :]

    return _by_network(comm, x, bitonic(comm.size), keep=keep)


def sorts_the_argument_in_place(comm: Any, x: Any) -> Any:
    """Right for equal blocks, but x is sorted, where it may be written to."""
    if x.flags.writeable:
        x.sort()
    return _by_network(comm, x, bitonic(comm.size))


def only_sorts_locally(comm: Any, x: Any) -> Any:
    """Right for one rank."""
    return np.sort(x)


BLOCK_SORTS = [
    blocks_of_their_own_sizes,
    one_round_short,
    keeps_the_wrong_half,
    cuts_at_the_own_median,
    sorts_the_argument_in_place,
    only_sorts_locally,
]


def sample_sort_by_value_alone(comm: Any, x: Any) -> Any:
    """All that equals a splitter goes to one rank."""
    block = np.sort(x)
    others = np.concatenate([comm.sendrecv(block, (comm.rank + s) % comm.size, source=(comm.rank - s) % comm.size)
                             for s in range(comm.size)])  # fmt: skip
    every = np.sort(others)
    splitters = every[[every.size * r // comm.size for r in range(1, comm.size)]]
    return every[np.searchsorted(splitters, every, side="right") == comm.rank]
