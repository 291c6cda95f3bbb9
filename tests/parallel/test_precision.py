"""Numbers of 16 bits: rounding, over all of them and against whole numbers; operations, rounded once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import parallel
import ranks
from parallel.layers import gelu, layer_norm, layer_norm_backward, linear, linear_input_backward, linear_weight_backward
from parallel.precision import BFLOAT16, FLOAT16, rounded, sum_dtype, wide, wire

# dtype: bits of the significand, the leading one included; the exponents of the least and the largest normal number.
FORMATS = {BFLOAT16: (8, -126, 127), FLOAT16: (11, -14, 15)}
BOTH = pytest.mark.parametrize("dtype", FORMATS, ids=str)


def bits_of_nearest(exact: Fraction, dtype: Any) -> int:
    """Return the bits of the nearest number of 16 bits, ties to even, in whole numbers only."""
    significand, least, largest = FORMATS[dtype]
    size = abs(exact)
    exponent = least
    while exponent < largest and size >= Fraction(2) ** (exponent + 1):
        exponent += 1
    units, rest = divmod(size / Fraction(2) ** (exponent - significand + 1), 1)
    units += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and units % 2)
    # Numbers lie in a row: one more unit above the largest significand is the next exponent, and then infinity.
    number = int(units) + (exponent - least) * 2 ** (significand - 1)
    infinity = (largest - least + 2) * 2 ** (significand - 1)
    return min(number, infinity) + (0x8000 if exact < 0 else 0)


def every_number(dtype: Any) -> np.ndarray:
    """Return all numbers from 0 up to infinity, in order."""
    infinity = int(np.array(np.inf, dtype).view(np.uint16))
    return np.arange(infinity + 1, dtype=np.uint16).view(dtype)


@BOTH
def test_each_number_survives_both_ways(dtype: Any) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        back = rounded(wide(x), dtype)
        is_nan = np.isnan(wide(x))
    assert wide(x).dtype == np.float32
    assert is_nan.sum() == 2 * (2 ** (FORMATS[dtype][0] - 1) - 1)
    assert (back.view(np.uint16) == x.view(np.uint16))[~is_nan].all()
    assert np.isnan(back[is_nan]).all()
    assert np.isnan(wide(x)[is_nan]).all()


@BOTH
def test_midpoints_go_to_even_and_their_neighbours_to_the_nearer(dtype: Any) -> None:
    numbers = every_number(dtype)
    low, high = (wide(each).astype(np.float64) for each in (numbers[:-1], numbers[1:]))
    high[-1] = 2 * low[-1] - low[-2]  # where infinity begins, one more number would lie
    middle = (low + high) / 2
    assert (middle.astype(np.float32) == middle).all(), "float32 has all midpoints"
    even = np.arange(len(low)) + np.arange(len(low)) % 2
    for sign in (1, -1):
        of_sign = sign * middle.astype(np.float32)
        cases = {0: even, -1: np.arange(len(low)), 1: np.arange(len(low)) + 1}
        for step, place in cases.items():
            x = np.nextafter(of_sign, np.float32(sign * step * np.inf)) if step else of_sign
            assert (rounded(x, dtype) == sign * numbers[place]).all()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_rounding_is_that_of_whole_numbers(bits: list[int]) -> None:
    x = np.array(bits, np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        for dtype in FORMATS:
            for number, got in zip(x.tolist(), rounded(x, dtype), strict=True):
                if np.isfinite(number) and number:
                    assert got.view(np.uint16) == bits_of_nearest(Fraction(number), dtype)
                else:
                    np.testing.assert_equal(float(got), number)


@BOTH
@given(data=st.data())
def test_a_sum_or_product_of_two_is_rounded_once(dtype: Any, data: Any) -> None:
    """Also where it is computed in float32 and then rounded: that has more than twice the bits."""
    finite = st.integers(0, 2**16 - 1).filter(lambda bits: bits % 2**15 < len(every_number(dtype)) - 1)
    pair = np.array(data.draw(st.tuples(finite, finite)), np.uint16).view(dtype)
    a, b = (Fraction(float(each)) for each in pair)
    with np.errstate(over="ignore", under="ignore"):
        got = {a + b: pair[:1] + pair[1:], a * b: pair[:1] * pair[1:]}
        in_float32 = {a + b: wide(pair[:1]) + wide(pair[1:]), a * b: wide(pair[:1]) * wide(pair[1:])}
    for exact, made in got.items():
        if exact and not 0 < abs(exact) < Fraction(2) ** -126:  # below, a product in float32 is rounded itself
            assert made.dtype == dtype
            assert made.view(np.uint16)[0] == bits_of_nearest(exact, dtype)
            assert rounded(in_float32[exact], dtype) == made


def test_other_numbers_are_left_alone() -> None:
    for dtype in (np.float32, np.float64):
        x = np.ones(3, dtype)
        assert wide(x) is x
        assert rounded(x, x.dtype) is x
        assert wire(x) is x
        assert sum_dtype(x.dtype) == dtype


# -- operations --------------------------------------------------------------------------------------------------------


def same(got: Any, expected: Any) -> None:
    assert got.dtype == expected.dtype
    assert got.tobytes() == expected.tobytes()


@BOTH
def test_operations_compute_in_float32_and_round_once(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x, w, b, gain = (rng.standard_normal(shape).astype(dtype) for shape in ((2, 3, 5), (5, 4), 4, 5))
    d_y, bias = rng.standard_normal((2, 3, 4)).astype(dtype), rng.standard_normal(5).astype(dtype)
    same(linear(x, w, b), rounded(linear(wide(x), wide(w), wide(b)), dtype))
    same(linear_input_backward(w, d_y), rounded(linear_input_backward(wide(w), wide(d_y)), dtype))
    same(linear_weight_backward(x, d_y), linear_weight_backward(wide(x), wide(d_y)))
    for got, in_float32 in zip(gelu(x), gelu(wide(x)), strict=True):
        same(got, rounded(in_float32, dtype))
    y, saved = layer_norm(x, gain, bias)
    _, (normal, inverse) = layer_norm(wide(x), wide(gain), wide(bias))
    same(saved[0], rounded(normal, dtype))
    same(saved[1], inverse)
    same(y, rounded(wide(saved[0]) * wide(gain) + wide(bias), dtype))
    d_x, *of_parameters = layer_norm_backward(saved, gain, x)
    expected, *expected_of = layer_norm_backward((wide(saved[0]), inverse), wide(gain), wide(x))
    same(d_x, rounded(expected, dtype))
    for mine, wanted in zip(of_parameters, expected_of, strict=True):
        same(mine, wanted)


@BOTH
@pytest.mark.parametrize("p", [1, 2, 3, 5])
@pytest.mark.parametrize("way", ["ring", "ulysses"])
def test_attention_over_ranks_rounds_what_one_rank_rounds(dtype: Any, p: int, way: str) -> None:
    """float32 sums in another order may fall on the other side of a midpoint: one number of 16 bits, no more."""
    rng, n = np.random.default_rng(p), 11
    q, k, v, d_out = rng.standard_normal((4, 2, n, 5, 4)).astype(dtype)
    alone = parallel.local_attention(causal=True)
    out, saved = alone.forward(q, k, v)
    expected = (out, *alone.backward(saved, d_out))
    attend, back = {
        "ring": (parallel.ring_attention, parallel.ring_attention_backward),
        "ulysses": (parallel.ulysses_attention, parallel.ulysses_attention_backward),
    }[way]

    def program(comm: Any) -> tuple[np.ndarray, ...]:
        mine = [parallel.shard(each, comm.size, comm.rank) for each in (q, k, v, d_out)]
        out, saved = attend(comm, *mine[:3], causal=True)
        return (out, *back(comm, saved, mine[3]))

    found = ranks.run(program, p).results
    unit = 2.0 ** (1 - FORMATS[dtype][0])
    for name, wanted, *parts in zip(("out", "d_q", "d_k", "d_v"), expected, *found, strict=True):
        got = np.concatenate(parts, 1)
        assert got.dtype == dtype
        # The terms of a gradient are of size 1 and may cancel: float32 errors of them, and a number's own distance.
        allowed = unit * abs(wide(wanted)) + 2**-20
        assert (abs(wide(got) - wide(wanted)) <= allowed).all(), name


def test_ranks_that_disagree_on_the_kind_of_16_bits_are_told() -> None:
    def program(comm: Any) -> None:
        x = np.ones((1, 2, 1, 4), FLOAT16 if comm.rank == 1 else BFLOAT16)
        parallel.ring_attention(comm, x, x, x)

    with pytest.raises(ValueError, match="rank 1: dtype=float16, expected dtype=bfloat16"):
        ranks.run(program, 3)


def test_what_is_of_16_bits_goes_in_as_many() -> None:
    x = np.ones((1, 4, 2, 8), BFLOAT16)
    sent = ranks.run(lambda comm: parallel.ring_attention(comm, x, x, x, lengths=[4] * 3)[0].dtype, 3).bytes_sent
    assert sent == [2 * 2 * x.nbytes] * 3
