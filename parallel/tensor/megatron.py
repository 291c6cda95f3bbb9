"""Megatron: every rank has some columns of a block's first matrices and the same rows of its second ones.

    x --f--> x @ w_up (columns) -> gelu -> @ w_down (rows) --g--> sum over ranks, + bias

Tensor parallel (Shoeybi et al.): every rank has all tokens; f is nothing forward and an all-reduce backward, g the
reverse. Sequence parallel (Korthikanti et al.): outside of the matrices every rank has some tokens only; f all-gathers
the tokens forward and reduce-scatters backward, g the reverse. The bias of a row-parallel matrix is added after the
sum, or it would count p times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from collectives import pairwise_reduce_scatter, ring_allgather, ring_allreduce
from collectives.arrays import Array
from parallel.arguments import refuse
from parallel.attention.heads import on_heads, split_heads
from parallel.attention.local import Attention
from parallel.parameters import BlockSizes
from parallel.sequence.shards import agree
from parallel.strategies import sum_gradients


class TensorParallel:
    """A block's matrices, and with them its heads, in p parts; all tokens on every rank.

        strategy = TensorParallel(comm, sizes, local_attention(causal=True))
        mine = split_parameters(parameters, sizes, comm.size, comm.rank)
        y, saved = block(strategy, mine, x)

    Cost:    an all-reduce of x after each row, forward, and after each column, backward: 4 a block and step.
    Source:  Shoeybi et al., arXiv 1909.08053.
    """

    # All ranks have these parameters, but each computes their gradients for its own tokens or features only.
    replicated: tuple[str, ...] = ("w_router",)
    keep_gathered = True

    def __init__(self, comm: Any, sizes: BlockSizes, attention: Attention) -> None:
        self.comm, self.sizes = comm, sizes
        every = split_heads(sizes.heads, sizes.kv_heads, comm.size)
        self.heads = every[comm.rank]
        self.shares_kv = sum(each.kv_hi - each.kv_lo for each in every) > sizes.kv_heads
        self.attention = on_heads(attention, self.heads, sizes.group)

    def enter(self, x: Array) -> Array:
        """Return x: every rank has all of it."""
        return x

    def enter_backward(self, d: Array) -> Array:
        """Return the gradient of x, summed over the features of all ranks."""
        return ring_allreduce(self.comm, d)

    def leave(self, y: Array) -> Array:
        """Return y summed over the features of all ranks."""
        return ring_allreduce(self.comm, y)

    def leave_backward(self, d: Array) -> Array:
        """Return the gradient of y on every rank: that of the sum."""
        return d

    def finish(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients, summed where other ranks have the same parameter and only a share of its gradient."""
        partial = {name: each for name, each in gradients.items() if _parameter(name) in self.replicated}
        kv = {
            name: self._all_kv(each)
            for name, each in gradients.items()
            if self.shares_kv and _parameter(name) in ("w_qkv", "b_qkv")
        }
        summed = sum_gradients(self.comm, partial | kv)
        return gradients | summed | {name: self._with_kv(gradients[name], summed[name]) for name in kv}

    def _all_kv(self, of_qkv: Array) -> Array:
        """Return the gradients of this rank's K and V heads in their places among all of them: (..., 2, heads, dim)."""
        d_k, d_v = np.split(self._by_head(of_qkv)[..., self.heads.hi - self.heads.lo :, :], 2, -2)
        every = np.zeros((*of_qkv.shape[:-1], 2, self.sizes.kv_heads, self.sizes.head_dim), of_qkv.dtype)
        every[..., 0, self.heads.kv, :], every[..., 1, self.heads.kv, :] = d_k, d_v
        return every

    def _with_kv(self, of_qkv: Array, every: Array) -> Array:
        """Return the gradient of this rank's w_qkv or b_qkv with those of K and V as in `every`."""
        parts = [self._by_head(of_qkv)[..., : self.heads.hi - self.heads.lo, :]]
        parts += [every[..., 0, self.heads.kv, :], every[..., 1, self.heads.kv, :]]
        return np.concatenate(parts, -2).reshape(of_qkv.shape)

    def _by_head(self, of_qkv: Array) -> Array:
        return of_qkv.reshape(*of_qkv.shape[:-1], self.heads.width, self.sizes.head_dim)


class SequenceParallel(TensorParallel):
    """A block's matrices in p parts; outside of the matrices, every rank has some of the tokens.

    tokens: The number of tokens on this rank. lengths: The numbers on all ranks, if known.
    keep_gathered: Keep the gathered input of the column-parallel matrices for the backward pass, instead of this
        rank's tokens, which are then gathered once more.
    Make it once for all batches of these sizes, because ranks exchange their numbers of tokens.

    Cost:    forward 2 all-gathers and 2 reduce-scatters of x a block; backward 4 and 2, or, if keep_gathered, 2 and
             2. (The paper counts these 4 + 4, and hides the two extra ones behind the products; USP counts all, 6 + 4.)
    Source:  Korthikanti et al., arXiv 2205.05198.
    """

    replicated = ("norm1_gain", "norm1_bias", "b_out", "norm2_gain", "norm2_bias", "b_down", "w_router")

    def __init__(
        self,
        comm: Any,
        sizes: BlockSizes,
        attention: Attention,
        *,
        tokens: int,
        lengths: Sequence[int] | None = None,
        keep_gathered: bool = False,
    ) -> None:
        super().__init__(comm, sizes, attention)
        alike = {"hidden": sizes.hidden, "heads": sizes.heads, "kv_heads": sizes.kv_heads, "ffn": sizes.ffn}
        self.lengths = agree(comm, "SequenceParallel", tokens, lengths, **alike, keep_gathered=int(keep_gathered))
        self.keep_gathered = keep_gathered

    def enter(self, x: Array) -> Array:
        """Return the tokens of all ranks."""
        expected = self.lengths[self.comm.rank]
        if x.shape[1] != expected:
            remedy = "pass as many tokens as this SequenceParallel was made for, or make another"
            refuse(ValueError, "SequenceParallel", f"{x.shape[1]} tokens", f"{expected} on this rank", remedy)
        whole = ring_allgather(self.comm, _tokens_first(x), counts=self._counts(x))
        return whole.reshape(sum(self.lengths), x.shape[0], x.shape[2]).swapaxes(0, 1)

    def leave(self, y: Array) -> Array:
        """Return this rank's tokens of the sum of y over all ranks."""
        mine = pairwise_reduce_scatter(self.comm, _tokens_first(y), counts=self._counts(y))
        return mine.reshape(self.lengths[self.comm.rank], y.shape[0], y.shape[2]).swapaxes(0, 1)

    def enter_backward(self, d: Array) -> Array:
        """Return the gradient of this rank's tokens, summed over the features of all ranks."""
        return self.leave(d)

    def leave_backward(self, d: Array) -> Array:
        """Return the gradient of y for the tokens of all ranks."""
        return self.enter(d)

    def _counts(self, x: Array) -> list[int]:
        """Return how many elements of arrays like x each rank has."""
        return [n * x.shape[0] * x.shape[2] for n in self.lengths]


def _parameter(name: str) -> str:
    """Return the name of a parameter within its block."""
    return name.rpartition(".")[2]


def _tokens_first(x: Array) -> Array:
    """Return the elements of x (batch, tokens, features) in a row, token after token, so that shards are blocks."""
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(-1)
