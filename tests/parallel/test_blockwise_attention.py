"""Blockwise attention equals the definition, whatever the blocks, and however the keys are parted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_claims import (
    CASES,
    OPTIONS,
    Case,
    assert_close,
    claim_backward,
    claim_forward,
    claim_parts,
    every_pair,
    tolerances,
)
from covering import covering
from parallel import (
    attention,
    attention_backward,
    blockwise_attention,
    blockwise_attention_backward,
    merge_attention,
)
from parallel.arguments import Sizes
from parallel.attention import blockwise, together
from parallel.attention import visibility as visibility_module
from parallel.attention.visibility import Visibility, visibility

BLOCKS = st.integers(1, 5)


@contextmanager
def blocks_of(rows: int, cols: int) -> Iterator[None]:
    """Let tiles be of this size, and bands of two blocks."""
    sizes = mock.patch.multiple(blockwise, ROWS=rows, ROWS_EDGED=rows, COLS=cols)
    with sizes, mock.patch.object(visibility_module, "_BAND", 2 * rows):
        yield


@settings(max_examples=80)
@given(CASES, BLOCKS, BLOCKS)
def test_equals_the_definition_for_any_blocks(case: Case, rows: int, cols: int) -> None:
    with blocks_of(rows, cols):
        claim_forward(case, blockwise_attention)
        claim_backward(case, blockwise_attention, blockwise_attention_backward)


def test_equals_the_definition_for_every_pair_of_options() -> None:
    for turn, case in enumerate(every_pair()):
        with blocks_of(1 + turn % 5, 1 + turn % 3):
            claim_forward(case, blockwise_attention)
            claim_backward(case, blockwise_attention, blockwise_attention_backward)
            claim_parts(case, 1 + turn % 4, blockwise_attention, blockwise_attention_backward)


def test_short_sequences_equal_the_definition_however_many_heads_are_taken_at_once() -> None:
    """All tokens in one tile: heads are worked on together, here one, some or all of them, and bands of queries."""
    options = OPTIONS | {"causal": [True], "masked": ["no", "heads"], "segments": [0, 3], "batch": [2, 3]}
    for turn, chosen in enumerate(covering(options)):
        case = Case(**chosen, seed=turn)
        with mock.patch.multiple(together, _SCORES=(1, 100, 1 << 16)[turn % 3], BAND=(1, 3, 32, 2)[turn % 4]):
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


@settings(max_examples=60)
@given(CASES, st.integers(1, 4))
def test_parts_of_the_keys_merge_into_the_whole(case: Case, parts: int) -> None:
    claim_parts(case, parts, blockwise_attention, blockwise_attention_backward)


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


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("score", [-200.0, -85.0, -60.0, -30.0, 0.0, 30.0, 60.0, 85.0, 200.0])
def test_exp_neither_overflows_nor_underflows_whatever_the_scores_and_values(score: float, size: float) -> None:
    """All scores of a query nearly alike and far from 0: exp(score) times v would leave float32's range."""
    rng = np.random.default_rng(1)
    q, k = np.full((1, 3, 1, 1), score, "f4"), (1 + 0.01 * rng.standard_normal((1, 40, 1, 1))).astype("f4")
    v = (size * rng.uniform(1, 2, (1, 40, 1, 2))).astype("f4")
    out, lse = blockwise_attention(q, k, v, scale=1)
    exact = attention(q.astype("f8"), k.astype("f8"), v.astype("f8"), scale=1)
    # Products, sums and exp of scores known to eps |score|.
    relative = np.finfo("f4").eps * (2 * abs(score) + 60)
    np.testing.assert_allclose(out, exact, rtol=relative)
    np.testing.assert_allclose(lse, np.log(np.exp((score * k[0, :, 0, 0]).astype("f8")).sum()), rtol=relative)
    d_out = np.ones_like(out)
    dv = blockwise_attention_backward(q, k, v, out, lse, d_out, scale=1)[2]
    exact_dv = attention_backward(*(x.astype("f8") for x in (q, k, v, d_out)), scale=1)[2]
    np.testing.assert_allclose(dv, exact_dv, rtol=4 * relative)


