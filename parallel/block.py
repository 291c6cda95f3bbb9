"""A transformer block, forward and backward, that runs unchanged under every strategy of sharing it out.

    x -> norm -> enter, w_qkv, attention, w_out, leave -> + x -> norm -> enter, w_up, gelu, w_down, leave -> +

`parameters.py` has the names, `strategies.py` what a strategy is. The backward has two halves. The input half returns
the gradient of x, for which another rank may be waiting. The weight half, the four products with the gradients of the
matrices, may run at any time later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.layers import (
    gelu,
    layer_norm,
    layer_norm_again,
    layer_norm_backward,
    linear,
    linear_input_backward,
    linear_weight_backward,
    token_sum,
)
from parallel.parameters import Parameters
from parallel.strategies import Strategy

Result = tuple[Array, Any]
# drop(0, y) is applied to what attention gives, drop(1, y) to what the MLP does, before it is added to the tokens; in
# the backward, to the gradients. It must be the same each time, and return y or a new array.
Drop = Callable[[int, Array], Array]


def keep_all(place: int, y: Array) -> Array:
    """Return y: no dropout."""
    return y


class Selected(NamedTuple):
    """What a block keeps under selective recomputation: all that takes a matrix product or a message to make again.

    norm1, norm2: Each token with mean 0 and variance 1. attention: What attention needs, and its output. up: What goes
    into GELU.
    """

    norm1: Any
    attention: Any
    norm2: Any
    up: Array


class Waiting(NamedTuple):
    """What the weight half of a block's backward needs.

    done: gradients of norms and biases by name. products: for each matrix its input (of w_qkv and w_up, as the block
    kept it) and the gradient of its output.
    """

    done: dict[str, Array]
    products: dict[str, tuple[Array, Array]]


def attention_layer(strategy: Strategy, parameters: Parameters, x: Array) -> Result:
    """Return attention between projections, and what the backward needs."""
    whole = strategy.enter(x)
    qkv = linear(whole, parameters["w_qkv"], parameters["b_qkv"])
    heads, head_dim = strategy.heads, strategy.sizes.head_dim
    by_head = qkv.reshape(*qkv.shape[:2], heads.width, head_dim)
    of_query, of_kv = heads.hi - heads.lo, heads.kv_hi - heads.kv_lo
    q, k, v = np.split(by_head, [of_query, of_query + of_kv], 2)
    out, saved_attention = strategy.attention.forward(q, k, v)
    out = out.reshape(*out.shape[:2], of_query * head_dim)
    y = strategy.leave(linear(out, parameters["w_out"]))
    y += parameters["b_out"]  # after the sum over ranks, or it would count p times
    return y, (whole if strategy.keep_gathered else x, saved_attention, out)


def attention_layer_backward(
    strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array, waiting: Waiting
) -> Array:
    """Return the gradient of x; add to `waiting`."""
    kept, saved_attention, out = saved
    heads, head_dim = strategy.heads, strategy.sizes.head_dim
    d_whole = strategy.leave_backward(d_y)
    d_out = linear_input_backward(parameters["w_out"], d_whole)
    d_heads = d_out.reshape(*d_out.shape[:2], heads.hi - heads.lo, head_dim)
    d_qkv = np.concatenate(strategy.attention.backward(saved_attention, d_heads), 2)
    d_qkv = d_qkv.reshape(*d_qkv.shape[:2], heads.width * head_dim)
    waiting.done.update(b_out=token_sum(d_y), b_qkv=token_sum(d_qkv))
    waiting.products.update(w_out=(out, d_whole), w_qkv=(kept, d_qkv))
    return strategy.enter_backward(linear_input_backward(parameters["w_qkv"], d_qkv))


def mlp(strategy: Strategy, parameters: Parameters, x: Array, selective: bool = False) -> Result:
    """Return the block's MLP, and what the backward needs; if selective, only what goes into GELU."""
    whole = strategy.enter(x)
    up = linear(whole, parameters["w_up"], parameters["b_up"])
    active, slope = gelu(up)
    y = strategy.leave(linear(active, parameters["w_down"]))
    y += parameters["b_down"]
    return y, up if selective else (whole if strategy.keep_gathered else x, slope, active)


