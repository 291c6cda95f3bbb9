"""Attention in blocks: scores live one tile at a time, so memory is linear in the sequence.

Keys may come in parts, as in a ring of ranks. Each part gives an output that is right for the keys in it, and the
logarithm of the sum of its weights (lse), from which `merge_attention` makes the output for all keys. In the backward
pass the final (out, lse) stand for the whole softmax, so each part of the keys adds its share by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import check_like, check_qkv, check_scale
from parallel.attention import finite, too_long
from parallel.visibility import Visibility, visibility

# A tile of scores stays in the second-level cache.
_ROWS, _COLS = 256, 512


def blockwise_attention(
    q: Array, k: Array, v: Array, *, causal: bool = False, scale: Any = None, mask: Any = None,
    q_positions: Any = 0, k_positions: Any = 0, q_segments: Any = None, k_segments: Any = None,
    into: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Return (out, lse): attention over these keys, and the logarithm of the sum of exp(score) of each query.

        x = np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)
        blockwise_attention(0 * x, x, x, causal=True)[0].ravel()  # array([1., 2., 4.])

    Shape:   q, k, v, scale, mask as for `attention`. out (batch, queries, heads, v_dim), lse (batch, queries, heads).
             With `causal` a query sees the keys whose position is not after its own; positions are an array
             (seq,), or the first token's. Segments, (seq,) or (batch, seq) integers, let a query see only keys
             of its own number. `into` is a partial (out, lse) over other keys: they are merged in place.
    Values:  as for `attention`; a query that sees no key gives zeros and lse = -inf.
    Cost:    2 queries keys (dim + v_dim) flops a head, less what nobody sees; memory linear in queries and keys,
             as long as mask is.
    Raises:  TypeError, ValueError if the arguments do not fit together.
    Source:  Milakov & Gimelshein 2018 (online softmax); Dao et al., NeurIPS 2022.
    """
    who = "blockwise_attention"
    sizes = check_qkv(who, q, k, v)
    seen = visibility(who, sizes, causal, mask, q_positions, k_positions, q_segments, k_segments)
    factor = check_scale(who, scale, sizes.dim)
    shape = q.shape[:3]
    if into is not None:
        check_like(who, "into[0]", into[0], (*shape, sizes.v_dim), q.dtype, written=True)
        check_like(who, "into[1]", into[1], shape, q.dtype, written=True)
    out, lse = np.empty((*shape, sizes.v_dim), q.dtype), np.empty(shape, q.dtype)
    (q, k, v), bad = _clean(q, k, v, factor)
    _forward(q, k, v, factor, seen, out, lse)
    if bad is not None:
        rows, _ = _reached(seen, *bad)
        out[rows], lse[rows] = np.nan, np.nan
    if into is None:
        return out, lse
    merge_attention(*into, out, lse)
    return into


def merge_attention(out: Array, lse: Array, other_out: Array, other_lse: Array) -> None:
    """Make (out, lse), in place, the attention over its own keys and those of (other_out, other_lse).

        out, lse = np.array([[[[1.0]]]]), np.array([[[0.0]]])
        merge_attention(out, lse, np.array([[[[4.0]]]]), np.log([[[2.0]]]))
        out.ravel(), np.exp(lse).ravel()  # (array([3.]), array([3.]))

    Shape:   out (batch, queries, heads, v_dim), lse (batch, queries, heads), both pairs of the same queries.
    Source:  Dao et al., NeurIPS 2022; Liu et al., ICLR 2024 (ring attention).
    """
    total = np.logaddexp(lse, other_lse)
    base = np.where(np.isneginf(total), 0, total)
    out *= np.exp(lse - base)[..., None]
    out += other_out * np.exp(other_lse - base)[..., None]
    lse[...] = total


