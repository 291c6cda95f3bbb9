"""What a transformer block asks of a way to share it out among ranks, and the ways that share out the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from collectives import ring_allreduce
from collectives.arrays import Array
from parallel.attention.heads import Heads
from parallel.attention.local import Attention
from parallel.layers import linear, linear_backward
from parallel.parameters import BlockSizes


class Strategy(Protocol):
    """A block calls column, then works on features by themselves (heads, GELU), then calls row.

    Both return (y, saved); their backwards take (saved, w, d_y) to (d_x, d_w, d_b). heads: those of this rank, which
    `attention` takes. `finish` makes a rank's gradients those of the whole batch.
    """

    sizes: BlockSizes
    heads: Heads
    attention: Attention

    def column(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Return this rank's features of x @ w + b."""

    def column_backward(self, saved: Array, w: Array, d_y: Array) -> tuple[Array, Array, Array]:
        """Return the gradients of x, w and b."""

    def row(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Return x @ w + b summed over the features of all ranks."""

    def row_backward(self, saved: Array, w: Array, d_y: Array) -> tuple[Array, Array, Array]:
        """Return the gradients of x, w and b."""

    def finish(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients of this rank's parameters, for all tokens."""


class SequenceSharded:
    """Every rank of `comm` has some tokens and all parameters; only attention and gradients need other ranks.

    attention: Ulysses, a ring or both; or of one rank, with comm=None, if this rank has all tokens.
    """

    def __init__(self, comm: Any, sizes: BlockSizes, attention: Attention) -> None:
        self.comm, self.sizes, self.attention = comm, sizes, attention
        self.heads = Heads(0, sizes.heads, 0, sizes.kv_heads)

    def column(self, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Return x @ w + b."""
        return linear(x, w, b), x

    def column_backward(self, saved: Array, w: Array, d_y: Array) -> tuple[Array, Array, Array]:
        """Return the gradients of x, w and b, the last two for this rank's tokens."""
        return linear_backward(saved, w, d_y)

    row, row_backward = column, column_backward

    def finish(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients summed over the tokens of all ranks."""
        return gradients if self.comm is None else sum_gradients(self.comm, gradients)


def sum_gradients(comm: Any, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the sum over all ranks of every array, by one all-reduce of all of them in a row."""
    if not gradients:
        return {}
    flat = ring_allreduce(comm, np.concatenate([each.reshape(-1) for each in gradients.values()]))
    ends = np.cumsum([each.size for each in gradients.values()])[:-1]
    parts = np.split(flat, ends)
    return {name: part.reshape(gradients[name].shape) for name, part in zip(gradients, parts, strict=True)}
