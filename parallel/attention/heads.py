"""Which rank computes which heads, when there may be more ranks than heads, or fewer K/V heads than query heads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from parallel.attention.local import Attention


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


def of_ranks(ranks: list[Heads], q: Array, k: Array, v: Array) -> list[list[Array]]:
    """Return the heads of q, k and v that each rank needs."""
    return [[q[:, :, each.query], k[:, :, each.kv], v[:, :, each.kv]] for each in ranks]


def from_ranks(ranks: list[Heads], came: list[Array], heads: int, kv_heads: int) -> tuple[Array, Array, Array]:
    """Return q, k and v from what `of_ranks` gave each rank, joined; of a K/V head on more than one, the sum."""
    (batch, n, _, head_dim), dtype = came[0].shape, came[0].dtype
    q = np.empty((batch, n, heads, head_dim), dtype)
    k, v = (np.zeros((batch, n, kv_heads, head_dim), dtype) for _ in range(2))
    for each, part in zip(ranks, came, strict=True):
        of_query, of_kv = each.hi - each.lo, each.kv_hi - each.kv_lo
        q[:, :, each.query] = part[:, :, :of_query]
        k[:, :, each.kv] += part[:, :, of_query : of_query + of_kv]
        v[:, :, each.kv] += part[:, :, of_query + of_kv :]
    return q, k, v
