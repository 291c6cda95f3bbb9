"""Wrong variants of blockwise attention, most of them seen in hand-written code; none may pass the claims."""

from __future__ import annotations

from typing import Any

import numpy as np

from parallel import blockwise_attention, blockwise_attention_backward, merge_attention

# -- forward -----------------------------------------------------------------------------------------------------


def subtracts_the_maximum_of_the_whole_batch(q: Any, k: Any, v: Any, *, scale: Any = None, **seen: Any) -> Any:
    """A row far below the largest score of all has nothing but zeros left."""
    out, lse = blockwise_attention(q, k, v, scale=scale, **seen)
    far = lse < lse.max(initial=-np.inf) + np.log(np.finfo(q.dtype).tiny)
    return np.where(far[..., None], 0, out), np.where(far, -np.inf, lse)


def does_not_let_a_token_see_itself(q: Any, k: Any, v: Any, *, q_positions: Any = 0, **rest: Any) -> Any:
    """Compares positions with < instead of <=."""
    return blockwise_attention(q, k, v, q_positions=q_positions - np.int64(1), **rest)


def ignores_positions(q: Any, k: Any, v: Any, *, q_positions: Any = 0, k_positions: Any = 0, **rest: Any) -> Any:
    """Causal by the index inside the block."""
    return blockwise_attention(q, k, v, **rest)


def ignores_segments(q: Any, k: Any, v: Any, *, q_segments: Any = None, k_segments: Any = None, **rest: Any) -> Any:
    """Lets packed documents see each other."""
    return blockwise_attention(q, k, v, **rest)


def ignores_the_mask(q: Any, k: Any, v: Any, *, mask: Any = None, **rest: Any) -> Any:
    """Sees everything."""
    return blockwise_attention(q, k, v, **rest)


def deals_kv_heads_round(q: Any, k: Any, v: Any, **rest: Any) -> Any:
    """Query head h uses KV head h % kv_heads."""
    group = q.shape[2] // k.shape[2]
    return blockwise_attention(q, np.tile(k, (1, 1, group, 1)), np.tile(v, (1, 1, group, 1)), **rest)


def forgets_the_square_root(q: Any, k: Any, v: Any, *, scale: Any = None, **rest: Any) -> Any:
    """Scales by 1/dim."""
    return blockwise_attention(q, k, v, scale=1 / q.shape[3] if scale is None else scale, **rest)


