"""Dense attention, the reference for all other forms: held to the definition row by row, and to finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from attention_claims import CASES, Case, claim_backward, claim_forward, every_pair, row_by_row
from parallel import attention, attention_backward


def with_mask_of(case: Case) -> tuple[Any, Any]:
    """Return the dense forms with the case's way of seeing as a mask; the lse, which they do not return, is given."""

    def forward(q: Any, k: Any, v: Any, **_: Any) -> Any:
        return attention(q, k, v, scale=case.scale, mask=case.seen()), row_by_row(case, q, k, v)[1].astype(case.dtype)

    def backward(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, **_: Any) -> Any:
        return attention_backward(q, k, v, d_out, scale=case.scale, mask=case.seen())

    return forward, backward


@settings(max_examples=60)
@given(CASES)
def test_equals_a_softmax_over_just_the_keys_that_each_query_sees(case: Case) -> None:
    forward, backward = with_mask_of(case)
    claim_forward(case, forward)
    claim_backward(case, forward, backward)


def test_equals_it_for_every_pair_of_options() -> None:
    for case in every_pair():
        forward, backward = with_mask_of(case)
        claim_forward(case, forward)
        claim_backward(case, forward, backward)


@pytest.mark.parametrize("keys", [0, 1, 5, 9])
def test_causal_is_a_mask_of_no_later_key(keys: int) -> None:
    q, k, v, d_out = Case(keys=keys).arrays()
    mask = np.arange(keys) <= np.arange(5)[:, None]
    np.testing.assert_array_equal(attention(q, k, v, causal=True), attention(q, k, v, mask=mask))
    both = mask & (np.arange(keys) != 2)
    np.testing.assert_array_equal(
        attention(q, k, v, causal=True, mask=np.arange(keys) != 2), attention(q, k, v, mask=both)
    )
    got = attention_backward(q, k, v, d_out, causal=True)
    for mine, expected in zip(got, attention_backward(q, k, v, d_out, mask=mask), strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    "case",
    [Case(), Case(batch=2, kv_heads=2, group=1, dim=2), Case(scale=-0.7, v_dim=1), Case(masked="pairs", seed=3)],
    ids=str,
)
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_those_of_finite_differences(case: Case, causal: bool) -> None:
    *qkv, d_out = (x.copy() for x in case.arrays())
    options = {"causal": causal, "scale": case.scale, "mask": case.keywords().get("mask")}
    grads = attention_backward(*qkv, d_out, **options)
    # The step balances h^2 f''' against eps f / h; both stay below 1e-8 for values and derivatives of some tens.
    h = 1e-5
    for x, grad in zip(qkv, grads, strict=True):
        for place in np.ndindex(x.shape):
            kept = x[place]
            x[place] = kept + h
            above = (d_out * attention(*qkv, **options)).sum()
            x[place] = kept - h
            below = (d_out * attention(*qkv, **options)).sum()
            x[place] = kept
            assert abs((above - below) / (2 * h) - grad[place]) < 1e-8


def test_scores_are_shifted_row_by_row() -> None:
    """The largest score of the batch, subtracted everywhere, would leave the first query nothing but zeros."""
    q, k = np.array([1.0, 1000.0]).reshape(1, 2, 1, 1), np.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(attention(q, k, k, scale=1).ravel(), [(1 + 2 * np.e) / (1 + np.e), 2], rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"q": [1.0]}, TypeError, "got q of type list, expected a numpy.ndarray; remedy: pass np.asarray"),
        ({"k": np.ma.zeros((1, 7, 1, 4))}, TypeError, "got k of type MaskedArray"),
        ({"v": np.zeros((1, 7, 1, 3), int)}, TypeError, "got v with dtype int64, expected float32 or float64; remedy"),
        ({"q": np.zeros((1, 5, 2, 4), "f2")}, TypeError, "got q with dtype float16"),
        ({"q": np.zeros((5, 2, 4))}, ValueError, r"got q with shape \(5, 2, 4\), expected \(batch, seq, heads, head_"),
        ({"q": np.zeros((1, 5, 2, 4), "f4")}, TypeError, "got q, k, v with dtypes float32, float64, float64, expected"),
        ({"q": np.zeros((2, 5, 2, 4))}, ValueError, r"got q \(2, 5, 2, 4\), k \(1, 7, 1, 4\), v .* expected one batch"),
        ({"v": np.zeros((1, 6, 1, 3))}, ValueError, "expected one batch, and k and v alike in batch, seq and heads"),
        ({"v": np.zeros((1, 7, 2, 3))}, ValueError, "expected one batch, and k and v alike in batch, seq and heads"),
        ({"q": np.zeros((1, 5, 2, 3))}, ValueError, "expected q and k of one head_dim; remedy: project both"),
        ({"k": np.zeros((1, 7, 3, 4)), "v": np.zeros((1, 7, 3, 3))}, ValueError, "KV heads that divide the 2 query"),
        ({"k": np.zeros((1, 7, 0, 4)), "v": np.zeros((1, 7, 0, 3))}, ValueError, "KV heads that divide the 2 query"),
        ({"scale": np.nan}, ValueError, "got scale=nan, expected a finite number; remedy: leave it out"),
        ({"scale": "1"}, ValueError, "got scale='1', expected a finite number"),
        ({"mask": [True]}, TypeError, "got mask of list, expected an array of bool, True where a query attends"),
        ({"mask": np.ones((5, 7))}, TypeError, "got mask of dtype float64, expected an array of bool"),
        ({"mask": np.ones((7, 5), bool)}, ValueError, r"got mask \(7, 5\), expected what broadcasts to \(1, 2, 5, 7\)"),
        ({"d_out": np.zeros((1, 5, 2, 4))}, ValueError, r"got d_out \(1, 5, 2, 4\) float64, expected \(1, 5, 2, 3\) f"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments = dict(zip(("q", "k", "v", "d_out"), Case().arrays(), strict=True)) | change
    with pytest.raises(kind, match=f"^attention_backward: .*{message}") as caught:
        attention_backward(**arguments)
    assert "; remedy: " in str(caught.value)
    if "d_out" not in change:
        del arguments["d_out"]
        with pytest.raises(kind, match=f"^attention: .*{message}"):
            attention(**arguments)
