"""Attention, dense: every score at once, seq x seq in memory. The reference that all other forms are held to."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import Sizes, check_like, check_mask, check_qkv, check_scale


def attention(q: Array, k: Array, v: Array, *, causal: bool = False, scale: Any = None, mask: Any = None) -> Array:
    """Return softmax(scale q k^T) v, each query over the keys that it sees.

        x = np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)
        attention(0 * x, x, x, causal=True).ravel()  # array([1., 2., 4.])

    Shape:   q (batch, queries, heads, dim), k (batch, keys, kv_heads, dim), v (batch, keys, kv_heads, v_dim) ->
             (batch, queries, heads, v_dim). Query head h uses KV head h // (heads / kv_heads). float32 or float64.
             `mask` is bool, True where a query sees a key, and broadcasts to (batch, heads, queries, keys); with
             `causal` query i sees only keys 0 ... i. `scale` is 1/sqrt(dim) unless given.
    Values:  a query that sees no key gives zeros. A NaN or an infinity in a token (or |scale q|^2 or |k|^2 that
             overflows) gives NaN for exactly the queries that see it, or that hold it and see a key.
    Cost:    2 queries keys (dim + v_dim) flops a head; several arrays of (batch, heads, queries, keys).
    Raises:  TypeError, ValueError if the arguments do not fit together.
    Source:  Vaswani et al., NeurIPS 2017; grouped heads: Ainslie et al., EMNLP 2023.
    """
    sizes = check_qkv("attention", q, k, v)
    allowed = _allowed("attention", sizes, causal, mask)
    weights = _weights(q, k, v, check_scale("attention", scale, sizes.dim), allowed, None)
    with np.errstate(over="ignore"):
        out = weights @ _heads_first(finite(v)[0], sizes.group)
    keep_finite(out)
    return _tokens_first(out)


def attention_backward(
    q: Array, k: Array, v: Array, d_out: Array, *, causal: bool = False, scale: Any = None, mask: Any = None
) -> tuple[Array, Array, Array]:
    """Return the gradients (dq, dk, dv) of sum(d_out * attention(q, k, v)).

        x = np.ones((1, 2, 1, 1))
        attention_backward(x, x, x, x)[2].ravel()  # array([1., 1.])

    Shape:   d_out as `attention` returns it; dq, dk, dv like q, k, v. Keywords as for `attention`.
    Values:  zero for tokens that see nothing and are not seen. A query whose output or d_out is not finite gives
             NaN for its own gradient and for those of the keys that it sees. Products of d_out and v that no float
             of the dtype can hold overflow, with NumPy's warning.
    Cost:    10 queries keys dim flops a head if v_dim is dim; several arrays of (batch, heads, queries, keys).
    Raises:  TypeError, ValueError if the arguments do not fit together.
    """
    sizes = check_qkv("attention_backward", q, k, v)
    check_like("attention_backward", "d_out", d_out, (*q.shape[:3], sizes.v_dim), q.dtype, written=False)
    factor = check_scale("attention_backward", scale, sizes.dim)
    allowed = _allowed("attention_backward", sizes, causal, mask)
    weights = _weights(q, k, v, factor, allowed, d_out)
    queries, d_outs = _heads_first(finite(q)[0], 1), _heads_first(finite(d_out)[0], 1)
    keys, values = _heads_first(finite(k)[0], sizes.group), _heads_first(finite(v)[0], sizes.group)
    d_weights = d_outs @ values.swapaxes(2, 3)
    d_scores = weights * (d_weights - (weights * d_weights).sum(axis=3, keepdims=True)) * factor
    d_scores = np.where(allowed, d_scores, 0)
    dk = _sum_of_group(d_scores.swapaxes(2, 3) @ queries, sizes)
    dv = _sum_of_group(weights.swapaxes(2, 3) @ d_outs, sizes)
    return _tokens_first(d_scores @ keys), _tokens_first(dk), _tokens_first(dv)


def finite(x: Array) -> tuple[Array, Array]:
    """Return `x` with tokens that are not finite as zeros, and which tokens (batch, seq, heads) they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        # If a term is not finite, the sum is not either; most often this check is enough.
        if np.isfinite(x.sum()):
            return x, np.zeros(x.shape[:3], np.bool_)
    bad = np.asarray(~np.isfinite(x).all(axis=3))
    return np.where(bad[..., None], 0, x), bad


def keep_finite(means: Array) -> None:
    """Make infinities the largest number, in place: a weighted mean of finite numbers exceeds it only by rounding."""
    largest = np.finfo(means.dtype).max
    np.clip(means, -largest, largest, out=means)


def square_lengths(x: Array) -> Array:
    """Return |x|^2 of each token, (batch, seq, heads); inf or NaN if it is not finite or too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.einsum("bshd,bshd->bsh", x, x))


def too_long(squares: Array, factor: float = 1.0) -> Array:
    """Return the tokens for which |factor x|^2 is not finite, given |x|^2.

    All others have finite scores among each other: |q k| <= |q| |k|.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(~np.isfinite(squares * factor**2))


def _allowed(who: str, sizes: Sizes, causal: bool, mask: Any) -> Array:
    """Return which keys each query sees, as (batch, heads, queries, keys) of bool."""
    shape = (sizes.batch, sizes.heads, sizes.queries, sizes.keys)
    given = check_mask(who, mask, sizes)
    allowed = np.ones(shape, np.bool_) if given is None else given
    return np.tril(allowed) if causal else allowed


def _weights(q: Array, k: Array, v: Array, factor: float, allowed: Array, d_out: Array | None) -> Array:
    """Return what each query gives to each key: zero unless `allowed`, NaN where a token of it is not finite."""
    group = q.shape[2] // max(k.shape[2], 1)
    bad_q, bad_k = too_long(square_lengths(q), factor), too_long(square_lengths(k)) | finite(v)[1]
    if d_out is not None:
        bad_q |= finite(d_out)[1]
    q, k = np.where(bad_q[..., None], 0, q) * factor, np.where(bad_k[..., None], 0, k)
    scores = np.where(allowed, _heads_first(q, 1) @ _heads_first(k, group).swapaxes(2, 3), -np.inf)
    top = scores.max(axis=3, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = weights.sum(axis=3, keepdims=True)
    weights /= np.where(total == 0, 1, total)
    bad = bad_q.transpose(0, 2, 1)[..., None] | bad_k.transpose(0, 2, 1).repeat(group, axis=1)[:, :, None, :]
    bad_rows = (allowed & bad).any(axis=3, keepdims=True)
    return np.where(allowed & bad_rows, np.nan, weights).astype(q.dtype, copy=False)


def _heads_first(x: Array, group: int) -> Array:
    """Return (batch, heads, seq, dim) of (batch, seq, heads / group, dim), each head `group` times."""
    return x.transpose(0, 2, 1, 3).repeat(group, axis=1)


def _tokens_first(x: Array) -> Array:
    """Return (batch, seq, heads, dim) of (batch, heads, seq, dim)."""
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3))


def _sum_of_group(x: Array, sizes: Sizes) -> Array:
    """Return (batch, kv_heads, keys, dim): the sum over the query heads that share a KV head."""
    shape = (sizes.batch, sizes.kv_heads, sizes.group, *x.shape[2:])
    return np.asarray(x.reshape(shape).sum(axis=2))
