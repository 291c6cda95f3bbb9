"""Claims about Ulysses, ring attention and both together: results, gradients, messages, elements, errors."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parallel
import ranks
from covering import covering
from parallel_claims import WAYS, Case, claim_equals_dense, fixed_cases

sizes = st.sampled_from([1, 2, 3, 4, 5, 6])


@st.composite
def cases(draw: Any) -> Case:
    kv_heads = draw(st.integers(1, 4))
    return Case(
        n=draw(st.integers(0, 14)), heads=kv_heads * draw(st.integers(1, 3)), kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 4)), batch=draw(st.integers(1, 2)), causal=draw(st.booleans()),
        packed=draw(st.booleans()), dtype=draw(st.sampled_from(["f4", "f8"])), overlap=draw(st.booleans()),
        scale=draw(st.sampled_from([None, 0.3, -1.0])), bad=draw(st.booleans()), seed=draw(st.integers(0, 99)),
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=15)
@given(p=sizes, case=cases(), buffering=st.sampled_from(["none", "eager", "infinite"]))
def test_output_and_gradients_equal_dense_attention_for_any_shape(way: str, p: int, case: Case, buffering: str) -> None:
    ranks.run(claim_equals_dense, p, case, WAYS[way], buffering=buffering)


@pytest.mark.parametrize("way", WAYS)
def test_output_and_gradients_equal_dense_attention_for_every_pair_of_options(way: str) -> None:
    options = {
        "n": [0, 1, 2, 5, 7, 13], "p": [1, 2, 3, 4, 5, 6], "kv_heads": [1, 2, 3, 4], "heads": [1, 2, 3, 4, 6, 8, 9, 12],
        "head_dim": [1, 3, 4], "batch": [1, 2], "causal": [False, True], "packed": [False, True],
        "dtype": ["f4", "f8"], "overlap": [False, True], "scale": [None, -1.0], "bad": [False, True],
        "buffering": ["none", "eager", "infinite"],
    }  # fmt: skip

    def fits(chosen: dict[str, Any]) -> bool:
        return chosen.get("heads", 12) % chosen.get("kv_heads", 1) == 0

    for seed, chosen in enumerate(covering(options, fits)):
        p, buffering = chosen.pop("p"), chosen.pop("buffering")
        ranks.run(claim_equals_dense, p, Case(**chosen, seed=seed), WAYS[way], buffering=buffering)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("way", WAYS)
def test_the_shapes_that_other_code_fails_on(way: str, p: int) -> None:
    # Each shape is there under two masks, one after the other, which even and odd p take.
    for case in list(fixed_cases())[p % 2 :: 2]:
        ranks.run(claim_equals_dense, p, case, WAYS[way], buffering="none")


FUNCTIONS = [
    parallel.ulysses_attention,
    parallel.ring_attention,
    lambda comm, *arrays, **keywords: parallel.usp_attention(parallel.usp_grid(comm, 1), *arrays, **keywords),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=["ulysses", "ring", "usp"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 2}, r"rank 2: batch=2, expected batch=1 as on the other 3 of 4 ranks"),
        ({"heads": 8}, r"rank 2: heads=8, expected heads=4"),
        ({"kv_heads": 1}, r"rank 2: kv_heads=1, expected kv_heads=2"),
        ({"head_dim": 5}, r"rank 2: head_dim=5, scale=0.447214, expected head_dim=3, scale=0.57735 as"),
        ({"causal": True}, r"rank 2: causal=True, expected causal=False"),
        ({"scale": 1.0}, r"rank 2: scale=1, expected scale=0.57735"),
        ({"dtype": "f4"}, r"rank 2: dtype=float32, expected dtype=float64"),
        ({"segments": True}, r"rank 2: segments=True, expected segments=False"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_ranks_whose_arrays_differ_in_more_than_tokens_are_named_on_every_rank(
    function: Any, change: dict[str, Any], message: str
) -> None:
    def program(comm: Any) -> str:
        usual = {"batch": 1, "heads": 4, "kv_heads": 2, "head_dim": 3, "dtype": "f8", "causal": False}
        case = usual | (change if comm.rank == 2 else {})
        q = np.zeros((case["batch"], 5 + comm.rank, case["heads"], case["head_dim"]), case["dtype"])
        segments = np.zeros(q.shape[:2], int) if case.get("segments") else None
        kv = q[:, :, : case["kv_heads"]]
        try:
            function(comm, q, kv, kv, causal=case["causal"], scale=case.get("scale"), segments=segments)
        except ValueError as error:
            return str(error)
        return "no error"

    for told in ranks.run(program, 4).results:
        assert re.search(message, told), told


def test_ranks_with_different_layouts_are_named() -> None:
    def program(comm: Any) -> None:
        q = np.zeros((1, 4, 2, 2))
        parallel.ring_attention(comm, q, q, q, layout="zigzag" if comm.rank == 1 else "striped")

    with pytest.raises(ValueError, match=r"rank 1: layout='zigzag', expected layout='striped' as on the other 2 of 3"):
        ranks.run(program, 3)


X = np.zeros((1, 4, 2, 3))
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (ring := parallel.ring_attention, {"layout": "spiral"}, "layout: got 'spiral', expected plain, striped, zigzag"),
    (ring, {"lengths": [4]}, r"ring_attention: got lengths=\[4\] and, on rank 0, 4 tokens, expected the number of"),
    (ring, {"lengths": [5, 4]}, r"got lengths=\[5, 4\] and, on rank 0, 4 tokens"),
    (ring, {"lengths": ["4", 4]}, r"got lengths=\['4', 4\] and"),
    (ring, {"segments": np.zeros((1, 3), int)}, r"got segments int64 \(1, 3\), expected an array of integers"),
    (ring, {"segments": np.zeros((1, 4))}, r"got segments float64 \(1, 4\), expected an array of integers"),
    (ring, {"segments": [0] * 4}, "got segments list, expected an array of integers"),
    (ring, {"scale": float("nan")}, "ring_attention: got scale=nan, expected a finite number"),
    (ring, {"k": X[..., :2]}, "expected q and k of one head_dim"),
    (ring, {"k": X[:, :3], "v": X[:, :3]}, "expected q, k and v of the same tokens and head_dim"),
    (ring, {"v": X[..., :2]}, "expected q, k and v of the same tokens and head_dim"),
    (ring, {"k": np.zeros((1, 4, 3, 3)), "v": np.zeros((1, 4, 3, 3))}, "expected KV heads that divide the 2 query"),
    (ring, {"q": X[0]}, r"got q with shape \(4, 2, 3\), expected \(batch, seq, heads, head_dim\)"),
    (
        ulysses := parallel.ulysses_attention,
        {"causal": True, "attention": parallel.local_attention()},
        "got causal, scale or segments beside an attention that has its own, expected one or the other",
    ),
    (ulysses, {"lengths": [4, 4, 4]}, r"ulysses_attention: got lengths=\[4, 4, 4\] and, on rank 0, 4 tokens"),
    (
        usp := lambda comm, *x, **keywords: parallel.usp_attention(parallel.usp_grid(comm, 2), *x, **keywords),
        {"lengths": [4]},
        r"usp_attention: got lengths=\[4\], expected one for each of 2 ranks, row after row",
    ),
    (lambda comm, *x: parallel.usp_grid(comm, 3), {}, "usp_grid: got ulysses=3, expected a number that divides the 2"),
    (
        lambda comm, q, *_: parallel.shard(q, comm.rank, comm.size),
        {},
        "shard: got p=[01], rank=2, expected a rank from",
    ),
]


@pytest.mark.parametrize(("function", "change", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_arguments_that_make_no_sense_are_refused(function: Any, change: dict[str, Any], message: str) -> None:
    arrays = [change.get(name, X) for name in "qkv"]
    keywords = {name: value for name, value in change.items() if name not in "qkv"}
    with pytest.raises((ValueError, TypeError), match=f"{message}.*remedy: "):
        ranks.run(lambda comm: function(comm, *arrays, **keywords), 2)


@pytest.mark.parametrize("layout", ["striped", "zigzag"])
def test_shards_that_do_not_fit_their_layout_are_refused(layout: str) -> None:
    def program(comm: Any) -> None:
        q = np.zeros((1, 5 - 3 * comm.rank, 2, 2))
        parallel.ring_attention(comm, q, q, q, layout=layout)

    expected = (
        rf"got shards of \[5, 2\] tokens, expected \[[34], [34]\] in the {layout} layout; remedy: cut the sequence"
    )
    with pytest.raises(ValueError, match=expected):
        ranks.run(program, 2)


@pytest.mark.parametrize("function", FUNCTIONS[:2], ids=["ulysses", "ring"])
def test_lengths_that_only_one_rank_gets_wrong_end_the_run(function: Any) -> None:
    def program(comm: Any) -> None:
        q = np.zeros((1, 3, 2, 2))
        function(comm, q, q, q, lengths=[3, 3, 4] if comm.rank == 1 else [3, 3, 3])

    with pytest.raises(ranks.CollectiveMismatchError, match=r"outlier +rank 1"):
        ranks.run(program, 3)


@pytest.mark.parametrize("shape", [(1, 3, 2, 3), (1, 4, 2, 2)])
def test_a_gradient_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    def program(comm: Any, forward: Any, backward: Any) -> None:
        backward(comm, forward(comm, X, X, X)[1], np.zeros(shape))

    for name in ("ulysses_attention", "ring_attention"):
        with pytest.raises(ValueError, match=rf"{name}_backward: got d_out \({shape[0]}, {shape[1]}"):
            ranks.run(program, 2, getattr(parallel, name), getattr(parallel, f"{name}_backward"))


@pytest.mark.parametrize("layout", ["plain", "striped", "zigzag"])
@pytest.mark.parametrize("p", [1, 2, 3, 7])
def test_every_token_has_one_place_in_every_layout(layout: str, p: int) -> None:
    for n in (0, 1, 5, 14, 30):
        x = np.arange(n)
        shards = [parallel.shard(x, p, rank, layout, axis=0) for rank in range(p)]
        assert sorted(np.concatenate(shards)) == list(range(n))
        assert max(map(len, shards)) - min(map(len, shards)) <= (2 if layout == "zigzag" else 1)
        np.testing.assert_array_equal(parallel.unshard(shards, layout, axis=0), x)
    grids = ranks.run(lambda comm: parallel.usp_grid(comm, p).shard(np.arange(31), layout, axis=0), 2 * p).results
    np.testing.assert_array_equal(parallel.unshard_grid(grids, p, layout, axis=0), np.arange(31))
