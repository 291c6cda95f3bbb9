"""Which rank computes which heads, when there may be more ranks than heads, or fewer K/V heads than query heads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from parallel.local import Attention


@dataclass(frozen=True, slots=True)
class Heads:
    """The query heads [lo, hi) of a rank and the K/V heads [kv_lo, kv_hi) that they attend with."""

    lo: int
    hi: int
    kv_lo: int
    kv_hi: int

    @property
    def query(self) -> slice:
        """The query heads."""
        return slice(self.lo, self.hi)

    @property
    def kv(self) -> slice:
        """The K/V heads."""
        return slice(self.kv_lo, self.kv_hi)

    @property
    def width(self) -> int:
        """How many heads of q, k and v there are together."""
        return self.hi - self.lo + 2 * (self.kv_hi - self.kv_lo)


def split_heads(heads: int, kv_heads: int, p: int) -> list[Heads]:
    """Return the heads of each of p ranks: query heads as evenly as can be, K/V heads wherever they are needed.

        split_heads(4, 2, 4)[3].kv_lo  # 1: the last of four ranks has query head 3, which uses K/V head 1

    A K/V head that several ranks need is replicated on them. Query head h uses K/V head h // (heads / kv_heads).
    """
    group = heads // max(kv_heads, 1)
    return [
        Heads(lo, hi, lo // group, -(-hi // group)) if hi > lo else Heads(lo, lo, 0, 0)
        for lo, hi in pairwise(block_bounds(heads, p))
    ]


def on_heads(attention: Attention, mine: Heads, group: int) -> Attention:
    """Return `attention` for the heads of one rank, whose K/V heads may serve unequal numbers of its query heads.

    Then each query head gets a K/V head of its own, and gradients of K/V heads that are one are summed.
    """
    used = np.arange(mine.lo, mine.hi) // max(group, 1) - mine.kv_lo
    if len(set(np.bincount(used).tolist())) <= 1:
        return attention
    begins = np.flatnonzero(np.diff(used, prepend=-1))

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
        return attention.forward(q, np.take(k, used, 2), np.take(v, used, 2))

    def backward(saved: Any, d_out: Array) -> tuple[Array, Array, Array]:
        d_q, d_k, d_v = attention.backward(saved, d_out)
        return d_q, np.add.reduceat(d_k, begins, 2), np.add.reduceat(d_v, begins, 2)

    return Attention(forward, backward)


def pack_heads(ranks: list[Heads], q: Array, k: Array, v: Array) -> Array:
    """Return, for one rank after the other, the heads of q, k and v that it needs, joined along the axis of heads."""
    parts = [part for each in ranks for part in (q[:, :, each.query], k[:, :, each.kv], v[:, :, each.kv])]
    return np.concatenate(parts, 2)


def unpack_heads(ranks: list[Heads], packed: Array, heads: int, kv_heads: int) -> tuple[Array, Array, Array]:
    """Return the q, k and v that `pack_heads` joined; of a K/V head that occurs more than once, the sum."""
    shape, end = packed.shape, 0
    q = np.empty((*shape[:2], heads, shape[3]), packed.dtype)
    k, v = (np.zeros((*shape[:2], kv_heads, shape[3]), packed.dtype) for _ in range(2))
    for each in ranks:
        begin, middle, end = end, end + each.hi - each.lo, end + each.width
        q[:, :, each.query] = packed[:, :, begin:middle]
        last = middle + each.kv_hi - each.kv_lo
        k[:, :, each.kv] += packed[:, :, middle:last]
        v[:, :, each.kv] += packed[:, :, last:end]
    return q, k, v
