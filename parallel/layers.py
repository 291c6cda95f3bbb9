"""The parts of a transformer block that treat every token by itself, each with its gradient.

Arrays of 16 bits are computed with as `precision.py` says. Gradients of parameters, and a norm's inverse deviation,
stay in float32 then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.precision import rounded, wide

_EPSILON = 1e-5
_PIECE = 1 << 15  # elements that stay in the cache
_GELU, _CUBE = np.sqrt(2 / np.pi).item(), 0.044715


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """Return x @ w + b in a new array: (batch, tokens, n) with w (n, m) and b (m,) -> (batch, tokens, m)."""
    y: Array = rows(wide(x)) @ wide(w)  # one product: a stack of small ones takes a tenth longer
    if b is not None:
        y += wide(b)
    return rounded(y, x.dtype).reshape(*x.shape[:2], w.shape[1])


def linear_input_backward(w: Array, d_y: Array) -> Array:
    """Return the gradient of x, given that of linear(x, w)."""
    d_x: Array = rows(wide(d_y)) @ wide(w).T
    return rounded(d_x, d_y.dtype).reshape(*d_y.shape[:2], w.shape[0])


def linear_weight_backward(x: Array, d_y: Array) -> Array:
    """Return the gradient of w, given that of linear(x, w)."""
    d_w: Array = rows(wide(x)).T @ rows(wide(d_y))
    return d_w


def rows(x: Array) -> Array:
    """Return the tokens of x (batch, tokens, n) as the rows of a matrix."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])  # not -1, which does not work if n is 0


def token_sum(d_y: Array) -> Array:
    """Return the sum of d_y (batch, tokens, n) over all tokens: the gradient of a bias that was added to each."""
    d_y = wide(d_y)
    return np.asarray(np.ones(d_y.shape[0] * d_y.shape[1], d_y.dtype) @ rows(d_y))  # half the time of a sum


def layer_norm(x: Array, gain: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return x with mean 0 and variance 1 over its last axis, times gain plus bias, and what the backward pass needs.

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.
    """
    dtype, x = x.dtype, wide(x)
    normal = x - _mean(x)
    inverse = 1 / np.sqrt(np.vecdot(normal, normal)[..., None] / x.shape[2] + np.asarray(_EPSILON, x.dtype))
    normal *= inverse
    saved = rounded(normal, dtype), inverse
    return layer_norm_again(saved, gain, bias), saved


def layer_norm_again(saved: tuple[Array, Array], gain: Array, bias: Array) -> Array:
    """Return once more what `layer_norm` returned, from what its backward needs."""
    y: Array = wide(saved[0]) * wide(gain)
    y += wide(bias)
    return rounded(y, saved[0].dtype)


def layer_norm_backward(saved: tuple[Array, Array], gain: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gain and bias."""
    normal, inverse = wide(saved[0]), saved[1]
    dtype, d_y = d_y.dtype, wide(d_y)
    d_x = d_y * wide(gain)
    along = np.vecdot(d_x, normal)[..., None] / d_y.shape[2]
    d_x -= _mean(d_x)
    d_x -= normal * along
    d_x *= inverse
    return rounded(d_x, dtype), np.einsum("btn,btn->n", d_y, normal), token_sum(d_y)


def _mean(x: Array) -> Array:
    """Return the mean of each token, (batch, tokens, 1): a product, in a quarter of the time of x.mean."""
    means: Array = rows(x) @ np.full((x.shape[2], 1), 1 / x.shape[2], x.dtype)
    return means.reshape(*x.shape[:2], 1)


def gelu(x: Array) -> tuple[Array, Array]:
    """Return x times about the chance that a normal number is below x, and the slope there, for the backward pass.

    The gradient of x is that of y times the slope: the function that costs most is taken once.

    Source: Hendrycks & Gimpel, arXiv 1606.08415, the form with tanh.
    """
    y, slope = np.empty(x.size, x.dtype), np.empty(x.size, x.dtype)  # one array would keep both as long as either
    flat = x.reshape(-1)
    for first in range(0, x.size, _PIECE):
        piece = slice(first, first + _PIECE)
        if x.dtype.itemsize > 2:
            _gelu(flat[piece], y[piece], slope[piece])
        else:
            both = np.empty((2, y[piece].size), np.float32)
            _gelu(wide(flat[piece]), *both)
            y[piece], slope[piece] = both  # rounded
    return y.reshape(x.shape), slope.reshape(x.shape)


def _gelu(x: Array, y: Array, slope: Array) -> None:
    """Fill y and the slope."""
    np.multiply(x, x, out=slope)  # not x**2 or x**3: a power of float32 takes 100 times as long
    chance = slope + 1 / _CUBE
    chance *= x
    chance *= -2 * _GELU * _CUBE
    with np.errstate(over="ignore"):  # exp of a large number: a chance of 0
        np.exp(chance, out=chance)  # (1 + tanh(a)) / 2 is 1 / (1 + exp(-2a)), in half the time
    chance += 1
    np.divide(1, chance, out=chance)
    np.multiply(x, chance, out=y)
    slope += 1 / (3 * _CUBE)
    slope *= y
    rest = 1 - chance
    rest *= 6 * _GELU * _CUBE
    slope *= rest
    slope += chance


def pieces(saved: Any) -> list[Array]:
    """Return the arrays that own the memory of all arrays in `saved`, each once.

    pieces((x := np.zeros(4), x[1:], [x.reshape(2, 2)]))  # [array([0., 0., 0., 0.])]
    """
    owners: dict[int, Array] = {}
    things = [saved]
    while things:  # a function that calls itself would be a cycle, and keep the arrays until it is collected
        thing = things.pop()
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            address = thing.ctypes.data
            if address not in owners or thing.nbytes > owners[address].nbytes:
                owners[address] = thing
        elif isinstance(thing, dict):
            things += thing.values()
        elif isinstance(thing, (list, tuple)):
            things += thing
        elif hasattr(thing, "__slots__"):
            things += [getattr(thing, name) for name in thing.__slots__]
    return list(owners.values())


def saved_bytes(saved: Any) -> int:
    """Return the bytes of memory that hold the arrays in `saved`, each piece of memory counted once.

    saved_bytes((x := np.zeros(4), x[1:], [x.reshape(2, 2)]))  # 32
    """
    return sum(each.nbytes for each in pieces(saved))
