"""Attention of short sequences: the heads of a batch in stacks of products, where a tile of one head is little work.

Query heads that share a K/V head are more rows of its queries, token by token. Every head has to see alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.attention.visibility import Visibility

# Scores that are worked on at once, of one head or of several: they stay in the cache.
_SCORES = 1 << 16
# Queries that are worked on at once where some keys are hidden: keys after the last that they see take no time.
BAND = 32


def can_attend_together(seen: Visibility, height: int, width: int) -> bool:
    """Return whether all heads see alike, and have no more queries and keys than one tile of this height and width."""
    few = 0 < seen.sizes.queries <= height and 0 < seen.sizes.keys <= width
    return few and seen.mask is None and seen.q_segments is None and seen.sizes.kv_heads > 0


def attend_together(q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array) -> bool:
    """Fill `out` and `lse`, and return True; or do nothing, if a sum might not be finite, and return False."""
    kv_heads = seen.sizes.kv_heads
    with np.errstate(over="ignore", invalid="ignore"):
        queries, keys, values = _stack(q, kv_heads, factor), _stack(k, kv_heads), _stack(v, kv_heads, beside=1)
    if not _are_tame(queries, keys, values):
        return False
    totals = np.zeros((*queries.shape[:2], values.shape[2]), q.dtype)
    tops = np.zeros((*queries.shape[:2], 1), q.dtype)
    for heads, rows, cols, weights in _scores(queries, keys, seen):
        top = np.max(weights, 2, keepdims=True, out=tops[heads, rows])
        top[np.isneginf(top)] = 0  # of a query that sees no key
        weights -= top
        np.exp(weights, out=weights)
        np.matmul(weights, values[heads, cols], out=totals[heads, rows])
    sums = totals[..., -1:]  # the product with ones beside the values
    none = sums == 0
    sums[none] = 1
    tops += np.log(sums)
    tops[none] = -np.inf
    for result, stack in ((out, totals[..., :-1] / sums), (lse[..., None], tops)):
        by_head = _heads_first(result, kv_heads)
        by_head[...] = stack.reshape(by_head.shape)
    return True


def attend_together_backward(
    q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array, d_out: Array
) -> tuple[Array, Array, Array] | None:
    """Return (dq, dk, dv), or None if a sum might not be finite."""
    kv_heads = seen.sizes.kv_heads
    base = np.where(np.isneginf(lse), 0, lse)  # any number, where all scores are -inf
    with np.errstate(over="ignore", invalid="ignore"):
        queries = _stack(q, kv_heads, factor, beside=-base)
        keys, values = _stack(k, kv_heads, beside=1), _stack(v, kv_heads, beside=1)
        d_outs = _stack(d_out, kv_heads, beside=-np.einsum("bshd,bshd->bsh", out, d_out))
    if not _are_tame(queries, keys, values, d_outs):
        return None
    d_queries, d_keys, d_values = (np.zeros(x[..., :-1].shape, x.dtype) for x in (queries, keys, values))
    for heads, rows, cols, weights in _scores(queries, keys, seen):
        np.exp(weights, out=weights)
        d_values[heads, cols] += weights.swapaxes(1, 2) @ d_outs[heads, rows, :-1]
        weights *= d_outs[heads, rows] @ values[heads, cols].swapaxes(1, 2)
        d_keys[heads, cols] += weights.swapaxes(1, 2) @ queries[heads, rows, :-1]
        np.matmul(weights, keys[heads, cols, :-1], out=d_queries[heads, rows])
    d_queries *= factor
    stacks = zip((d_queries, d_keys, d_values), (q, k, v), strict=True)
    d_q, d_k, d_v = (_tokens_first(stack, x.shape, kv_heads) for stack, x in stacks)
    return d_q, d_k, d_v


def _scores(queries: Array, keys: Array, seen: Visibility) -> Iterator[tuple[slice, slice, slice, Array]]:
    """Yield some heads and queries at a time, the keys up to the last that these see, and the scores.

    Scores are -inf where a key is hidden. They are in the same memory each time.
    """
    n_heads, group = len(queries), seen.sizes.group
    for tokens, cols, hidden in _bands(seen):
        rows = slice(tokens.start * group, tokens.stop * group)
        shape = rows.stop - rows.start, cols.stop
        step = max(1, _SCORES // (shape[0] * shape[1]))
        work = np.empty((min(step, n_heads), *shape), queries.dtype)
        below = np.where(hidden, -np.inf, 0).astype(queries.dtype).repeat(group, 0)
        for first in range(0, n_heads, step):
            heads = slice(first, first + step)
            scores = np.matmul(queries[heads, rows], keys[heads, cols].swapaxes(1, 2), out=work[: n_heads - first])
            if not seen.is_full:
                scores += below
            yield heads, rows, cols, scores


def _bands(seen: Visibility) -> Iterator[tuple[slice, slice, Array]]:
    """Yield some queries at a time, the keys up to the last that these see, and which of them each does not see."""
    queries, keys = seen.sizes.queries, seen.sizes.keys
    height = queries if seen.is_full else BAND
    for first in range(0, queries, height):
        rows = slice(first, min(first + height, queries))
        hidden = seen.hidden(0, 0, rows, slice(0, keys))
        near = np.flatnonzero(~hidden.all(0))
        if near.size:
            cols = slice(0, int(near[-1]) + 1)
            yield rows, cols, hidden[:, cols]


def _are_tame(*stacks: Array) -> bool:
    """Return whether all numbers are finite, and all their scores and sums, too."""
    return all(np.isfinite(np.vdot(x, x)) for x in stacks)


def _stack(x: Array, kv_heads: int, factor: float = 1.0, beside: Any = None) -> Array:
    """Return factor x, (batch, seq, heads, dim), as (batch * kv_heads, seq * heads / kv_heads, dim).

    beside: one more column, (batch, seq, heads). In a product with ones beside the other side it is added.
    """
    by_head = _heads_first(x, kv_heads)
    stack = np.empty((*by_head.shape[:4], x.shape[3] + (beside is not None)), x.dtype)
    if factor == 1:
        stack[..., : x.shape[3]] = by_head  # half the time of a product
    else:
        np.multiply(by_head, factor, out=stack[..., : x.shape[3]])
    if beside is not None:
        stack[..., -1] = beside if np.isscalar(beside) else _heads_first(beside[..., None], kv_heads)[..., 0]
    batch, _, seq, group, dim = stack.shape
    return stack.reshape(batch * kv_heads, seq * group, dim)


def _heads_first(x: Array, kv_heads: int) -> Array:
    """Return a view (batch, kv_heads, seq, heads / kv_heads, dim) of (batch, seq, heads, dim)."""
    batch, seq, heads, dim = x.shape
    return x.reshape(batch, seq, kv_heads, heads // kv_heads, dim).transpose(0, 2, 1, 3, 4)


def _tokens_first(stack: Array, shape: tuple[int, ...], kv_heads: int) -> Array:
    """Return what `_stack` made of an array of this shape, in the array's order: a view, if heads share no K/V head."""
    batch, seq, heads, dim = shape
    return stack.reshape(batch, kv_heads, seq, heads // kv_heads, dim).transpose(0, 2, 1, 3, 4).reshape(shape)
