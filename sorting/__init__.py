"""Sorting networks as data, with proofs; the bitonic one as fast as NumPy allows; and sorts spread over ranks.

from sorting import bitonic, bitonic_sort, sorts

bitonic(4).stages  # (((0, 1), (2, 3)), ((0, 3), (1, 2)), ((0, 1), (2, 3)))
sorts(bitonic(4))  # True
bitonic_sort(np.array([3, 1, 2]))  # array([1, 2, 3])
"""

from sorting.bitonic import bitonic_argsort, bitonic_sort, bitonic_sort_by_key
from sorting.drawing import draw
from sorting.merge_split import bitonic_block_sort, odd_even_block_sort
from sorting.networks import (
    NETWORKS,
    ComparatorNetwork,
    bitonic,
    odd_even_merge,
    odd_even_transposition,
    pairwise,
)
from sorting.partition import partition_sort
from sorting.proof import smallest_unsorted, sorts
from sorting.sample import sample_bound, sample_sort

__all__ = [
    "NETWORKS",
    "ComparatorNetwork",
    "bitonic",
    "bitonic_argsort",
    "bitonic_block_sort",
    "bitonic_sort",
    "bitonic_sort_by_key",
    "draw",
    "odd_even_block_sort",
    "odd_even_merge",
    "odd_even_transposition",
    "pairwise",
    "partition_sort",
    "sample_bound",
    "sample_sort",
    "smallest_unsorted",
    "sorts",
]
