"""What a transformer block asks of a way to share it out among ranks, and the ways that share out the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from collectives import ring_allreduce
from collectives.arrays import Array
from parallel.attention.heads import Heads
from parallel.attention.local import Attention
from parallel.parameters import BlockSizes


class Strategy(Protocol):
    """What ranks exchange around a pair of matrices, forward and backward, and once a step.

        x --enter--> whole @ w_up -> gelu -> @ w_down --leave--> + bias

    heads: those of this rank, which `attention` takes. keep_gathered: whether a block keeps what `enter` returned for
    its weight gradients, or x, which then enters once more.
    """

    sizes: BlockSizes
    heads: Heads
    attention: Attention
    keep_gathered: bool

    def enter(self, x: Array) -> Array:
        """Return what this rank's columns of a matrix are applied to, from its tokens outside of the matrices."""

    def enter_backward(self, d: Array) -> Array:
        """Return the gradient of x, given this rank's share of that of enter(x)."""

    def leave(self, y: Array) -> Array:
        """Return for this rank's tokens the sum of what the rows of a matrix on all ranks give. It may be y itself."""

    def leave_backward(self, d: Array) -> Array:
        """Return the gradient of y, given that of leave(y). It may be d itself."""

    def finish(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients of this rank's parameters for all tokens, given those that it has computed.

        Call it once a step, with all blocks at once: that is one all-reduce. What stands before a dot in a name, as
        in "block3.w_up", is the caller's.
        """


class SequenceSharded:
    """Every rank of `comm` has some tokens and all parameters; only attention and gradients need other ranks.

    attention: Ulysses, a ring or both; or of one rank, with comm=None, if this rank has all tokens.
    """

    keep_gathered = True

    def __init__(self, comm: Any, sizes: BlockSizes, attention: Attention) -> None:
        self.comm, self.sizes, self.attention = comm, sizes, attention
        self.heads = Heads(0, sizes.heads, 0, sizes.kv_heads)

    def enter(self, x: Array) -> Array:
        """Return x."""
        return x

    enter_backward = leave = leave_backward = enter

    def finish(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients summed over the tokens of all ranks."""
        return gradients if self.comm is None else sum_gradients(self.comm, gradients)


def sum_gradients(comm: Any, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Return the sum over all ranks of every array, by one all-reduce of all arrays joined."""
    if not gradients:
        return {}
    flat = ring_allreduce(comm, np.concatenate([each.reshape(-1) for each in gradients.values()]))
    ends = np.cumsum([each.size for each in gradients.values()])[:-1]
    parts = np.split(flat, ends)
    return {name: part.reshape(gradients[name].shape) for name, part in zip(gradients, parts, strict=True)}
