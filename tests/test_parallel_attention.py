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
from parallel_claims import WAYS, Case, claim_equals_dense, fixed_cases

sizes = st.sampled_from([1, 2, 3, 4, 5, 6])


@st.composite
def cases(draw: Any) -> Case:
    kv_heads = draw(st.integers(1, 4))
    return Case(
        n=draw(st.integers(0, 14)), heads=kv_heads * draw(st.integers(1, 3)), kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 4)), batch=draw(st.integers(1, 2)), causal=draw(st.booleans()),
        packed=draw(st.booleans()), dtype=draw(st.sampled_from(["f4", "f8"])), overlap=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25)
@given(p=sizes, case=cases(), buffering=st.sampled_from(["none", "eager", "infinite"]))
def test_output_and_gradients_equal_dense_attention_for_any_shape(way: str, p: int, case: Case, buffering: str) -> None:
    ranks.run(claim_equals_dense, p, case, WAYS[way], buffering=buffering)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("way", WAYS)
def test_the_shapes_that_other_code_fails_on(way: str, p: int) -> None:
    for case in fixed_cases():
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
        ({"head_dim": 5}, r"rank 2: head_dim=5, scale_bits=-?\d+, expected head_dim=3"),
        ({"causal": True}, r"rank 2: causal=1, expected causal=0"),
        ({"scale": 1.0}, r"rank 2: scale_bits=4607182418800017408, expected scale_bits=\d+"),
        ({"dtype": "f4"}, r"rank 2: itemsize=4, expected itemsize=8"),
        ({"segments": True}, r"rank 2: segments=1, expected segments=0"),
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
