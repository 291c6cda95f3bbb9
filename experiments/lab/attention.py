"""What the experiments on attention share: strategies by name, and work charged to the virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import parallel
import ranks
from parallel import costs
from parallel.attention.local import BLOCKWISE, Attention, Kernel

Array = np.ndarray[Any, np.dtype[Any]]
# bfloat16 dense peak of an H100 is about 990 TFLOP/s, of which attention kernels reach some 40 %.
FLOPS_PER_S = 4e14
BYTES = 2  # of an element in the model; the arrays that stand for it are float32


@dataclass(frozen=True)
class Shrunk:
    """A long sequence that ranks play through with a short one: `tokens` stand for one token, one for `head_dim`.

    Messages have as many elements less as the network is slower, so times are those of the long one. What does not
    shrink is latency, and the number of messages.
    """

    tokens: int
    head_dim: int

    def network(self, network: ranks.Network) -> ranks.Network:
        """Return the network on which a small element takes as long as all those that it stands for."""
        factor = self.tokens * self.head_dim * BYTES // 4

        def slow(link: ranks.Link) -> ranks.Link:
            return replace(link, fs_per_byte=link.fs_per_byte * factor)

        return replace(
            network, inter=slow(network.inter), intra=slow(network.intra), itself=slow(network.itself),
            eager_limit=network.eager_limit // factor, reduce_fs_per_byte=network.reduce_fs_per_byte * factor,
        )  # fmt: skip

    def kernel(self, comm: Any) -> Kernel:
        """Return a kernel that takes as long as attention would, and computes nothing."""
        forward_ps = 4 * self.tokens**2 * self.head_dim / FLOPS_PER_S * 1e12

        def spend(q: Array, times: float, keywords: dict[str, Any]) -> None:
            q_positions, k_positions = (
                keywords.get(name, np.arange(q.shape[1])) for name in ("q_positions", "k_positions")
            )
            pairs = q.shape[2] * costs.visible_pairs(q_positions, k_positions)
            ranks.spend(comm, round(times * forward_ps * pairs))

        def forward(q: Array, k: Array, v: Array, into: Any = None, **keywords: Any) -> Any:
            spend(q, 1, keywords)
            return np.zeros(q.shape, q.dtype), np.zeros(q.shape[:3], q.dtype)

        def backward(
            q: Array, k: Array, v: Array, out: Any, lse: Any, d_out: Any, into: Any = None, **keywords: Any
        ) -> Any:
            spend(q, 2.5, keywords)
            return into or (np.zeros(q.shape, q.dtype), np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype))

        return Kernel(forward, backward)


def free_kernel(comm: Any) -> Kernel:
    """Return a kernel that computes nothing and takes no time: what is left is messages."""
    return Shrunk(0, 0).kernel(comm)


def attend(attention: Attention, arrays: list[Array]) -> list[Array]:
    """Return output and gradients."""
    out, saved = attention.forward(*arrays[:3])
    return [out, *attention.backward(saved, arrays[3])]


def by_name(name: str, comm: Any, row: int, lengths: list[int] | None, kernel: Kernel = BLOCKWISE) -> Attention:
    """Return causal attention over `comm`: Ulysses; a ring of balanced work, which moves blocks while it computes; USP.

    row: how many neighbours USP lets do Ulysses; the rows make rings.
    """
    if name == "Ulysses":
        inner = parallel.local_attention(kernel, causal=True)
        forward = partial(parallel.ulysses_attention, comm, lengths=lengths, attention=inner)
        return Attention(forward, partial(parallel.ulysses_attention_backward, comm))
    around: dict[str, Any] = {"causal": True, "layout": "zigzag", "lengths": lengths, "kernel": kernel}
    if name == "ring":
        backward = partial(parallel.ring_attention_backward, comm)
        return Attention(partial(parallel.ring_attention, comm, **around), backward)
    grid = parallel.usp_grid(comm, row)
    return Attention(partial(parallel.usp_attention, grid, **around), partial(parallel.usp_attention_backward, grid))
