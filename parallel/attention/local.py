"""Attention on one rank as the strategies use it: a forward that saves what its backward needs, over some kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from collectives.arrays import Array
from parallel.attention.blockwise import blockwise_attention, blockwise_attention_backward
from parallel.precision import rounded, wide


class Kernel(NamedTuple):
    """What computes attention on one rank: calls like those of `blockwise.py`, with the same keywords.

    forward(q, k, v, into=..., **where) -> (out, lse); backward(q, k, v, out, lse, d_out, into=..., **where) ->
    (d_q, d_k, d_v). An experiment puts one in here that charges the virtual clock.
    """

    forward: Callable[..., tuple[Array, Array]]
    backward: Callable[..., tuple[Array, Array, Array]]


BLOCKWISE = Kernel(blockwise_attention, blockwise_attention_backward)


class Attention(NamedTuple):
    """A way to attend: forward(q, k, v) -> (out, saved), and backward(saved, d_out) -> (d_q, d_k, d_v)."""

    forward: Callable[[Array, Array, Array], tuple[Array, Any]]
    backward: Callable[[Any, Array], tuple[Array, Array, Array]]


def local_attention(kernel: Kernel = BLOCKWISE, **where: Any) -> Attention:
    """Return attention by one rank alone, with these keywords of the kernel: causal, scale, q_segments, ...

    Arguments of 16 bits are passed to the kernel as float32, and its result is rounded once.

    attend = local_attention(causal=True)
    out, saved = attend.forward(q, k, v)
    d_q, d_k, d_v = attend.backward(saved, d_out)
    """

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
        out, lse = kernel.forward(wide(q), wide(k), wide(v), **where)
        out = rounded(out, q.dtype)
        return out, (q, k, v, out, lse)

    def backward(saved: tuple[Array, ...], d_out: Array) -> tuple[Array, Array, Array]:
        d_q, d_k, d_v = kernel.backward(*map(wide, saved), wide(d_out), **where)
        return rounded(d_q, d_out.dtype), rounded(d_k, d_out.dtype), rounded(d_v, d_out.dtype)

    return Attention(forward, backward)
