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
from parallel.attention.dense import finite, keep_finite, square_lengths, too_long
from parallel.attention.together import attend_together, attend_together_backward, can_attend_together
from parallel.attention.visibility import Tile, Visibility, visibility

# Keys of a tile of scores, and queries: fewer where blocks have edges, whose hidden half is computed in vain.
COLS, ROWS, ROWS_EDGED = 512, 256, 128


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
    if not (can_attend_together(seen, *_tile(seen)) and attend_together(q, k, v, factor, seen, out, lse)):
        (q, k, v), squares, bad = _clean(q, k, v, factor)
        _forward(q, k, v, squares, factor, seen, out, lse)
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
    with np.errstate(over="ignore"):
        out *= np.exp(lse - base)[..., None]
        out += other_out * np.exp(other_lse - base)[..., None]
    keep_finite(out)
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
    for i, (grad, x) in enumerate(zip(into or (), (q, k, v), strict=into is not None)):
        check_like(who, f"into[{i}]", grad, x.shape, q.dtype, written=True)
    if can_attend_together(seen, *_tile(seen)):
        shares = attend_together_backward(q, k, v, factor, seen, out, lse, d_out)
        if shares is not None:
            for grad, share in zip(into or (), shares, strict=into is not None):
                grad += share
            return into or shares
    grads = into or (np.zeros(q.shape, q.dtype), np.zeros(k.shape, q.dtype), np.zeros(v.shape, q.dtype))
    # A query may have got its NaN from keys that are not here; its lse shows it.
    (q, k, v), _, bad = _clean(q, k, v, factor, finite(d_out)[1] | np.isnan(lse))
    if bad is not None:
        out, d_out = finite(out)[0], finite(d_out)[0]
        # Their q is 0 by now, which does not fit their lse: exp(0 - lse) may overflow. With -inf they have no weights.
        lse = np.where(bad[0], -np.inf, lse)
    _backward(q, k, v, factor, seen, out, lse, d_out, grads)
    if bad is not None:
        rows, cols = _reached(seen, *bad)
        grads[0][rows], grads[1][cols], grads[2][cols] = np.nan, np.nan, np.nan
    return grads


def _clean(
    q: Array, k: Array, v: Array, factor: float, bad_rows: Any = False
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array], Any]:
    """Return q, k, v with tokens that are not finite as zeros, |q|^2 and |k|^2, and which queries and keys they are.

    The last is None if all are finite.
    """
    squares = square_lengths(q), square_lengths(k)
    bad_q, bad_k = too_long(squares[0], factor) | bad_rows, too_long(squares[1]) | finite(v)[1]
    if not bad_q.any() and not bad_k.any():
        return (q, k, v), squares, None
    q, k, v = (np.where(bad[..., None], 0, x) for bad, x in ((bad_q, q), (bad_k, k), (bad_k, v)))
    return (q, k, v), (square_lengths(q), square_lengths(k)), (bad_q, bad_k)


def _reached(seen: Visibility, bad_q: Array, bad_k: Array) -> tuple[Array, Array]:
    """Return the queries and the keys that belong to a visible pair of which one is bad."""
    rows_hit, cols_hit = np.zeros_like(bad_q), np.zeros_like(bad_k)
    for b in range(seen.sizes.batch):
        for h, band in seen.bands(b, *_tile(seen)):
            g = h // seen.sizes.group
            for rows, tiles in band:
                for cols, _, _ in tiles:
                    pairs = ~seen.hidden(b, h, rows, cols) & (bad_q[b, rows, h, None] | bad_k[b, cols, g])
                    rows_hit[b, rows, h] |= pairs.any(axis=1)
                    cols_hit[b, cols, g] |= pairs.any(axis=0)
    return rows_hit, cols_hit


def _tile(seen: Visibility) -> tuple[int, int]:
    """Return how many queries and keys a tile of scores has at most."""
    return ROWS if seen.is_full else ROWS_EDGED, COLS


