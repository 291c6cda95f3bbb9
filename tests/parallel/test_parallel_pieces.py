"""Claims about the pieces that a block and its loss are made of: their gradients are finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import parallel
from block_claims import numeric
from parallel import layers

RNG = np.random.default_rng(3)
X, D_Y = RNG.standard_normal((2, 2, 3, 4))
W, GAIN, BIAS = RNG.standard_normal((4, 4)), RNG.standard_normal(4), RNG.standard_normal(4)
TOKENS, LABELS = np.array([[5, 2, 5], [9, 4, 2]]), np.array([[3, -1, 2], [0, 3, 1]])


def norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> Any:
    y, saved = layers.layer_norm(x, gain, bias)
    return y, layers.layer_norm_backward(saved, gain, D_Y)


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Any:
    d_x, d_w = layers.linear_input_backward(w, D_Y), layers.linear_weight_backward(x, D_Y)
    return layers.linear(x, w, b), (d_x, d_w, layers.token_sum(D_Y))


def gelu(x: np.ndarray) -> Any:
    y, slope = layers.gelu(x)
    return y, (D_Y * slope,)


def embed(table: np.ndarray) -> Any:
    return parallel.embed(table, 2, TOKENS), (parallel.embed_backward(len(table), 2, TOKENS, D_Y),)


def loss(logits: np.ndarray) -> Any:
    value, d_logits = parallel.vocabulary_loss(None, logits, 0, LABELS, 7)
    return np.float64(value), (d_logits,)


def smoothed_loss(logits: np.ndarray) -> Any:
    value, d_logits = parallel.vocabulary_loss(None, logits, 0, LABELS, 7, smoothing=0.3)
    return np.float64(value), (d_logits,)


@pytest.mark.parametrize(
    ("piece", "inputs"),
    [
        (norm, (X, GAIN, BIAS)),
        (linear, (X, W, BIAS)),
        (gelu, (3 * X,)),
        (embed, (W,)),
        (loss, (5 * X,)),
        (smoothed_loss, (5 * X,)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_gradients_of_a_piece_are_finite_differences(piece: Callable[..., Any], inputs: tuple[np.ndarray, ...]) -> None:
    copies = [each.copy() for each in inputs]
    for place, array in enumerate(copies):

        def value() -> float:
            y = piece(*copies)[0]
            return float((y * (D_Y if y.ndim else 1)).sum())

        # Truncation: step^2 times a third derivative; rounding: eps / step. Both are below 1e-9 here.
        np.testing.assert_allclose(numeric(value, array), piece(*copies)[1][place], atol=1e-8)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gelu_and_its_slope_are_those_of_the_definition_also_far_from_zero(dtype: str) -> None:
    x = np.concatenate([np.linspace(-9, 9, 401), [-1e6, -40, 40, 1e6]]).astype(dtype)
    x = np.resize(x, (2, 3, 7001))  # more than one piece, and a part of one
    y, slope = layers.gelu(x)
    wide = x.astype(np.longdouble)
    root = np.sqrt(2 / np.longdouble(np.pi))
    tanh = np.tanh(root * (wide + 0.044715 * wide**3))
    exact = 0.5 * (1 + tanh) + 0.5 * wide * (1 - tanh**2) * root * (1 + 3 * 0.044715 * wide**2)
    eps = float(np.finfo(dtype).eps)
    assert y.dtype == slope.dtype == x.dtype
    # 1 - tanh is off by an eps where tanh is near 1; the rest of the slope is at most 50 times that for |x| < 9.
    np.testing.assert_allclose(y, 0.5 * wide * (1 + tanh), rtol=8 * eps, atol=8 * eps)
    np.testing.assert_allclose(slope, exact, atol=200 * eps)


def test_a_norm_of_large_equal_or_shifted_features_is_that_of_the_definition() -> None:
    x = np.array([[[1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3], [7.0, 7, 7, 7]]])
    y, _ = layers.layer_norm(x, np.ones(4), np.zeros(4))
    np.testing.assert_allclose(y[0, 0], np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5), rtol=1e-9)
    assert not y[0, 1].any()