@pytest.mark.parametrize("below", [0.5, 1.5, 3.0, 6.0])
def test_a_sum_of_very_many_safe_terms_does_not_overflow(below: float) -> None:
    """One exp is `below` e-folds under the largest float32; a thousand of them are not."""
    q = np.full((1, 1, 1, 1), np.log(np.finfo("f4").max) - below, "f4")
    k, v = np.ones((1, 1000, 1, 1), "f4"), np.ones((1, 1000, 1, 1), "f4")
    out, lse = blockwise_attention(q, k, v)
    np.testing.assert_allclose(out.ravel(), 1, rtol=1e-4)
    np.testing.assert_allclose(lse.ravel(), q.ravel() + np.log(1000), rtol=1e-6)


@settings(max_examples=60)
@given(CASES, BLOCKS, BLOCKS, st.integers(1, 4), st.sampled_from(["normal", "nearly the largest", "the largest"]))
def test_values_up_to_the_largest_number_have_a_mean(case: Case, rows: int, cols: int, parts: int, kind: str) -> None:
    """Attention is linear in v: as many powers of two smaller, where no sum overflows, it is as much smaller."""
    q, k, v, _ = case.arrays()
    largest = np.finfo(case.dtype).max
    if kind == "the largest":
        v = np.full_like(v, largest)
    elif kind == "nearly the largest":
        v = v / np.abs(v).max(initial=1e-30) * (largest * (case.v_dim / 5))
    small = v * np.ldexp(np.ones((), case.dtype), -20)
    with blocks_of(rows, cols):
        whole, merged = blockwise_attention(q, k, v, **case.keywords())[0], nothing_yet(case, v)
        for part in np.array_split(np.arange(case.keys), parts):
            blockwise_attention(q, k[:, part], v[:, part], mask=case.seen()[..., part], scale=case.scale, into=merged)
        expected = blockwise_attention(q, k, small, **case.keywords())[0]
    dense = attention(q, k, v, scale=case.scale, mask=case.seen())
    scale = max(float(np.abs(small).max(initial=0)), np.finfo(case.dtype).tiny)
    relative = tolerances(case, q, k, np.ones_like(v), np.ones_like(v[:, :1]))["out"]
    for out in (whole, merged[0], dense):
        assert np.isfinite(out).all()
        error = np.abs(np.ldexp(out, -20) - expected).max(initial=0)
        assert error <= relative * scale, f"off by {error / scale}, {relative} allowed"