def _forward(
    q: Array, k: Array, v: Array, squares: tuple[Array, Array], factor: float, seen: Visibility, out: Array, lse: Array
) -> None:
    """Fill `out` and `lse`, a band of queries of one head at a time."""
    sizes, (height, width) = seen.sizes, _tile(seen)
    keys, values = np.empty((sizes.keys, sizes.dim), q.dtype), np.empty((sizes.keys, sizes.v_dim), q.dtype)
    scratch = np.empty(height * width, q.dtype), np.empty((height, sizes.v_dim), q.dtype), np.ones((width, 1), q.dtype)
    for b in range(sizes.batch):
        safe = _exp_is_safe(squares[0][b], squares[1][b], v[b], factor)
        for h, band in seen.bands(b, height, width):
            if h % sizes.group == 0:
                # A copy without gaps, which BLAS reads again for each block, of the keys that the band sees.
                near = _span(seen, band)
                keys[near], values[near] = k[b, near, h // sizes.group], v[b, near, h // sizes.group]
                # No head is safe whose values need to be shrunk.
                shrunk = 1.0 if safe[h] else _shrink(values[near])
            held = slice(band[0][0].start, band[-1][0].stop)
            queries = q[b, held, h] * factor
            totals, sums = np.zeros((len(queries), sizes.v_dim), q.dtype), np.zeros((len(queries), 1), q.dtype)
            tops = np.full_like(sums, 0 if safe[h] else -np.inf)
            for rows, tiles in band:
                block = slice(rows.start - held.start, rows.stop - held.start)
                sought = queries[block], totals[block], sums[block], tops[block]
                _attend(*sought, keys, values, tiles, safe[h], *scratch)
            none = sums == 0
            sums[none] = 1
            means = out[b, held, h]
            np.divide(totals, sums, out=means)
            if shrunk != 1:
                with np.errstate(over="ignore"):
                    means /= shrunk
                keep_finite(means)
            lse[b, held, h] = np.where(none, -np.inf, tops + np.log(sums))[:, 0]


def _attend(
    queries: Array, total: Array, sums: Array, top: Array, keys: Array, values: Array, tiles: list[Tile],
    is_safe: bool, work: Array, part: Array, ones: Array,
) -> None:  # fmt: skip
    """Add to `sums` the weights of a block of queries, exp(score - top), and to `total` their products with values."""
    for tile in tiles:
        weights = _scores(queries, keys, tile, work)
        if not is_safe:
            _shift(weights, top, total, sums)
        np.exp(weights, out=weights)
        total += np.matmul(weights, values[tile.cols], out=part[: len(queries)])
        # A product with ones: half the time of a sum along rows.
        sums += weights @ ones[: weights.shape[1]]


def _shrink(values: Array) -> float:
    """Multiply `values`, in place, by a power of two so that a sum of all of them is no overflow, and return it."""
    largest = max(values.max(initial=0), -values.min(initial=0))
    if largest <= np.finfo(values.dtype).max / (2 * len(values) + 1):
        return 1.0
    factor = 0.5 ** (len(values).bit_length() + 1)
    values *= factor
    return factor


def _exp_is_safe(q_squares: Array, k_squares: Array, v: Array, factor: float) -> list[bool]:
    """Return for each head whether exp(score) and its products with v are normal numbers, whatever the angles.

    Then the softmax needs no running maximum: |score| <= |factor||q||k| is known before any score is.
    """
    longest_q, longest_k = (x.max(axis=0, initial=0) ** 0.5 for x in (q_squares, k_squares))
    info, room, sizes = np.finfo(v.dtype), np.empty_like(longest_k), np.empty((len(v), v.shape[2]), v.dtype)
    for g in range(len(room)):
        np.abs(v[:, g], out=sizes)
        least = sizes.min(initial=1)
        if not least:
            # What is 0 stays 0 in any product.
            least = sizes.min(initial=1, where=sizes > 0)
        above = np.log(info.max) - np.log(sizes.max(initial=1)) - np.log(len(v) + 1)
        room[g] = min(above, np.log(least) - np.log(info.tiny))
    group = len(longest_q) // max(len(room), 1)
    return [bool(x) for x in abs(factor) * longest_q * longest_k.repeat(group) < room.repeat(group) - 1]


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


def _span(seen: Visibility, band: list[tuple[slice, list[Tile]]]) -> slice:
    """Return the keys that a band of queries may see, whichever head of their group asks."""
    if seen.mask is not None:
        return slice(0, seen.sizes.keys)
    parts = [tile.cols for _, tiles in band for tile in tiles]
    return slice(min((cols.start for cols in parts), default=0), max((cols.stop for cols in parts), default=0))


def _beside(x: Array, column: Array, factor: float = 1.0) -> Array:
    """Return factor x (rows, dim) and one more column: in a product with ones beside the other side it is added."""
    both = np.empty((len(x), x.shape[1] + 1), x.dtype)
    np.multiply(x, factor, out=both[:, :-1])
    both[:, -1] = column
    return both


def _backward(
    q: Array, k: Array, v: Array, factor: float, seen: Visibility, out: Array, lse: Array, d_out: Array,
    grads: tuple[Array, Array, Array],
) -> None:  # fmt: skip
    """Add the gradients, a band of queries of one head at a time."""
    dq, dk, dv = grads
    sizes, (height, width) = seen.sizes, _tile(seen)
    # Of one head, with a column of ones: see `_beside`.
    keys, values = np.ones((sizes.keys, sizes.dim + 1), q.dtype), np.ones((sizes.keys, sizes.v_dim + 1), q.dtype)
    d_keys, d_values = np.empty_like(keys[:, :-1]), np.empty_like(values[:, :-1])
    work = np.empty((2, height * width), q.dtype)
    part = np.empty(max(height, width) * max(sizes.dim, sizes.v_dim), q.dtype)
    # exp(score - base) is 0 for a query that sees nothing. Not inf: BLAS pads with zeros, and 0 inf is NaN.
    base = np.where(np.isneginf(lse), np.finfo(q.dtype).max / 4, lse)
    slopes = np.einsum("bshd,bshd->bsh", out, d_out)
    for b in range(sizes.batch):
        for h, band in seen.bands(b, height, width):
            g, place = divmod(h, sizes.group)
            if place == 0:
                near = _span(seen, band)
                keys[near, :-1], values[near, :-1] = k[b, near, g], v[b, near, g]
                d_keys[near], d_values[near] = 0, 0
            held = slice(band[0][0].start, band[-1][0].stop)
            queries = _beside(q[b, held, h], -base[b, held, h], factor)
            d_outs = _beside(d_out[b, held, h], -slopes[b, held, h])
            d_queries = np.zeros_like(queries[:, :-1])
            for rows, tiles in band:
                block = slice(rows.start - held.start, rows.stop - held.start)
                ours = queries[block], d_outs[block], d_queries[block]
                _attend_backward(*ours, keys, values, d_keys, d_values, tiles, work, part)
            d_queries *= factor
            dq[b, held, h] += d_queries
            if place == sizes.group - 1:
                dk[b, near, g] += d_keys[near]
                dv[b, near, g] += d_values[near]


def _attend_backward(
    queries: Array, d_outs: Array, d_queries: Array, keys: Array, values: Array, d_keys: Array, d_values: Array,
    tiles: list[Tile], work: Array, part: Array,
) -> None:  # fmt: skip
    """Add the gradients of a block of queries, all but the factor, and its share of those of keys and values."""
    for tile in tiles:
        weights = _scores(queries, keys, tile, work[0])
        np.exp(weights, out=weights)
        _add_product(d_values[tile.cols], weights.T, d_outs[:, :-1], part)
        d_scores = work[1, : weights.size].reshape(weights.shape)
        np.matmul(d_outs, values[tile.cols].T, out=d_scores)
        d_scores *= weights
        _add_product(d_keys[tile.cols], d_scores.T, queries[:, :-1], part)
        _add_product(d_queries, d_scores, keys[tile.cols, :-1], part)


def _add_product(total: Array, x: Array, y: Array, part: Array) -> None:
    """Add x @ y to `total`, by way of `part`."""
    total += np.matmul(x, y, out=part[: total.size].reshape(total.shape))
