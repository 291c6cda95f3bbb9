"""The parts of a transformer block that treat every token by itself, each with its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array

_EPSILON = 1e-5
_GELU, _CUBE = np.sqrt(2 / np.pi).item(), 0.044715


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """Return x @ w + b: (batch, tokens, n) with w (n, m) and b (m,) -> (batch, tokens, m)."""
    y: Array = x @ w
    if b is not None:
        y += b
    return y


def linear_backward(x: Array, w: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, w and b, given that of linear(x, w, b)."""
    n = x.shape[0] * x.shape[1]
    rows, d_rows = x.reshape(n, x.shape[2]), d_y.reshape(n, d_y.shape[2])
    return d_y @ w.T, rows.T @ d_rows, d_rows.sum(0)


def layer_norm(x: Array, gain: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    """Return x with mean 0 and variance 1 over its last axis, times gain plus bias, and what the backward needs.

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.
    """
    mean = x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + np.asarray(_EPSILON, x.dtype))
    return (x - mean) * inverse * gain + bias, (x, mean, inverse)


def layer_norm_backward(saved: tuple[Array, ...], gain: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gain and bias."""
    x, mean, inverse = saved
    normal = (x - mean) * inverse
    d_normal = d_y * gain
    d_x = d_normal - d_normal.mean(-1, keepdims=True) - normal * (d_normal * normal).mean(-1, keepdims=True)
    return d_x * inverse, (d_y * normal).sum((0, 1)), d_y.sum((0, 1))


def gelu(x: Array) -> Array:
    """Return x times about the chance that a normal number is below x.

    Source: Hendrycks & Gimpel, arXiv 1606.08415, the form with tanh.
    """
    return np.asarray(0.5 * x * (1 + np.tanh(_GELU * (x + _CUBE * x**3))))


def gelu_backward(x: Array, d_y: Array) -> Array:
    """Return the gradient of x."""
    tanh = np.tanh(_GELU * (x + _CUBE * x**3))
    slope = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * _GELU * (1 + 3 * _CUBE * x**2)
    return np.asarray(d_y * slope)


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