def mlp_backward(strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array, waiting: Waiting) -> Array:
    """Return the gradient of x; add to `waiting`."""
    kept, slope, active = saved
    d_whole = strategy.leave_backward(d_y)
    d_up = linear_input_backward(parameters["w_down"], d_whole)
    d_up *= slope
    waiting.done.update(b_down=token_sum(d_y), b_up=token_sum(d_up))
    waiting.products.update(w_down=(active, d_whole), w_up=(kept, d_up))
    return strategy.enter_backward(linear_input_backward(parameters["w_up"], d_up))


def block(
    strategy: Strategy, parameters: Parameters, x: Array, *, selective: bool = False, drop: Drop = keep_all
) -> Result:
    """Return the block's output for this rank's tokens, and what the backward needs.

    selective: keep less, from which `block_again` makes what the backward needs. drop: dropout.

    Shape: x (batch, tokens, hidden) -> same.
    Source: Xiong et al., arXiv 2002.04745 (norm first); Korthikanti et al., arXiv 2205.05198 (selective recomputation).
    """
    normal1, saved_norm1 = layer_norm(x, parameters["norm1_gain"], parameters["norm1_bias"])
    y, saved_attention = attention_layer(strategy, parameters, normal1)
    middle = drop(0, y)
    middle += x
    normal2, saved_norm2 = layer_norm(middle, parameters["norm2_gain"], parameters["norm2_bias"])
    y, saved_mlp = mlp(strategy, parameters, normal2, selective)
    y = drop(1, y)
    y += middle
    if selective:
        return y, Selected(saved_norm1, saved_attention[1:], saved_norm2, saved_mlp)
    return y, (saved_norm1, saved_attention, saved_norm2, saved_mlp)


def block_again(strategy: Strategy, parameters: Parameters, saved: Selected) -> Any:
    """Return what `block` keeps, from what it keeps if selective: both norms and GELU once more, no matrix product."""
    kept = []
    for name, norm in (("norm1", saved.norm1), ("norm2", saved.norm2)):
        normal = layer_norm_again(norm, parameters[f"{name}_gain"], parameters[f"{name}_bias"])
        kept.append(strategy.enter(normal) if strategy.keep_gathered else normal)
    active, slope = gelu(saved.up)
    return saved.norm1, (kept[0], *saved.attention), saved.norm2, (kept[1], slope, active)


def block_input_backward(
    strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array, drop: Drop = keep_all
) -> tuple[Array, Waiting]:
    """Return the gradient of x for this rank's tokens, and what the weight half needs; `saved` may go then.

    Leave d_y as it is until the weight half has run: it may be part of what waits. The gradient of x is not.
    """
    saved_norm1, saved_attention, saved_norm2, saved_mlp = saved
    waiting = Waiting({}, {})
    d_normal2 = mlp_backward(strategy, parameters, saved_mlp, drop(1, d_y), waiting)
    d_middle, *of_norm2 = layer_norm_backward(saved_norm2, parameters["norm2_gain"], d_normal2)
    d_middle += d_y
    d_normal1 = attention_layer_backward(strategy, parameters, saved_attention, drop(0, d_middle), waiting)
    d_x, *of_norm1 = layer_norm_backward(saved_norm1, parameters["norm1_gain"], d_normal1)
    d_x += d_middle
    names = ("norm2_gain", "norm2_bias", "norm1_gain", "norm1_bias")
    waiting.done.update(zip(names, (*of_norm2, *of_norm1), strict=True))
    return d_x, waiting


def block_weight_backward(strategy: Strategy, waiting: Waiting) -> dict[str, Array]:
    """Return the gradients of this rank's parameters for what it has computed; `strategy.finish` sums over ranks."""
    gradients = dict(waiting.done)
    for name, (x, d_y) in waiting.products.items():
        enters = name in ("w_qkv", "w_up") and not strategy.keep_gathered
        gradients[name] = linear_weight_backward(strategy.enter(x) if enters else x, d_y)
    return gradients


def block_backward(
    strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array
) -> tuple[Array, dict[str, Array]]:
    """Return the gradients of x and of this rank's parameters, both halves at once; `strategy.finish` comes later."""
    d_x, waiting = block_input_backward(strategy, parameters, saved, d_y)
    return d_x, block_weight_backward(strategy, waiting)
