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
from parallel.visibility import Tile, Visibility, visibility

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
    with np.errstate(invalid="ignore"):  # NaN goes on without a warning
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
    # A query may have got its NaN from keys that are not here; its lse shows it.
    (q, k, v), bad = _clean(q, k, v, factor, finite(d_out)[1] | np.isnan(lse))
    if bad is not None:
        out, d_out = finite(out)[0], finite(d_out)[0]
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
    for b in range(seen.sizes.batch):
        for h, rows, tiles in seen.blocks(b, _ROWS, _COLS):
            g = h // seen.sizes.group
            for cols, _, _ in tiles:
                pairs = ~seen.hidden(b, h, rows, cols) & (bad_q[b, rows, h, None] | bad_k[b, cols, g])
                rows_hit[b, rows, h] |= pairs.any(axis=1)
                cols_hit[b, cols, g] |= pairs.any(axis=0)
    return rows_hit, cols_hit


def _forward(q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array) -> None:
    """Fill `out` and `lse`, one block of queries of one head at a time."""
    group = seen.sizes.group
    work, ones = np.empty(_ROWS * _COLS, q.dtype), np.ones(_COLS, q.dtype)
    for b in range(seen.sizes.batch):
        keys, values = _heads_first(k[b]), _heads_first(v[b])
        safe = _exp_is_safe(q[b], keys, values, factor)
        for h, rows, tiles in seen.blocks(b, _ROWS, _COLS):
            queries = q[b, rows, h] * factor
            total, sums = np.zeros((len(queries), v.shape[3]), q.dtype), np.zeros((len(queries), 1), q.dtype)
            top = np.full_like(sums, 0 if safe[h] else -np.inf)
            for tile in tiles:
                weights = _scores(queries, keys[h // group], tile, work)
                if not safe[h]:
                    _shift(weights, top, total, sums)
                np.exp(weights, out=weights)
                total += weights @ values[h // group, tile.cols]
                # A product with ones: half the time of a sum along rows.
                sums[:, 0] += weights @ ones[: weights.shape[1]]
            none = sums == 0
            sums[none] = 1
            np.divide(total, sums, out=out[b, rows, h])
            lse[b, rows, h] = np.where(none, -np.inf, top + np.log(sums))[:, 0]


def _exp_is_safe(q: Array, keys: Array, values: Array, factor: float) -> Array:
    """Return for each head whether exp(score) and its products with v are normal numbers, whatever the angles.

    Then the softmax needs no running maximum: |score| <= |factor||q||k| is known before any score is.
    """
    longest_q = np.einsum("shd,shd->hs", q, q).max(axis=1, initial=0) ** 0.5
    longest_k = np.einsum("gsd,gsd->gs", keys, keys).max(axis=1, initial=0) ** 0.5
    info, room = np.finfo(q.dtype), np.empty_like(longest_k)
    for g, v in enumerate(values):
        sizes = np.abs(v)
        # What is 0 stays 0 in any product.
        np.copyto(sizes, 1, where=sizes == 0)
        above = np.log(info.max) - np.log(sizes.max(initial=1)) - np.log(len(v) + 1)
        room[g] = min(above, np.log(sizes.min(initial=1)) - np.log(info.tiny))
    group = q.shape[1] // max(len(keys), 1)
    return np.asarray(abs(factor) * longest_q * longest_k.repeat(group) < room.repeat(group) - 1)


def _scores(queries: Array, keys: Array, tile: Tile, work: Array) -> Array:
    """Return the scores of a tile, -inf where they are hidden, in `work`."""
    shape = len(queries), tile.cols.stop - tile.cols.start
    scores = work[: shape[0] * shape[1]].reshape(shape)
    np.matmul(queries, keys[tile.cols].T, out=scores)
    if tile.hidden is not None:
        np.copyto(scores[:, tile.edge], -np.inf, where=tile.hidden)
    return scores


def _shift(scores: Array, top: Array, *sums: Array) -> None:
    """Subtract the largest score so far of each query, `top`, and scale the sums made under an older one."""
    higher = np.maximum(top, scores.max(axis=1, keepdims=True))
    base = np.where(np.isneginf(higher), 0, higher)
    for x in sums:
        x *= np.exp(top - base)
    scores -= base
    top[...] = higher


def _heads_first(x: Array, column: int = 0) -> Array:
    """Return a copy (heads, seq, dim + column) of x (seq, heads, dim), with a column of ones if `column` is 1."""
    copy = np.empty((x.shape[1], x.shape[0], x.shape[2] + column), x.dtype)
    copy[..., : x.shape[2]] = x.transpose(1, 0, 2)
    copy[..., x.shape[2] :] = 1
    return copy


def _beside(x: Array, column: Array) -> Array:
    """Return x (rows, dim) with one more column: in a product with ones beside the other side it is added."""
    return np.concatenate([x, column[:, None]], axis=1)


def _backward(
    q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array, d_out: Array,
    grads: tuple[Array, Array, Array],
) -> None:  # fmt: skip
    """Add the gradients, one block of queries of one head at a time."""
    dq, dk, dv = grads
    work, d_work = np.empty((2, _ROWS * _COLS), q.dtype)
    for b in range(seen.sizes.batch):
        keys, values = _heads_first(k[b], column=1), _heads_first(v[b], column=1)
        d_keys, d_values = np.zeros_like(keys[..., :-1]), np.zeros_like(values[..., :-1])
        for h, rows, tiles in seen.blocks(b, _ROWS, _COLS):
            g = h // seen.sizes.group
            # exp(score - base) is 0 for a query that sees nothing. Not inf: BLAS pads with zeros, and 0 inf is NaN.
            base = np.where(np.isneginf(lse[b, rows, h]), np.finfo(q.dtype).max / 4, lse[b, rows, h])
            queries = _beside(q[b, rows, h] * factor, -base)
            d_outs = _beside(d_out[b, rows, h], -(out[b, rows, h] * d_out[b, rows, h]).sum(axis=1))
            d_queries = np.zeros_like(queries[:, :-1])
            for tile in tiles:
                weights = _scores(queries, keys[g], tile, work)
                np.exp(weights, out=weights)
                d_values[g, tile.cols] += weights.T @ d_outs[:, :-1]
                d_scores = d_work[: weights.size].reshape(weights.shape)
                np.matmul(d_outs, values[g, tile.cols].T, out=d_scores)
                d_scores *= weights
                d_keys[g, tile.cols] += d_scores.T @ queries[:, :-1]
                d_queries += d_scores @ keys[g, tile.cols, :-1]
            dq[b, rows, h] += d_queries * factor
        dk[b] += d_keys.transpose(1, 0, 2)
        dv[b] += d_values.transpose(1, 0, 2)