def blockwise_attention_backward(
    q: Array, k: Array, v: Array, out: Array, lse: Array, d_out: Array, *,
    causal: bool = False, scale: Any = None, mask: Any = None,
    q_positions: Any = 0, k_positions: Any = 0, q_segments: Any = None, k_segments: Any = None,
    into: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return the shares of (dq, dk, dv) that come of these keys, given (out, lse) over all keys.

        x = np.ones((1, 2, 1, 1))
        out, lse = blockwise_attention(x, x, x)
        blockwise_attention_backward(x, x, x, out, lse, x)[2].ravel()  # array([1., 1.])

    Shape:   q, k, v and keywords as for `blockwise_attention`, out and lse as it returned them, after all merging;
             d_out like out; dq, dk, dv like q, k, v. `into` is (dq, dk, dv) to add to, in place.
    Values:  as for `attention_backward`.
    Cost:    2 queries keys (3 dim + 2 v_dim) flops a head, less what nobody sees; memory linear in queries and keys.
    Raises:  TypeError, ValueError if the arguments do not fit together.
    Source:  Dao et al., NeurIPS 2022.
    """
    who = "blockwise_attention_backward"
    sizes = check_qkv(who, q, k, v)
    seen = visibility(who, sizes, causal, mask, q_positions, k_positions, q_segments, k_segments)
    factor = check_scale(who, scale, sizes.dim)
    for name, x in (("out", out), ("d_out", d_out)):
        check_like(who, name, x, (*q.shape[:3], sizes.v_dim), q.dtype, written=False)
    check_like(who, "lse", lse, q.shape[:3], q.dtype, written=False)
    grads = into or (np.zeros(q.shape, q.dtype), np.zeros(k.shape, q.dtype), np.zeros(v.shape, q.dtype))
    for i, (grad, x) in enumerate(zip(grads, (q, k, v), strict=True)):
        check_like(who, f"into[{i}]", grad, x.shape, q.dtype, written=True)
    bad_rows = finite(out)[1] | finite(d_out)[1] | np.isnan(lse)
    (q, k, v), bad = _clean(q, k, v, factor, bad_rows)
    if bad is not None:
        out, d_out = finite(out)[0], finite(d_out)[0]
        lse = np.where(bad[0], -np.inf, lse)
    _backward(q, k, v, factor, seen, out, lse, d_out, grads)
    if bad is not None:
        rows, cols = _reached(seen, *bad)
        grads[0][rows], grads[1][cols], grads[2][cols] = np.nan, np.nan, np.nan
    return grads


def _clean(q: Array, k: Array, v: Array, factor: float, bad_rows: Any = False) -> tuple[tuple[Array, ...], Any]:
    """Return q, k, v with tokens that are not finite as zeros, and which queries and keys they are, None if none."""
    bad_q, bad_k = too_long(q, factor) | bad_rows, too_long(k) | finite(v)[1]
    if not bad_q.any() and not bad_k.any():
        return (q, k, v), None
    zeroed = (np.where(bad[..., None], 0, x) for bad, x in ((bad_q, q), (bad_k, k), (bad_k, v)))
    return tuple(zeroed), (bad_q, bad_k)


def _reached(seen: Visibility, bad_q: Array, bad_k: Array) -> tuple[Array, Array]:
    """Return the queries and the keys that belong to a visible pair of which one is bad."""
    rows_hit, cols_hit = np.zeros_like(bad_q), np.zeros_like(bad_k)
    for b, h, rows, cols in seen.blocks(_ROWS, _COLS):
        g = h // seen.sizes.group
        pairs = seen.allowed(b, h, rows, cols) & (bad_q[b, rows, h, None] | bad_k[b, cols, g])
        rows_hit[b, rows, h] |= pairs.any(axis=1)
        cols_hit[b, cols, g] |= pairs.any(axis=0)
    return rows_hit, cols_hit


def _forward(q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array) -> None:
    """Fill `out` and `lse`, one head and one block of queries at a time, with an online softmax."""
    sizes = seen.sizes
    for b in range(sizes.batch):
        for h in range(sizes.heads):
            keys, values = k[b, :, h // sizes.group].T, _with_ones(v[b, :, h // sizes.group])
            for start in range(0, sizes.queries, _ROWS):
                rows = slice(start, min(start + _ROWS, sizes.queries))
                queries = q[b, rows, h] * factor
                top = np.full((len(queries), 1), -np.inf, q.dtype)
                total = np.zeros((len(queries), sizes.v_dim + 1), q.dtype)
                for cols, edge, forbidden in seen.tiles(b, h, rows, _COLS):
                    scores = queries @ keys[:, cols]
                    if forbidden is not None:
                        np.copyto(scores[:, edge], -np.inf, where=forbidden)
                    higher = np.maximum(top, scores.max(axis=1, keepdims=True))
                    base = np.where(np.isneginf(higher), 0, higher)
                    total *= np.exp(top - base)
                    scores -= base
                    total += np.exp(scores, out=scores) @ values[cols]
                    top = higher
                weight = total[:, -1]
                none = weight == 0
                np.divide(total[:, :-1], np.where(none, 1, weight)[:, None], out=out[b, rows, h])
                lse[b, rows, h] = np.where(none, -np.inf, top[:, 0] + np.log(np.where(none, 1, weight)))


def _with_ones(v: Array) -> Array:
    """Return v (keys, v_dim) with a column of ones, which sums the weights in the same product."""
    return np.concatenate([v, np.ones((len(v), 1), v.dtype)], axis=1)


def _backward(
    q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array, d_out: Array,
    grads: tuple[Array, Array, Array],
) -> None:  # fmt: skip
    """Add the gradients of one head and one block of queries after the other."""
    sizes, (dq, dk, dv) = seen.sizes, grads
    for b in range(sizes.batch):
        for h in range(sizes.heads):
            g = h // sizes.group
            keys, values = np.ascontiguousarray(k[b, :, g]), np.ascontiguousarray(v[b, :, g])
            for start in range(0, sizes.queries, _ROWS):
                rows = slice(start, min(start + _ROWS, sizes.queries))
                queries, d_outs = q[b, rows, h] * factor, np.ascontiguousarray(d_out[b, rows, h])
                # A query that sees nothing: exp(score - inf) = 0.
                base = np.where(np.isneginf(lse[b, rows, h]), np.inf, lse[b, rows, h])[:, None]
                delta = (out[b, rows, h] * d_outs).sum(axis=1, keepdims=True)
                for cols, edge, forbidden in seen.tiles(b, h, rows, _COLS):
                    weights = queries @ keys[cols].T
                    weights -= base
                    if forbidden is not None:
                        np.copyto(weights[:, edge], -np.inf, where=forbidden)
                    np.exp(weights, out=weights)
                    dv[b, cols, g] += weights.T @ d_outs
                    d_scores = d_outs @ values[cols].T
                    d_scores -= delta
                    d_scores *= weights
                    dk[b, cols, g] += d_scores.T @ queries
                    dq[b, rows, h] += (d_scores @ keys[cols]) * factor
