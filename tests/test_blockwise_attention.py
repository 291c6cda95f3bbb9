"""Blockwise attention equals the definition, whatever the blocks, and however the keys are parted."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_claims import (
    CASES,
    Case,
    assert_close,
    claim_backward,
    claim_forward,
    row_by_row,
    row_by_row_backward,
    tolerances,
)  # fmt: skip
from parallel import (
    attention,
    attention_backward,
    blockwise,
    blockwise_attention,
    blockwise_attention_backward,
    merge_attention,
)  # fmt: skip

BLOCKS = st.integers(1, 5)


def blocks_of(rows: int, cols: int) -> Any:
    return mock.patch.multiple(blockwise, _ROWS=rows, _COLS=cols)


@settings(max_examples=150)
@given(CASES, BLOCKS, BLOCKS)
def test_equals_the_definition_for_any_blocks(case: Case, rows: int, cols: int) -> None:
    with blocks_of(rows, cols):
        claim_forward(case, blockwise_attention)
        claim_backward(case, blockwise_attention, blockwise_attention_backward)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_equals_dense_at_its_real_block_sizes(causal: bool, dtype: str) -> None:
    case = Case(queries=600, keys=1100, kv_heads=1, group=2, dim=16, v_dim=8, causal=causal, dtype=dtype)
    q, k, v, d_out = case.arrays()
    wide = [x.astype("f8") for x in (q, k, v, d_out)]
    out, lse = blockwise_attention(q, k, v, causal=causal)
    grads = blockwise_attention_backward(q, k, v, out, lse, d_out, causal=causal)
    exact = attention(*wide[:3], causal=causal), *attention_backward(*wide, causal=causal)
    allowed = tolerances(case, q, k, v, d_out)
    for name, mine, expected in zip(("out", "dq", "dk", "dv"), (out, *grads), exact, strict=True):
        assert_close(name, mine, expected, allowed[name], dtype)


@settings(max_examples=100)
@given(CASES, st.integers(1, 4), st.integers(0, 99))
def test_parts_of_the_keys_merge_into_the_whole_in_any_order(case: Case, parts: int, seed: int) -> None:
    """What a ring does: each part of the keys with its positions and segments, merged as it comes by."""
    q, k, v, d_out = case.arrays()
    keywords = case.keywords()
    heads = case.kv_heads * case.group
    mask = np.broadcast_to(keywords.pop("mask", True), (case.batch, heads, case.queries, case.keys))
    first = keywords.pop("k_positions", 0)
    positions = first + np.arange(case.keys) if np.ndim(first) == 0 else first
    segments = keywords.pop("k_segments", None)
    owner = np.random.default_rng(seed).integers(0, parts, case.keys)
    total = np.zeros((*q.shape[:3], case.v_dim), q.dtype), np.full(q.shape[:3], -np.inf, q.dtype)
    shares = []
    for part in range(parts):
        mine = np.flatnonzero(owner == part)
        share = keywords | {"k_positions": positions[mine], "mask": mask[..., mine]}
        if segments is not None:
            share["k_segments"] = segments[..., mine]
        shares.append((mine, share))
        assert blockwise_attention(q, k[:, mine], v[:, mine], **share, into=total) is total
    allowed = {name: (parts + 2) * most for name, most in tolerances(case, q, k, v, d_out).items()}
    for name, mine, exact in zip(("out", "lse"), total, row_by_row(case, q, k, v), strict=True):
        assert_close(name, mine, exact, allowed[name], case.dtype)
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for mine, share in shares:
        own = np.zeros((case.batch, mine.size, *k.shape[2:]), k.dtype), np.zeros_like(v[:, mine])
        grads = (dq, *own)
        assert blockwise_attention_backward(q, k[:, mine], v[:, mine], *total, d_out, **share, into=grads) is grads
        dk[:, mine], dv[:, mine] = own
    exact = row_by_row_backward(case, q, k, v, d_out)
    for name, got, expected in zip(("dq", "dk", "dv"), (dq, dk, dv), exact, strict=True):
        assert_close(name, got, expected, allowed[name], case.dtype)


def test_merging_is_symmetric_and_nothing_is_its_neutral_element() -> None:
    q, k, v, _ = Case(masked="pairs", seed=1).arrays()
    a, b = blockwise_attention(q, k[:, :3], v[:, :3]), blockwise_attention(q, k[:, 3:], v[:, 3:])
    ab, ba = (a[0].copy(), a[1].copy()), (b[0].copy(), b[1].copy())
    merge_attention(*ab, *b)
    merge_attention(*ba, *a)
    for mine, other, whole in zip(ab, ba, blockwise_attention(q, k, v), strict=True):
        np.testing.assert_array_equal(mine, other)
        np.testing.assert_allclose(mine, whole, rtol=0, atol=1e-14)
    nothing = np.zeros_like(a[0]), np.full_like(a[1], -np.inf)
    for first, second in ((a, nothing), (nothing, a), (nothing, nothing)):
        got = first[0].copy(), first[1].copy()
        merge_attention(*got, *second)
        for mine, expected in zip(got, a if first is not second else nothing, strict=True):
            np.testing.assert_array_equal(mine, expected)


WRONG_NUMBERS = st.sampled_from([np.nan, np.inf, -np.inf, 1e200])


@settings(max_examples=100)
@given(CASES, BLOCKS, BLOCKS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6), WRONG_NUMBERS), max_size=3))
def test_a_wrong_number_reaches_exactly_those_who_see_it(case: Case, rows: int, cols: int, where: Any) -> None:
    """A NaN or inf anywhere in a token, or a length that overflows in q or k; dense and blockwise alike."""
    if case.dtype == "f4" or case.scale == 0:
        where = [(which, place, np.nan if number == 1e200 else number) for which, place, number in where]
    arrays = [x.copy() for x in case.arrays()]
    bad = [np.zeros(x.shape[:3], bool) for x in arrays]
    for which, place, number in where:
        if arrays[which].size:
            index = np.unravel_index(place % arrays[which].size, arrays[which].shape)
            arrays[which][index] = number
            bad[which][index[:3]] |= number != 1e200 or which < 2
    q, k, v, d_out = arrays
    seen = case.seen()
    in_keys = (bad[1] | bad[2]).transpose(0, 2, 1).repeat(case.group, axis=1)[:, :, None, :]
    reached = (seen & (bad[0].transpose(0, 2, 1)[..., None] | in_keys)).any(axis=3)
    in_backward = reached | (bad[3].transpose(0, 2, 1) & seen.any(axis=3))
    keys_reached = (seen & in_backward[..., None]).any(axis=2)
    keys_reached = keys_reached.reshape(case.batch, case.kv_heads, case.group, case.keys).any(axis=2)
    with blocks_of(rows, cols):
        out, lse = blockwise_attention(q, k, v, **case.keywords())
        grads = blockwise_attention_backward(q, k, v, out, lse, d_out, **case.keywords())
    dense = attention(q, k, v, scale=case.scale, mask=seen)
    dense_grads = attention_backward(q, k, v, d_out, scale=case.scale, mask=seen)
    np.testing.assert_array_equal(np.isnan(lse), reached.transpose(0, 2, 1))
    for got in (out, dense):
        np.testing.assert_array_equal(np.isnan(got), np.broadcast_to(reached.transpose(0, 2, 1)[..., None], got.shape))
    for dq, dk, dv in (grads, dense_grads):
        for got, expected in ((dq, in_backward), (dk, keys_reached), (dv, keys_reached)):
            tokens = np.broadcast_to(expected.transpose(0, 2, 1)[..., None], got.shape)
            np.testing.assert_array_equal(np.isnan(got), tokens)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"q": np.zeros((1, 5, 2))}, ValueError, r"got q with shape \(1, 5, 2\), expected \(batch, seq, heads, head_"),
        ({"mask": np.ones((7, 5), bool)}, ValueError, r"got mask \(7, 5\), expected what broadcasts to \(1, 2, 5, 7\)"),
        ({"scale": np.inf}, ValueError, "got scale=inf, expected a finite number"),
        ({"q_positions": 0.5}, ValueError, r"got q_positions of dtype float64 and shape \(\), expected the first tok"),
        ({"k_positions": np.arange(6)}, ValueError, r"k_positions of dtype int64 and shape \(6,\), .* array of 7 int"),
        ({"q_segments": np.zeros(5, int)}, ValueError, "q_segments without k_segments, expected both or neither; rem"),
        ({"k_segments": np.zeros(7, int)}, ValueError, "k_segments without q_segments, expected both or neither; rem"),
        (
            {"q_segments": np.zeros(5, int), "k_segments": np.zeros(5, int)},
            ValueError, r"k_segments of dtype int64 and shape \(5,\), expected integers of shape \(1, 7\) or \(7,\)",
        ),
        (
            {"q_segments": np.zeros(5), "k_segments": np.zeros(7, int)},
            ValueError, r"q_segments of dtype float64 and shape \(5,\), expected integers",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    q, k, v, d_out = Case().arrays()
    out, lse = blockwise_attention(q, k, v)
    arguments = {"q": q, "k": k, "v": v} | change
    with pytest.raises(kind, match=f"blockwise_attention: .*{message}.*"):
        blockwise_attention(**arguments)
    with pytest.raises(kind, match=f"blockwise_attention_backward: .*{message}.*"):
        blockwise_attention_backward(**arguments, out=out, lse=lse, d_out=d_out)


def test_results_that_do_not_belong_together_are_refused() -> None:
    q, k, v, d_out = Case().arrays()
    out, lse = blockwise_attention(q, k, v)
    with pytest.raises(ValueError, match=r"got lse \(1, 5, 1\) float64, expected \(1, 5, 2\) float64; remedy: pass wh"):
        blockwise_attention_backward(q, k, v, out, lse[..., :1], d_out)
    with pytest.raises(ValueError, match=r"got out \(1, 4, 2, 3\) float64, expected \(1, 5, 2, 3\) float64"):
        blockwise_attention_backward(q, k, v, out[:, :4], lse, d_out)
    with pytest.raises(ValueError, match=r"got d_out \(1, 5, 2, 3\) float32, expected \(1, 5, 2, 3\) float64"):
        blockwise_attention_backward(q, k, v, out, lse, d_out.astype("f4"))
    with pytest.raises(ValueError, match=r"got into\[1\] with shape \(1, 5\), expected \(batch, seq, heads\); rem"):
        blockwise_attention(q, k, v, into=(out, lse[..., 0]))
    with pytest.raises(ValueError, match=r"got into\[0\] read-only, expected a writable array; remedy: pass a copy"):
        blockwise_attention(q, k, v, into=(d_out, lse))
    with pytest.raises(ValueError, match=r"got into\[2\] read-only, expected a writable array; remedy: pass a copy"):
        blockwise_attention_backward(q, k, v, out, lse, d_out, into=(q.copy(), k.copy(), v))
