"""Attention of short sequences: the heads of a batch in stacks of products, where a tile of one head is little work.

Query heads that share a K/V head are more rows of its queries. Every head has to see alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.attention.visibility import Visibility

# Scores that are worked on at once, of one head or of several: they stay in the cache.
_SCORES = 1 << 16


def can_attend_together(seen: Visibility, height: int, width: int) -> bool:
    """Return whether all heads see alike, and have no more queries and keys than one tile of this height and width."""
    few = 0 < seen.sizes.queries <= height and 0 < seen.sizes.keys <= width
    return few and seen.mask is None and seen.q_segments is None and seen.sizes.kv_heads > 0


def attend_together(q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array) -> None:
    """Fill `out` and `lse`. A sum of all values must not overflow."""
    kv_heads = seen.sizes.kv_heads
    queries, keys, values = _stack(q, kv_heads, factor), _stack(k, kv_heads), _stack(v, kv_heads, beside=1)
    totals = np.empty((*queries.shape[:2], values.shape[2]), q.dtype)
    tops = np.empty((*queries.shape[:2], 1), q.dtype)
    for heads, weights in _scores(queries, keys, seen):
        top = np.max(weights, 2, keepdims=True, out=tops[heads])
        top[np.isneginf(top)] = 0  # of a query that sees no key
        weights -= top
        np.exp(weights, out=weights)
        np.matmul(weights, values[heads], out=totals[heads])
    sums = totals[..., -1:]  # the product with ones beside the values
    none = sums == 0
    sums[none] = 1
    tops += np.log(sums)
    tops[none] = -np.inf
    for result, stack in ((out, totals[..., :-1] / sums), (lse[..., None], tops)):
        _heads_first(result)[...] = stack.reshape(_heads_first(result).shape)


def attend_together_backward(
    q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array, d_out: Array,
    grads: tuple[Array, Array, Array],
) -> None:  # fmt: skip
    """Add the gradients."""
    kv_heads = seen.sizes.kv_heads
    base = np.where(np.isneginf(lse), 0, lse)  # any number, where all scores are -inf
    queries = _stack(q, kv_heads, factor, beside=-base.swapaxes(1, 2))
    keys, values = _stack(k, kv_heads, beside=1), _stack(v, kv_heads, beside=1)
    d_outs = _stack(d_out, kv_heads, beside=-np.einsum("bshd,bshd->bhs", out, d_out))
    d_queries, d_keys, d_values = (np.empty(x[..., :-1].shape, x.dtype) for x in (queries, keys, values))
    for heads, weights in _scores(queries, keys, seen):
        np.exp(weights, out=weights)
        np.matmul(weights.swapaxes(1, 2), d_outs[heads, :, :-1], out=d_values[heads])
        weights *= d_outs[heads] @ values[heads].swapaxes(1, 2)
        np.matmul(weights.swapaxes(1, 2), queries[heads, :, :-1], out=d_keys[heads])
        np.matmul(weights, keys[heads, :, :-1], out=d_queries[heads])
    d_queries *= factor
    for grad, stack in zip(grads, (d_queries, d_keys, d_values), strict=True):
        by_head = _heads_first(grad)
        by_head += stack.reshape(by_head.shape)


def _scores(queries: Array, keys: Array, seen: Visibility) -> Iterator[tuple[slice, Array]]:
    """Yield some heads at a time and their scores, -inf where they are hidden, in the same memory each time."""
    n_heads, rows, cols = len(queries), queries.shape[1], keys.shape[1]
    step = max(1, _SCORES // (rows * cols))
    work = np.empty((min(step, n_heads), rows, cols), queries.dtype)
    hidden = None
    if not seen.is_full:
        hidden = np.where(seen.hidden(0, 0, slice(0, seen.sizes.queries), slice(0, cols)), -np.inf, 0)
        hidden = np.tile(hidden.astype(queries.dtype), (seen.sizes.group, 1))
    for first in range(0, n_heads, step):
        heads = slice(first, first + step)
        scores = np.matmul(queries[heads], keys[heads].swapaxes(1, 2), out=work[: n_heads - first])
        if hidden is not None:
            scores += hidden
        yield heads, scores


def _stack(x: Array, kv_heads: int, factor: float = 1.0, beside: Any = None) -> Array:
    """Return factor x, (batch, seq, heads, dim), as (batch * kv_heads, heads / kv_heads * seq, dim).

    beside: one more column. In a product with ones beside the other side it is added.
    """
    batch, seq, heads, dim = x.shape
    stack = np.empty((batch, heads, seq, dim + (beside is not None)), x.dtype)
    np.multiply(_heads_first(x), factor, out=stack[..., :dim])
    if beside is not None:
        stack[..., dim] = beside
    return stack.reshape(batch * kv_heads, heads // kv_heads * seq, stack.shape[3])


def _heads_first(x: Array) -> Array:
    """Return a view (batch, heads, seq, dim) of (batch, seq, heads, dim)."""
    return x.transpose(0, 2, 1, 3)