def nothing_yet(case: Case, v: Any) -> tuple[Any, Any]:
    """Return (out, lse) over no keys."""
    shape = (case.batch, case.queries, case.kv_heads * case.group)
    return np.zeros((*shape, case.v_dim), v.dtype), np.full(shape, -np.inf, v.dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("where", ["q", "d_out"])
def test_a_query_without_meaning_gives_no_warning_however_far_its_scores_were(dtype: str, where: str) -> None:
    """Its scores are those of zeros, its lse is not."""
    for seed in range(20):
        case = Case(queries=2, keys=1, dtype=dtype, spread=1000.0 if dtype == "f4" else 10_000.0, seed=seed)
        q, k, v, d_out = (x.copy() for x in case.arrays())
        out, lse = blockwise_attention(q, k, v)
        {"q": q, "d_out": d_out}[where][0, 0, 0, 0] = np.nan
        dq, dk, dv = blockwise_attention_backward(q, k, v, out, lse, d_out)
        assert np.isnan(dq).all(axis=3).ravel().tolist() == [True, False, False, False]
        assert np.isnan(dk).all()
        assert np.isnan(dv).all()


def test_one_head_with_wild_scores_does_not_change_another() -> None:
    q, k, v, _ = Case(queries=9, keys=9, kv_heads=2, group=2, dim=8, v_dim=8, dtype="f4").arrays()
    wild = q * np.array([1, 1000, 1, 1], "f4")[:, None]
    tame, mixed = blockwise_attention(q, k, v)[0], blockwise_attention(wild, k, v)[0]
    np.testing.assert_array_equal(mixed[:, :, [0, 2, 3]], tame[:, :, [0, 2, 3]])
    np.testing.assert_allclose(mixed, attention(wild, k, v), rtol=0, atol=1e-3)


def visible(seq: int, **keywords: Any) -> Visibility:
    arguments = dict.fromkeys(("mask", "q_segments", "k_segments")) | {"q_positions": 0, "k_positions": 0} | keywords
    return visibility("test", Sizes(1, seq, seq, 1, 1, 1, 1), **{"causal": False} | arguments)


def area(seq: int, **keywords: Any) -> tuple[int, int]:
    """Return how many pairs are computed, and how many of them are looked at for being hidden."""
    seen = visible(seq, **keywords)
    tiles = [(rows, tile) for _, band in seen.bands(0, 16, 32) for rows, tiles in band for tile in tiles]
    assert all(tile.cols.stop - tile.cols.start <= 32 for _, tile in tiles)
    length = [rows.stop - rows.start for rows, _ in tiles]
    return (
        sum(n * (tile.cols.stop - tile.cols.start) for n, (_, tile) in zip(length, tiles, strict=True)),
        sum(n * (tile.edge.stop - tile.edge.start) for n, (_, tile) in zip(length, tiles, strict=True)),
    )


@pytest.mark.parametrize("seq", [16, 128, 320])
def test_work_on_what_nobody_sees_is_left_out(seq: int) -> None:
    # The first key of the last tile is seen by the whole block, so 15 of 16 columns are looked at.
    n, ids = seq // 16, np.arange(seq) // 16
    causal = 16 * 16 * n * (n + 1) // 2
    assert area(seq) == (seq * seq, 0)
    assert area(seq, causal=True) == (causal, 15 * seq)
    assert area(seq, causal=True, q_positions=seq) == (seq * seq, 0)
    assert area(seq, causal=True, k_positions=seq) == (0, 0)
    assert area(seq, q_segments=ids, k_segments=ids) == (16 * seq, 0)
    assert area(seq, q_segments=ids, k_segments=ids[::-1]) == (16 * seq, 0)
    assert area(seq, mask=np.zeros((seq, seq), bool)) == (0, 0)
    # A striped rank of two holds every other token: nearly the same work against itself and against its neighbour.
    striped = {"causal": True, "q_positions": 2 * np.arange(seq)}
    assert area(seq, **striped, k_positions=2 * np.arange(seq)) == (causal, 15 * seq)
    assert area(seq, **striped, k_positions=2 * np.arange(seq) + 1) == (causal - 16 * n, 15 * seq)


def test_blocks_are_small_only_where_some_key_may_be_hidden() -> None:
    ids = np.zeros(8, int)
    assert visible(8).is_full
    assert visible(0, causal=True).is_full
    assert visible(8, causal=True, q_positions=7).is_full
    for keywords in ({"causal": True, "q_positions": 6}, {"mask": np.ones((8, 8), bool)}):
        assert not visible(8, **keywords).is_full
    assert not visible(8, q_segments=ids, k_segments=ids).is_full


@pytest.mark.parametrize("keywords", [{}, {"causal": True}, {"causal": True, "positions": "shuffled"}], ids=str)
def test_memory_grows_with_the_sequence_and_not_with_its_square(keywords: dict[str, Any]) -> None:
    def peaks(seq: int) -> tuple[int, int]:
        case = Case(queries=seq, keys=seq, kv_heads=2, dim=16, v_dim=16, dtype="f4", **keywords)
        q, k, v, d_out = case.arrays()
        given = case.keywords()
        out, lse = blockwise_attention(q, k, v, **given)
        found = []
        for call in (
            lambda: blockwise_attention(q, k, v, **given),
            lambda: blockwise_attention_backward(q, k, v, out, lse, d_out, **given),
        ):
            tracemalloc.start()
            call()
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return found[0], found[1]

    with blocks_of(64, 64):
        for small, large in zip(peaks(256), peaks(1024), strict=True):
            assert large < 4.4 * small


WRONG_NUMBERS = st.sampled_from([np.nan, np.inf, -np.inf, 1e200])


@settings(max_examples=100)
@given(CASES, BLOCKS, BLOCKS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6), WRONG_NUMBERS), max_size=3))
def test_a_wrong_number_reaches_exactly_those_who_see_it(case: Case, rows: int, cols: int, where: Any) -> None:
    """A NaN or inf anywhere in a token, or a length that overflows in q or k; dense and blockwise alike."""
    arrays = [x.copy() for x in case.arrays()]
    for which, place, number in where:
        # 1e200 is no float32, and times 0 it has no length; with another in v it makes d_out v overflow, as it should.
        if number == 1e200 and (case.dtype == "f4" or case.scale == 0 or which == 3):
            number = np.nan
        if arrays[which].size:
            arrays[which].flat[place % arrays[which].size] = number
    q, k, v, d_out = arrays
    bad = [~np.isfinite(x).all(axis=3) for x in arrays]
    for which in (0, 1):
        bad[which] |= (arrays[which].astype(float) == 1e200).any(axis=3)
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


