"""A transformer block, forward and backward, that runs unchanged under every strategy of sharing it out.

    x -> norm -> column(w_qkv) -> attention -> row(w_out) -> + x -> norm -> column(w_up) -> gelu -> row(w_down) -> +

Parameters: norm1_gain, norm1_bias, w_qkv, b_qkv, w_out, b_out, norm2_gain, norm2_bias, w_up, b_up, w_down, b_down. The
columns of w_qkv are the query heads, then the K heads, then the V heads, head_dim each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.heads import Heads
from parallel.layers import gelu, gelu_backward, layer_norm, layer_norm_backward
from parallel.strategies import Parameters, Strategy

Result = tuple[Array, Any]
Gradients = tuple[Array, dict[str, Array]]


def random_parameters(
    rng: np.random.Generator, hidden: int, heads: int, kv_heads: int, ffn: int, dtype: Any = np.float64
) -> dict[str, Array]:
    """Return the parameters of a block, at random: hidden // heads is head_dim, ffn the width of the MLP."""
    qkv = hidden // heads * (heads + 2 * kv_heads)
    shapes = {
        "w_qkv": (hidden, qkv),
        "w_out": (hidden // heads * heads, hidden),
        "w_up": (hidden, ffn),
        "w_down": (ffn, hidden),
    }
    made = {name: rng.standard_normal(shape) / np.sqrt(max(shape[0], 1)) for name, shape in shapes.items()}
    for name, n in {"b_qkv": qkv, "b_out": hidden, "b_up": ffn, "b_down": hidden}.items():
        made[name] = rng.standard_normal(n) / 4
    for norm in ("norm1", "norm2"):
        made[f"{norm}_gain"] = 1 + rng.standard_normal(hidden) / 4
        made[f"{norm}_bias"] = rng.standard_normal(hidden) / 4
    return {name: np.asarray(each, dtype) for name, each in made.items()}


def attention_layer(strategy: Strategy, parameters: Parameters, x: Array, heads: Heads) -> Result:
    """Return attention between projections, and what the backward needs; `heads` are those of this rank."""
    qkv, saved_qkv = strategy.column(x, parameters["w_qkv"], parameters["b_qkv"])
    q, k, v = _split(qkv, heads)
    out, saved_attention = strategy.attention.forward(q, k, v)
    y, saved_out = strategy.row(out.reshape(*out.shape[:2], -1), parameters["w_out"], parameters["b_out"])
    return y, (saved_qkv, saved_attention, saved_out, heads)


def attention_layer_backward(strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array) -> Gradients:
    """Return the gradients of x and of the parameters."""
    saved_qkv, saved_attention, saved_out, heads = saved
    d_out, d_w_out, d_b_out = strategy.row_backward(saved_out, parameters["w_out"], d_y)
    d_heads = d_out.reshape(*d_out.shape[:2], heads.hi - heads.lo, _head_dim(parameters["w_qkv"].shape[1], heads))
    d_qkv = np.concatenate(strategy.attention.backward(saved_attention, d_heads), 2)
    d_x, d_w_qkv, d_b_qkv = strategy.column_backward(
        saved_qkv, parameters["w_qkv"], d_qkv.reshape(*d_qkv.shape[:2], -1)
    )
    return d_x, {"w_qkv": d_w_qkv, "b_qkv": d_b_qkv, "w_out": d_w_out, "b_out": d_b_out}


def _head_dim(width: int, heads: Heads) -> int:
    return width // max(heads.width, 1)


def _split(qkv: Array, heads: Heads) -> list[Array]:
    by_head = qkv.reshape(*qkv.shape[:2], heads.width, _head_dim(qkv.shape[2], heads))
    of_query, of_kv = heads.hi - heads.lo, heads.kv_hi - heads.kv_lo
    return np.split(by_head, [of_query, of_query + of_kv], 2)


def mlp(strategy: Strategy, parameters: Parameters, x: Array) -> Result:
    """Return the block's MLP, and what the backward needs."""
    up, saved_up = strategy.column(x, parameters["w_up"], parameters["b_up"])
    y, saved_down = strategy.row(gelu(up), parameters["w_down"], parameters["b_down"])
    return y, (saved_up, up, saved_down)


def mlp_backward(strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array) -> Gradients:
    """Return the gradients of x and of the parameters."""
    saved_up, up, saved_down = saved
    d_active, d_w_down, d_b_down = strategy.row_backward(saved_down, parameters["w_down"], d_y)
    d_x, d_w_up, d_b_up = strategy.column_backward(saved_up, parameters["w_up"], gelu_backward(up, d_active))
    return d_x, {"w_up": d_w_up, "b_up": d_b_up, "w_down": d_w_down, "b_down": d_b_down}


def block(strategy: Strategy, parameters: Parameters, x: Array, heads: Heads) -> Result:
    """Return the block's output for this rank's tokens, and what the backward needs.

    Shape: x (batch, tokens, hidden) -> same.
    Source: Xiong et al., arXiv 2002.04745 (norm first).
    """
    normal1, saved_norm1 = layer_norm(x, parameters["norm1_gain"], parameters["norm1_bias"])
    attended, saved_attention = attention_layer(strategy, parameters, normal1, heads)
    middle = x + attended
    normal2, saved_norm2 = layer_norm(middle, parameters["norm2_gain"], parameters["norm2_bias"])
    mixed, saved_mlp = mlp(strategy, parameters, normal2)
    return middle + mixed, (saved_norm1, saved_attention, saved_norm2, saved_mlp)


def block_backward(strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array) -> Gradients:
    """Return the gradients of this rank's tokens of x, and of its parameters for the tokens of all ranks."""
    saved_norm1, saved_attention, saved_norm2, saved_mlp = saved
    d_normal2, of_mlp = mlp_backward(strategy, parameters, saved_mlp, d_y)
    d_middle, of_mlp["norm2_gain"], of_mlp["norm2_bias"] = layer_norm_backward(
        saved_norm2, parameters["norm2_gain"], d_normal2
    )
    d_middle += d_y
    d_normal1, of_attention = attention_layer_backward(strategy, parameters, saved_attention, d_middle)
    d_x, of_attention["norm1_gain"], of_attention["norm1_bias"] = layer_norm_backward(
        saved_norm1, parameters["norm1_gain"], d_normal1
    )
    return d_x + d_middle, strategy.finish(of_mlp | of_attention)
