"""The order in which each reduction is documented to combine the ranks' arrays, done by NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from collectives.bcube import BASE, sides
from collectives.double_tree import families


def ring_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction as the ring's docstring orders it: block b over ranks b+1, b+2, ..., b."""
    blocks = [np.array_split(part.reshape(-1), len(parts)) for part in parts]
    folded = [ring_block_order([each[b] for each in blocks], op, b) for b in range(len(parts))]
    return np.concatenate(folded).astype(parts[0].dtype).reshape(parts[0].shape)


def ring_block_order(shares: list[np.ndarray], op: Any, block: int) -> np.ndarray:
    """Return the reduction over ranks block+1, block+2, ..., block."""
    return reduce(op, shares[block + 1 :] + shares[: block + 1])


def pairwise_block_order(shares: list[np.ndarray], op: Any, block: int) -> np.ndarray:
    """Return op(op(0, op(1, ... block)), op(block+1, ... op(p-2, p-1)))."""
    low, high = (
        reduce(lambda right, left: op(left, right), reversed(some))
        for some in (shares[: block + 1], shares[block + 1 :] or [None])
    )
    return low if high is None else op(low, high)


def halving_block_order(shares: list[np.ndarray], op: Any, block: int) -> np.ndarray:
    """Return the reduction of the first pairs, which make p a power of two, then over i and i+q/2, i and i+q/4, ..."""
    q = 1 << (len(shares).bit_length() - 1)
    n_pairs = len(shares) - q
    left = [op(shares[2 * k], shares[2 * k + 1]) for k in range(n_pairs)] + shares[2 * n_pairs :]
    while len(left) > 1:
        half = len(left) // 2
        left = [op(left[k], left[k + half]) for k in range(half)]
    return left[0]


def rank_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction over ranks 0, 1, ..., p-1."""
    return np.asarray(reduce(op, parts)).astype(parts[0].dtype)


def balanced_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction in rank order as a balanced tree; before, the first pairs make p a power of two."""
    p = len(parts)
    q = 1 << (p.bit_length() - 1)
    pairs = [op(parts[2 * k], parts[2 * k + 1]) for k in range(p - q)]
    left = [*pairs, *parts[2 * (p - q) :]]
    while len(left) > 1:
        left = [op(left[k], left[k + 1]) for k in range(0, len(left), 2)]
    return np.asarray(left[0]).astype(parts[0].dtype)


def binomial_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction in rank order as a binomial tree: each rank takes in subtrees of 1, 2, 4, ... ranks."""

    def subtree(first: int, size: int) -> np.ndarray:
        whole, width = parts[first], 1
        while width < size and first + width < len(parts):
            whole = op(whole, subtree(first + width, width))
            width *= 2
        return whole

    return np.asarray(subtree(0, len(parts))).astype(parts[0].dtype)


def cube_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction in rank order by the lines of the cube: neighbours first, then lines of what these made."""
    left = list(parts)
    for side in sides(len(parts), BASE):
        left = [reduce(op, left[k : k + side]) for k in range(0, len(left), side)]
    return np.asarray(left[0]).astype(parts[0].dtype)


def double_tree_order(parts: list[np.ndarray], op: Any) -> np.ndarray:
    """Return the reduction of each half up its tree: an inner node takes in one child, then the other."""

    def up(rank: int, tree: int, halves: list[np.ndarray]) -> np.ndarray:
        whole = halves[rank]
        for child in families(rank, len(parts))[tree].children:
            whole = op(whole, up(child, tree, halves))
        return whole

    cut = [np.array_split(part.reshape(-1), 2) for part in parts]
    roots = [next(r for r in range(len(parts)) if families(r, len(parts))[tree].parent is None) for tree in range(2)]
    halves = [up(root, tree, [both[tree] for both in cut]) for tree, root in enumerate(roots)]
    return np.concatenate(halves).astype(parts[0].dtype).reshape(parts[0].shape)


def two_level_order(parts: list[np.ndarray], op: Any, nodes: tuple[int, ...]) -> np.ndarray:
    """Return the reduction round each node, by blocks, then round the nodes, by blocks of these."""
    members: dict[int, list[int]] = {}
    for rank, node in enumerate(nodes):
        members.setdefault(node, []).append(rank)
    width = min(map(len, members.values()))
    flats = [part.reshape(-1) for part in parts]
    by_node = [
        [reduce(op, [flats[r] for r in own[k::width]]) for k in range(width)] for own in members.values()
    ]  # each carrier takes in what further ranks of its node hand over
    inside = [ring_order(carriers, op) for carriers in by_node]
    blocks = [np.array_split(whole, width) for whole in inside]
    across = [ring_order([each[block] for each in blocks], op) for block in range(width)]
    return np.concatenate(across).astype(parts[0].dtype).reshape(parts[0].shape)


# The order in which each reduction is documented to go.
ORDERS: dict[str, Callable[..., np.ndarray]] = {
    "naive_allreduce": rank_order,
    "staged_allreduce": rank_order,
    "ring_allreduce": ring_order,
    "recursive_doubling_allreduce": balanced_order,
    "halving_doubling_allreduce": balanced_order,
    "segmented_ring_allreduce": ring_order,
    "bcube_allreduce": cube_order,
    "double_tree_allreduce": double_tree_order,
    "binomial_reduce": binomial_order,
    "rabenseifner_reduce": balanced_order,
}

# In which each block is.
BLOCK_ORDERS: dict[str, Callable[..., np.ndarray]] = {
    "ring_reduce_scatter": ring_block_order,
    "pairwise_reduce_scatter": pairwise_block_order,
    "recursive_halving_reduce_scatter": halving_block_order,
}


def linear_scan_order(parts: list[np.ndarray], op: Any) -> list[np.ndarray]:
    """Return the reductions over ranks 0, ..., r for each r, one rank after the other."""
    return [np.asarray(part).astype(parts[0].dtype) for part in accumulate(parts, op)]


def doubling_scan_order(parts: list[np.ndarray], op: Any) -> list[np.ndarray]:
    """Return the reductions over ranks 0, ..., r for each r, as op(d ranks below, d ranks up to here), d = 1, 2, ..."""
    upto, distance = parts, 1
    while distance < len(parts):
        upto = [op(upto[r - distance], upto[r]) if r >= distance else upto[r] for r in range(len(parts))]
        distance *= 2
    return [np.asarray(part).astype(parts[0].dtype) for part in upto]


def doubling_exscan_order(parts: list[np.ndarray], op: Any) -> list[np.ndarray]:
    """Return the reductions over ranks 0, ..., r-1 for each r > 0, as op(d ranks below, what is here), d = 1, 2, ..."""
    below: list[Any] = [None] * len(parts)
    upto, distance = parts, 1
    while distance < len(parts):
        pairs = [(upto[r - distance], below[r]) if r >= distance else (below[r], None) for r in range(len(parts))]
        below = [b if a is None else a if b is None else op(a, b) for a, b in pairs]
        upto = [op(upto[r - distance], upto[r]) if r >= distance else upto[r] for r in range(len(parts))]
        distance *= 2
    return [np.asarray(part).astype(parts[0].dtype) for part in below[1:]]


SCAN_ORDERS: dict[str, Callable[..., list[np.ndarray]]] = {
    "linear_scan": linear_scan_order,
    "recursive_doubling_scan": doubling_scan_order,
    "linear_exscan": lambda parts, op: linear_scan_order(parts, op)[:-1],
    "recursive_doubling_exscan": doubling_exscan_order,
}