def test_a_wrong_number_in_one_part_of_the_keys_leaves_alone_what_nobody_sees() -> None:
    q, k, v, d_out = Case(queries=4, keys=3, group=1).arrays()
    bad_k = k.copy()
    bad_k[0, 0, 0, 0] = np.nan
    total = blockwise_attention(q, bad_k[:, :1], v[:, :1], causal=True, k_positions=1)
    positions = np.array([0, 5])  # of the other part: a key that all queries see, and one that none sees
    blockwise_attention(q, k[:, 1:], v[:, 1:], causal=True, k_positions=positions, into=total)
    dq, dk, dv = blockwise_attention_backward(q, k[:, 1:], v[:, 1:], *total, d_out, causal=True, k_positions=positions)
    assert np.isnan(dq).any(axis=3).ravel().tolist() == [False, True, True, True]
    for grad in (dk, dv):
        assert np.isnan(grad[:, 0]).all()
        assert not grad[:, 1].any()


def test_a_wrong_number_in_one_part_of_the_keys_reaches_the_gradients_of_the_others() -> None:
    """The part at hand is clean; that a query is not shows in its (out, lse) alone."""
    q, k, v, d_out = Case(queries=6, keys=6, group=1).arrays()
    bad_k = k.copy()
    bad_k[0, 4, 0, 0] = np.nan
    total = blockwise_attention(q, bad_k[:, 4:], v[:, 4:], causal=True, k_positions=4)
    blockwise_attention(q, bad_k[:, :4], v[:, :4], causal=True, into=total)
    assert np.isnan(total[1]).ravel().tolist() == [False] * 4 + [True] * 2
    # Keys 2 and 3 are hidden from the bad ones.
    mask = np.ones((6, 4), bool)
    mask[4:, 2:] = False
    dq, dk, dv = blockwise_attention_backward(q, k[:, :4], v[:, :4], *total, d_out, causal=True, mask=mask)
    assert np.isnan(dq).all(axis=(0, 2, 3)).tolist() == [False] * 4 + [True] * 2
    for grad in (dk, dv):
        assert np.isnan(grad).all(axis=(0, 2, 3)).tolist() == [True, True, False, False]
        assert np.isfinite(grad[:, 2:]).all()


def test_a_length_that_overflows_only_by_the_scale_counts_as_well() -> None:
    """scale * q k would be inf, and inf - inf a NaN with a warning, or zeros for a query that sees a key."""
    q, k, v, _ = Case(queries=2, keys=2, group=1).arrays()
    q = q * np.array([1, 1e150])[:, None, None]
    for out in (attention(q, k, v, scale=1e10), blockwise_attention(q, k, v, scale=1e10)[0]):
        assert np.isnan(out).all(axis=(0, 2, 3)).tolist() == [False, True]


def test_gradients_are_added_to_what_is_there() -> None:
    q, k, v, d_out = Case(batch=2, kv_heads=2, causal=True).arrays()
    out, lse = blockwise_attention(q, k, v, causal=True)
    once = blockwise_attention_backward(q, k, v, out, lse, d_out, causal=True)
    twice = tuple(x.copy() for x in once)
    blockwise_attention_backward(q, k, v, out, lse, d_out, causal=True, into=twice)
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_array_equal(two, 2 * one)


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
