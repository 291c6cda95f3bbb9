"""A transformer block, forward and backward, that runs unchanged under every strategy of sharing it out.

    x -> norm -> column(w_qkv) -> attention -> row(w_out) -> + x -> norm -> column(w_up) -> gelu -> row(w_down) -> +

`parameters.py` has the names, `strategies.py` what a strategy is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.layers import gelu, gelu_backward, layer_norm, layer_norm_backward
from parallel.parameters import Parameters
from parallel.strategies import Strategy

Result = tuple[Array, Any]
Gradients = tuple[Array, dict[str, Array]]


def attention_layer(strategy: Strategy, parameters: Parameters, x: Array) -> Result:
    """Return attention between projections, and what the backward needs."""
    qkv, saved_qkv = strategy.column(x, parameters["w_qkv"], parameters["b_qkv"])
    heads, head_dim = strategy.heads, strategy.sizes.head_dim
    by_head = qkv.reshape(*qkv.shape[:2], heads.width, head_dim)
    of_query, of_kv = heads.hi - heads.lo, heads.kv_hi - heads.kv_lo
    q, k, v = np.split(by_head, [of_query, of_query + of_kv], 2)
    out, saved_attention = strategy.attention.forward(q, k, v)
    y, saved_out = strategy.row(
        out.reshape(*out.shape[:2], of_query * head_dim), parameters["w_out"], parameters["b_out"]
    )
    return y, (saved_qkv, saved_attention, saved_out)


def attention_layer_backward(strategy: Strategy, parameters: Parameters, saved: Any, d_y: Array) -> Gradients:
    """Return the gradients of x and of the parameters."""
    saved_qkv, saved_attention, saved_out = saved
    heads, head_dim = strategy.heads, strategy.sizes.head_dim
    d_out, d_w_out, d_b_out = strategy.row_backward(saved_out, parameters["w_out"], d_y)
    d_heads = d_out.reshape(*d_out.shape[:2], heads.hi - heads.lo, head_dim)
    d_qkv = np.concatenate(strategy.attention.backward(saved_attention, d_heads), 2)
    d_qkv = d_qkv.reshape(*d_qkv.shape[:2], heads.width * head_dim)
    d_x, d_w_qkv, d_b_qkv = strategy.column_backward(saved_qkv, parameters["w_qkv"], d_qkv)
    return d_x, {"w_qkv": d_w_qkv, "b_qkv": d_b_qkv, "w_out": d_w_out, "b_out": d_b_out}


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


def block(strategy: Strategy, parameters: Parameters, x: Array) -> Result:
    """Return the block's output for this rank's tokens, and what the backward needs.

    Shape: x (batch, tokens, hidden) -> same.
    Source: Xiong et al., arXiv 2002.04745 (norm first).
    """
    normal1, saved_norm1 = layer_norm(x, parameters["norm1_gain"], parameters["norm1_bias"])
    attended, saved_attention = attention_layer(strategy, parameters, normal1)
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
