"""The parts of a transformer block that treat every token by itself, each with its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array

_EPSILON = 1e-5
_GELU, _CUBE = np.sqrt(2 / np.pi).item(), 0.044715


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """Return x @ w + b in a new array: (batch, tokens, n) with w (n, m) and b (m,) -> (batch, tokens, m)."""
    y: Array = x @ w
    if b is not None:
        y += b
    return y


def linear_input_backward(w: Array, d_y: Array) -> Array:
    """Return the gradient of x, given that of linear(x, w)."""
    d_x: Array = d_y @ w.T
    return d_x


def linear_weight_backward(x: Array, d_y: Array) -> Array:
    """Return the gradient of w, given that of linear(x, w)."""
    d_w: Array = rows(x).T @ rows(d_y)
    return d_w


def rows(x: Array) -> Array:
    """Return the tokens of x (batch, tokens, n) as the rows of a matrix."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])  # not -1, which does not work if n is 0


def token_sum(d_y: Array) -> Array:
    """Return the sum of d_y (batch, tokens, n) over all tokens: the gradient of a bias that was added to each."""
    return np.asarray(rows(d_y).sum(0))


def layer_norm(x: Array, gain: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return x with mean 0 and variance 1 over its last axis, times gain plus bias, and what the backward needs.

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.
    """
    normal = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt(np.square(normal).mean(-1, keepdims=True) + np.asarray(_EPSILON, x.dtype))
    normal *= inverse
    y = normal * gain
    y += bias
    return y, (normal, inverse)


def layer_norm_backward(saved: tuple[Array, Array], gain: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gain and bias."""
    normal, inverse = saved
    d_x = d_y * gain
    along = (d_x * normal).mean(-1, keepdims=True)
    d_x -= d_x.mean(-1, keepdims=True)
    d_x -= normal * along
    d_x *= inverse
    return d_x, token_sum(d_y * normal), token_sum(d_y)


def gelu(x: Array) -> tuple[Array, Array]:
    """Return x times about the chance that a normal number is below x, and the slope there, for the backward.

    The gradient of x is that of y times the slope: the tanh, which costs most, is taken once.

    Source: Hendrycks & Gimpel, arXiv 1606.08415, the form with tanh.
    """
    square = x * x  # not x**2 or x**3: a power of a float32 array takes 100 times as long
    chance = 0.5 * (1 + np.tanh(x * (_GELU + _GELU * _CUBE * square)))
    y = x * chance
    slope = chance + 2 * y * (1 - chance) * (_GELU + 3 * _GELU * _CUBE * square)
    return y, slope


def saved_bytes(saved: Any) -> int:
    """Return the bytes of memory that hold the arrays in `saved`, each piece of memory counted once.

    saved_bytes((x := np.zeros(4), x[1:], [x.reshape(2, 2)]))  # 32
    """
    memory: dict[int, int] = {}

    def visit(thing: Any) -> None:
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            memory[thing.ctypes.data] = max(thing.nbytes, memory.get(thing.ctypes.data, 0))
        elif isinstance(thing, dict):
            visit(list(thing.values()))
        elif isinstance(thing, (list, tuple)):
            for each in thing:
                visit(each)
        elif hasattr(thing, "__slots__"):
            visit([getattr(thing, name) for name in thing.__slots__])

    visit(saved)
    return sum(memory.values())
