"""The parameters of a transformer block: their sizes, random ones, and the parts that Megatron's ranks have.

norm1_gain, norm1_bias, w_qkv, b_qkv, w_out, b_out, norm2_gain, norm2_bias, w_up, b_up, w_down, b_down. The columns of
w_qkv are the query heads, then the K heads, then the V heads, head_dim each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from parallel.arguments import refuse
from parallel.attention.heads import Heads, split_heads

Parameters = Mapping[str, Array]

_COLUMNS, _ROWS = ("w_qkv", "b_qkv", "w_up", "b_up"), ("w_out", "w_down")


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """The sizes of a block: features of a token, query heads, K/V heads, features inside the MLP.

    BlockSizes(hidden=64, heads=8, kv_heads=2, ffn=256).head_dim  # 8
    """

    hidden: int
    heads: int
    kv_heads: int
    ffn: int

    def __post_init__(self) -> None:
        if min(self.hidden, self.heads, self.kv_heads, self.ffn) < 1 or self.hidden % self.heads:
            refuse(ValueError, "BlockSizes", str(self), "1 or more of each, heads that divide hidden", "change hidden")
        if self.heads % self.kv_heads:
            refuse(ValueError, "BlockSizes", str(self), "K/V heads that divide the query heads", "change kv_heads")

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.hidden // self.heads

    @property
    def group(self) -> int:
        """Query heads that use one K/V head."""
        return self.heads // self.kv_heads


def random_parameters(rng: np.random.Generator, sizes: BlockSizes, dtype: Any = np.float64) -> dict[str, Array]:
    """Return random parameters of a block: weights of deviation 1/sqrt(inputs), norms that are not the identity."""
    hidden, ffn = sizes.hidden, sizes.ffn
    qkv = sizes.head_dim * (sizes.heads + 2 * sizes.kv_heads)
    shapes = {"w_qkv": (hidden, qkv), "w_out": (hidden, hidden), "w_up": (hidden, ffn), "w_down": (ffn, hidden)}
    made = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    for name, n in {"b_qkv": qkv, "b_out": hidden, "b_up": ffn, "b_down": hidden}.items():
        made[name] = rng.standard_normal(n) / 4
    for norm in ("norm1", "norm2"):
        made[f"{norm}_gain"] = 1 + rng.standard_normal(hidden) / 4
        made[f"{norm}_bias"] = rng.standard_normal(hidden) / 4
    return {name: np.asarray(each, dtype) for name, each in made.items()}


def split_parameters(parameters: Parameters, sizes: BlockSizes, p: int, rank: int) -> dict[str, Array]:
    """Return the parameters that `rank` of p has under Megatron: columns of w_qkv and w_up, rows of w_out and w_down.

    K/V heads that several ranks need are on each of them; norms and the biases of w_out and w_down on all.
    """
    columns = feature_columns(sizes, p, rank)
    split = dict(parameters)
    for name in _COLUMNS:
        split[name] = np.take(parameters[name], columns[name[2:]], -1)
    for name, inputs in zip(_ROWS, ("out", "up"), strict=True):
        split[name] = np.take(parameters[name], columns[inputs], 0)
    return split


def feature_columns(sizes: BlockSizes, p: int, rank: int) -> dict[str, Array]:
    """Return which columns of w_qkv ("qkv") and of w_up ("up"), and which inputs of w_out ("out"), `rank` has."""
    mine = split_heads(sizes.heads, sizes.kv_heads, p)[rank]
    bounds = block_bounds(sizes.ffn, p)
    return {
        "qkv": _features(_of_qkv(mine, sizes), sizes.head_dim),
        "out": _features(np.arange(mine.lo, mine.hi), sizes.head_dim),
        "up": np.arange(bounds[rank], bounds[rank + 1]),
    }


def _of_qkv(mine: Heads, sizes: BlockSizes) -> Array:
    """Return the places of a rank's heads among all heads of q, k and v."""
    k_heads = np.arange(mine.kv_lo, mine.kv_hi) + sizes.heads
    return np.concatenate([np.arange(mine.lo, mine.hi), k_heads, k_heads + sizes.kv_heads])


def _features(heads: Array, head_dim: int) -> Array:
    return (heads[:, None] * head_dim + np.arange(head_dim)).reshape(-1)