def averages_where_nothing_is_seen(q: Any, k: Any, v: Any, **rest: Any) -> Any:
    """What -1e9 instead of -inf makes of a row that sees no key."""
    out, lse = blockwise_attention(q, k, v, **rest)
    if k.shape[1]:
        mean = v.mean(axis=1, keepdims=True).repeat(q.shape[2] // k.shape[2], axis=2)
        out = np.where(np.isneginf(lse)[..., None], mean, out)
    return out, lse


def returns_the_sum_and_not_its_logarithm(q: Any, k: Any, v: Any, **rest: Any) -> Any:
    """Right in out; in lse, what no merging can use."""
    out, lse = blockwise_attention(q, k, v, **rest)
    return out, np.exp(np.minimum(lse, 80))


def never_shifts(q: Any, k: Any, v: Any, **rest: Any) -> Any:
    """Takes exp of scores as they are."""
    out, lse = blockwise_attention(q, k, v, **rest)
    unsafe = lse > np.log(np.finfo(q.dtype).max)
    return np.where(unsafe[..., None], np.nan, out), np.where(unsafe, np.inf, lse)


FORWARDS = [
    subtracts_the_maximum_of_the_whole_batch, does_not_let_a_token_see_itself, ignores_positions, ignores_segments,
    ignores_the_mask, deals_kv_heads_round, forgets_the_square_root, averages_where_nothing_is_seen,
    returns_the_sum_and_not_its_logarithm, never_shifts,
]  # fmt: skip

# -- forward over parts of the keys --------------------------------------------------------------------------------


def averages_the_parts(q: Any, k: Any, v: Any, *, into: Any, **rest: Any) -> Any:
    """A mean of means: parts of unequal weight count alike."""
    out, lse = blockwise_attention(q, k, v, **rest)
    both = ~np.isneginf(lse) & ~np.isneginf(into[1])
    into[0][...] = np.where(both[..., None], (into[0] + out) / 2, into[0] + out)
    into[1][...] = np.logaddexp(into[1], lse)
    return into


def keeps_only_the_last_part(q: Any, k: Any, v: Any, *, into: Any, **rest: Any) -> Any:
    """Writes where it should merge."""
    into[0][...], into[1][...] = blockwise_attention(q, k, v, **rest)
    return into


def does_not_scale_what_is_there(q: Any, k: Any, v: Any, *, into: Any, **rest: Any) -> Any:
    """Weighs the new part and leaves the old one."""
    out, lse = blockwise_attention(q, k, v, **rest)
    old = into[0].copy()
    merge_attention(*into, np.zeros_like(out), lse)
    weight = np.exp(lse - np.where(np.isneginf(into[1]), 0, into[1]))[..., None]
    into[0][...] = old + weight * out
    return into


PART_FORWARDS = [averages_the_parts, keeps_only_the_last_part, does_not_scale_what_is_there]

# -- backward ----------------------------------------------------------------------------------------------------


def leaves_out_what_the_softmax_takes_back(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **rest: Any) -> Any:
    """d_scores = weights * d_weights, without subtracting its mean."""
    return blockwise_attention_backward(q, k, v, np.zeros_like(out), lse, d_out, **rest)


def uses_the_sum_of_its_own_part(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **rest: Any) -> Any:
    """Normalises by the keys at hand instead of all."""
    seen = {name: x for name, x in rest.items() if name != "into"}
    return blockwise_attention_backward(q, k, v, out, blockwise_attention(q, k, v, **seen)[1], d_out, **rest)


def forgets_the_scale(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **rest: Any) -> Any:
    """Gradients of scaled scores taken for those of q k."""
    dq, dk, dv = blockwise_attention_backward(q, k, v, out, lse, d_out, **rest)
    factor = rest.get("scale")
    factor = q.shape[3] ** -0.5 if factor is None else factor or 1.0
    dq /= factor
    dk /= factor
    return dq, dk, dv


def adds_only_the_last_head_of_a_group(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **rest: Any) -> Any:
    """dk and dv of a shared head come of one query head."""
    group = q.shape[2] // k.shape[2]
    dq, _, _ = blockwise_attention_backward(q, k, v, out, lse, d_out, **rest)
    last = np.arange(q.shape[2]) % group == group - 1
    d_last = np.where(last[:, None], d_out, 0).astype(q.dtype)
    return dq, *blockwise_attention_backward(q, k, v, out, lse, d_last, **rest)[1:]


def writes_instead_of_adding(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, *, into: Any, **rest: Any) -> Any:
    """The query gradient of the last part is left."""
    for mine, share in zip(into, blockwise_attention_backward(q, k, v, out, lse, d_out, **rest), strict=True):
        mine[...] = share
    return into


BACKWARDS = [leaves_out_what_the_softmax_takes_back, forgets_the_scale, adds_only_the_last_head_of_a_group]
PART_BACKWARDS = [leaves_out_what_the_softmax_takes_back, uses_the_sum_of_its_own_part, writes_instead_of_adding]


class RemembersTheFirstPart:
    """A ring whose backward uses the keys and values of its first step in every step."""

    def __init__(self) -> None:
        self.first: Any = None

    def __call__(self, q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **rest: Any) -> Any:
        if self.first is None or self.first[0].shape != k.shape:
            self.first = k, v
        return blockwise_attention_backward(q, *self.first, out, lse, d_out, **rest)
