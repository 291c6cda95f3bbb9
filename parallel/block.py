"""A transformer block, forward and backward, that runs unchanged under every parallel strategy.

    x -> norm -> enter, w_qkv, attention, w_out, leave -> + x -> norm -> enter, w_up, gelu, w_down, leave -> +

Between the second `enter` and `leave`, experts may work beside these matrices or in their place.

`parameters.py` has the names, and `strategies.py` defines a strategy. The backward has two halves. The input half
returns the gradient of x, for which another rank may be waiting. The weight half is the four products with the
gradients of the matrices, and may run at any later time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.experts.layer import Experts
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
# Matrices whose input is what `enter` returns.
_ENTERS = ("w_qkv", "w_up", "w_router")
# drop(0, y) is applied to what attention gives, drop(1, y) to what the MLP does, before it is added to the tokens; in
# the backward, to the gradients. It must be the same each time, and return y or a new array.
Drop = Callable[[int, Array], Array]


def keep_all(place: int, y: Array) -> Array:
    """Return y: no dropout."""
    return y


class Selected(NamedTuple):
    """What a block keeps under selective recomputation: all that needs a matrix product or a message.

    norm1, norm2: Each token with mean 0 and variance 1. attention: What attention needs, and its output. mlp: What goes
    into GELU, of the MLP and of experts.
    """

    norm1: Any
    attention: Any
    norm2: Any
    mlp: Any


class Waiting(NamedTuple):
    """What the weight half of a block's backward needs.

    done: gradients of norms and biases by name. products: for each matrix its input (of w_qkv and w_up, as the block
    kept it) and the gradient of its output.
    """

    done: dict[str, Array]
    products: dict[str, tuple[Array, Array]]


def attention_layer(strategy: Strategy, parameters: Parameters, x: Array) -> Result:
    """Return attention between projections, and what the backward pass needs."""
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


def mlp(
    strategy: Strategy, parameters: Parameters, x: Array, experts: Experts | None, selective: bool = False
) -> Result:
    """Return what the block's MLP and experts make of x, and what the backward pass needs: less if selective."""
    whole, parts = strategy.enter(x), []
    saved: Any = None
    saved_experts: Any = None
    if "w_up" in parameters:
        saved = linear(whole, parameters["w_up"], parameters["b_up"])
        active, slope = gelu(saved)
        parts.append(linear(active, parameters["w_down"]))
        if not selective:
            saved = slope, active
    if experts is not None:
        of_experts, saved_experts = experts.forward(parameters, whole, selective)
        parts.append(of_experts)
    y = strategy.leave(_total(parts))
    if "b_down" in parameters:
        y += parameters["b_down"]
    kept = whole if strategy.keep_gathered else x
    return y, (None if selective else kept, saved, saved_experts)


def mlp_backward(
    strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array, experts: Experts | None, waiting: Waiting
) -> Array:
    """Return the gradient of x; add to `waiting`."""
    kept, saved_mlp, saved_experts = saved
    d_whole = strategy.leave_backward(d_y)
    parts = []
    if saved_mlp is not None:
        slope, active = saved_mlp
        d_up = linear_input_backward(parameters["w_down"], d_whole)
        d_up *= slope
        waiting.done.update(b_down=token_sum(d_y), b_up=token_sum(d_up))
        waiting.products.update(w_down=(active, d_whole), w_up=(kept, d_up))
        parts.append(linear_input_backward(parameters["w_up"], d_up))
    if experts is not None:
        of_experts, products = experts.input_backward(parameters, saved_experts, kept, d_whole)
        waiting.products.update(products)
        parts.append(of_experts)
    return strategy.enter_backward(_total(parts))


def _total(parts: list[Array]) -> Array:
    """Return the sum of the MLP's part and the experts', in the memory of the first."""
    for each in parts[1:]:
        parts[0] += each
    return parts[0]


def block(
    strategy: Strategy, parameters: Parameters, x: Array, *,
    experts: Experts | None = None, selective: bool = False, drop: Drop = keep_all,
) -> Result:  # fmt: skip
    """Return the block's output for this rank's tokens, and what the backward pass needs.

    experts:   those of the block. Parameters without "w_up" have no MLP beside them, which every token goes through.
    selective: keep less, from which `block_again` makes what the backward pass needs. drop: dropout.

    Shape: x (batch, tokens, hidden) -> same.
    Source: Xiong et al., arXiv 2002.04745 (norm first); Korthikanti et al., arXiv 2205.05198 (selective recomputation).
    """
    normal1, saved_norm1 = layer_norm(x, parameters["norm1_gain"], parameters["norm1_bias"])
    y, saved_attention = attention_layer(strategy, parameters, normal1)
    middle = drop(0, y)
    middle += x
    normal2, saved_norm2 = layer_norm(middle, parameters["norm2_gain"], parameters["norm2_bias"])
    y, saved_mlp = mlp(strategy, parameters, normal2, experts, selective)
    y = drop(1, y)
    y += middle
    if selective:
        return y, Selected(saved_norm1, saved_attention[1:], saved_norm2, saved_mlp)
    return y, (saved_norm1, saved_attention, saved_norm2, saved_mlp)


def block_again(strategy: Strategy, parameters: Parameters, saved: Selected) -> Any:
    """Return what `block` keeps, from what it keeps if selective: norms and GELU again, no matrix product."""
    kept = []
    for name, norm in (("norm1", saved.norm1), ("norm2", saved.norm2)):
        normal = layer_norm_again(norm, parameters[f"{name}_gain"], parameters[f"{name}_bias"])
        kept.append(strategy.enter(normal) if strategy.keep_gathered else normal)
    _, up, of_experts = saved.mlp
    if up is not None:
        active, slope = gelu(up)
        up = slope, active
    saved_mlp = kept[1], up, None if of_experts is None else of_experts.again()
    return saved.norm1, (kept[0], *saved.attention), saved.norm2, saved_mlp


def block_input_backward(
    strategy: Strategy,
    parameters: Parameters,
    saved: Any,
    d_y: Array,
    drop: Drop = keep_all,
    experts: Experts | None = None,
) -> tuple[Array, Waiting]:
    """Return the gradient of x for this rank's tokens, and what the weight half needs in place of `saved`.

    Do not change d_y before the weight half has run, because that half may need it. The gradient of x may be changed.
    """
    saved_norm1, saved_attention, saved_norm2, saved_mlp = saved
    waiting = Waiting({}, {})
    d_normal2 = mlp_backward(strategy, parameters, saved_mlp, drop(1, d_y), experts, waiting)
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
    entered = whole = np.empty(0)
    for name, (x, d_y) in waiting.products.items():
        if name not in _ENTERS or strategy.keep_gathered:
            gradients[name] = linear_weight_backward(x, d_y)
            continue
        if x is not entered:  # the same for w_up and w_router
            entered, whole = x, strategy.enter(x)
        gradients[name] = linear_weight_backward(whole, d_y)
    return gradients


def block_backward(
    strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array, experts: Experts | None = None
) -> tuple[Array, dict[str, Array]]:
    """Return the gradients of x and of this rank's parameters, both halves at once; `strategy.finish` comes later."""
    d_x, waiting = block_input_backward(strategy, parameters, saved, d_y, experts=experts)
    return d_x, block_weight_backward(strategy, waiting)
