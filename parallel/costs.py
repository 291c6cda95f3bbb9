"""What each strategy sends, keeps and waits for, as formulas that the tests hold to counted elements and bytes.

Where papers disagree, counting decides. Elements that each of p ranks sends for attention (Megatron: for a block),
forward and backward, over batch * tokens * hidden, with as many K/V heads as query heads:

    Ulysses            8 (p-1)/p^2    USP's table says 8/p; a rank keeps 1/p of it
    ring               6 (p-1)/p      USP says 4. Common code sends the gradients of a block p times: 6 - 4/p. Only who
                                      keeps all K and V of the forward sends 4 (p-1)/p, and has the memory of one rank
    tensor parallel    8 (p-1)/p      as USP says, 8, but for what a rank keeps
    sequence parallel  10 (p-1)/p     6 all-gathers and 4 reduce-scatters. Megatron's paper says 4 + 4, leaving out the
                                      two that gather inputs again, and hides; keep_gathered makes it 8 (p-1)/p, but
                                      then 2 of 16 saved elements a token are kept p times
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from collectives.arrays import block_bounds
from parallel.attention.heads import Heads, split_heads
from parallel.parameters import BlockSizes
from parallel.sequence.shards import token_positions
from ranks import Network


@dataclass(frozen=True, slots=True)
class Traffic:
    """Elements that each rank sends, activations and their gradients only; gradients of parameters are not counted."""

    forward: list[int]
    backward: list[int]

    def times(self, factor: int) -> Traffic:
        """Return the traffic of `factor` times as many elements: of a batch, or of wider heads."""
        return Traffic([factor * n for n in self.forward], [factor * n for n in self.backward])


def ulysses_traffic(lengths: Sequence[int], heads: int, kv_heads: int, head_dim: int) -> Traffic:
    """Return what Ulysses sends for one sequence, whose ranks hold `lengths` tokens.

    ulysses_traffic([4, 4], 2, 2, 8).forward  # [128, 128]: 4 N h (p-1)/p^2, N = 8 tokens, h = 16
    """
    ranks = split_heads(heads, kv_heads, len(lengths))
    widths, queries = [each.width for each in ranks], [each.hi - each.lo for each in ranks]

    def sent(to_heads: list[int], back: list[int]) -> list[int]:
        return [
            (n * (sum(to_heads) - to_heads[r]) + (sum(lengths) - n) * back[r]) * head_dim for r, n in enumerate(lengths)
        ]

    return Traffic(sent(widths, queries), sent(queries, widths))


def ring_traffic(lengths: Sequence[int], kv_heads: int, head_dim: int) -> Traffic:
    """Return what ring attention sends for one sequence: K and V of all blocks but the right neighbour's go on.

    ring_traffic([4, 4], 2, 8).backward  # [256, 256]: K, V and their gradients, 2 N h (p-1)/p each
    """
    p, token = len(lengths), 2 * kv_heads * head_dim
    moved = [(sum(lengths) - lengths[(rank + 1) % p]) * token for rank in range(p)]
    gradients = [(sum(lengths) - n) * token for n in lengths]
    return Traffic(moved, [a + b for a, b in zip(moved, gradients, strict=True)])


def usp_traffic(lengths: Sequence[int], ulysses: int, heads: int, kv_heads: int, head_dim: int) -> Traffic:
    """Return what USP sends for one sequence on a grid with rows of `ulysses` ranks, lengths row after row."""
    rows = [lengths[i : i + ulysses] for i in range(0, len(lengths), ulysses)]
    inside = [ulysses_traffic(row, heads, kv_heads, head_dim) for row in rows]
    kv = [_kv_in_ring(each, heads // kv_heads) for each in split_heads(heads, kv_heads, ulysses)]
    around = [ring_traffic([*map(sum, rows)], kv_heads_here, head_dim) for kv_heads_here in kv]
    places = [(i, j) for i in range(len(rows)) for j in range(ulysses)]
    return Traffic(
        [inside[i].forward[j] + around[j].forward[i] for i, j in places],
        [inside[i].backward[j] + around[j].backward[i] for i, j in places],
    )


def _kv_in_ring(mine: Heads, group: int) -> int:
    """Return how many K/V heads a rank rings with: one for each query head if it has groups of unequal size."""
    counts = np.bincount(np.arange(mine.lo, mine.hi) // group)
    return mine.kv_hi - mine.kv_lo if len(set(counts[counts > 0].tolist())) <= 1 else mine.hi - mine.lo


def tensor_parallel_traffic(tokens: int, hidden: int, p: int) -> Traffic:
    """Return what a block sends for one sequence: two ring all-reduces forward and two backward.

    tensor_parallel_traffic(4, 16, 2).forward  # [128, 128]: 2 * 2 (p-1)/p of 64 elements
    """
    bounds = block_bounds(tokens * hidden, p)
    blocks = [bounds[b + 1] - bounds[b] for b in range(p)]
    each = [2 * sum(blocks) - blocks[rank] - blocks[(rank + 1) % p] for rank in range(p)]
    return Traffic([2 * n for n in each], [2 * n for n in each])


def sequence_parallel_traffic(lengths: Sequence[int], hidden: int, *, keep_gathered: bool = False) -> Traffic:
    """Return what a block sends for one sequence: 2 all-gathers and 2 reduce-scatters, backward 4 or 2 and 2.

    sequence_parallel_traffic([2, 2], 16).backward  # [192, 192]: 4 + 2 times (p-1)/p of 64 elements
    """
    p, total = len(lengths), sum(lengths)
    gathered = [(total - lengths[(rank + 1) % p]) * hidden for rank in range(p)]
    scattered = [(total - n) * hidden for n in lengths]
    again = 2 if keep_gathered else 4
    return Traffic(
        [2 * a + 2 * b for a, b in zip(gathered, scattered, strict=True)],
        [again * a + 2 * b for a, b in zip(gathered, scattered, strict=True)],
    )


# -- memory -----------------------------------------------------------------------------------------------------------


def saved_elements(sizes: BlockSizes, tokens: int, p: int, strategy: str) -> int:
    """Return the elements that a block keeps for its backward on a rank, for one sequence; p divides all sizes.

        saved_elements(BlockSizes(64, 8, 8, 256), 100, 1, "ring") // (100 * 64)  # 16

    Megatron's sbh(34 + 5as/h) bytes are 16 sbh elements of 2 bytes, 2 sbh bytes of dropout masks, and scores. There is
    no dropout here, and no scores are kept: the blockwise backward makes them again from one number a head and token.
    strategy: ulysses, ring, tensor_parallel, sequence_parallel, or keep_gathered.

    Source: Korthikanti et al., arXiv 2205.05198, sections 4.1 to 4.3.
    """
    hidden, heads = sizes.hidden, sizes.heads
    inside = hidden + (heads + 2 * sizes.kv_heads) * sizes.head_dim + 2 * sizes.ffn + heads
    normed, statistics = 2 * hidden, 2 * hidden + 2  # outputs of both norms; their inputs normalised, and 1/deviation
    per_token = {
        "ulysses": (inside + normed + statistics + hidden) / p,  # the attention's output, by heads and by tokens
        "ring": (inside + normed + statistics) / p,
        "tensor_parallel": inside / p + normed + statistics,
        "sequence_parallel": (inside + normed + statistics) / p,
        "keep_gathered": inside / p + normed + statistics / p,
    }
    return round(tokens * per_token[strategy])


def megatron_bytes(sizes: BlockSizes, tokens: int, p: int, strategy: str, *, scores: bool = True) -> float:
    """Return the paper's bytes for a rank and one sequence: 2-byte numbers, 1-byte dropout masks, 4 hidden in the MLP.

        megatron_bytes(BlockSizes(64, 8, 8, 256), 100, 4, "tensor_parallel", scores=False)  # 102400.0: 10 + 24/p

    strategy: alone, tensor_parallel or sequence_parallel. scores: also those of attention, 5as/h.
    """
    kept = {"alone": (34.0, 1), "tensor_parallel": (10 + 24 / p, p), "sequence_parallel": (34 / p, p)}
    per_token, parts = kept[strategy]
    attention = 5 * sizes.heads * tokens / sizes.hidden / parts if scores else 0
    return tokens * sizes.hidden * (per_token + attention)


# -- time ------------------------------------------------------------------------------------------------------------


def visible_pairs(q_positions: ArrayLike, k_positions: ArrayLike) -> int:
    """Return how many pairs of a query and a key, both by ascending position, a causal mask lets through.

    visible_pairs([0, 1, 2], [0, 1, 2])  # 6
    """
    return int(np.searchsorted(k_positions, q_positions, "right").sum())


def causal_critical_path(layout: str, n: int, p: int) -> float:
    """Return how long causal ring attention takes if all wait for the slowest in each step, over perfect balance.

    round(causal_critical_path("plain", 128, 8), 2)  # 1.87
    """
    positions = token_positions(layout, n, p)
    steps = [
        max(visible_pairs(positions[rank], positions[(rank - step) % p]) for rank in range(p)) for step in range(p)
    ]
    return sum(steps) * p / (n * (n + 1) / 2)


def ring_forward_ps(network: Network, p: int, n_bytes: int, compute_ps: int, *, overlap: bool) -> int:
    """Return how long a ring's forward takes on equal links, p > 1: n_bytes a block, compute_ps with each.

    The sum of both in every step, or, overlapped, the longer one: only the CPU's time for messages comes on top.
    """
    link = network.link(0, 1)
    moved_ps = link.latency_ps + link.transfer_ps(n_bytes)
    step_ps = max(compute_ps, moved_ps) if overlap else compute_ps + moved_ps
    return (p - 1) * (step_ps + 2 * network.overhead_ps) + compute_ps


def ring_backward_ps(network: Network, p: int, n_bytes: int, compute_ps: int, *, overlap: bool) -> int:
    """Return the same for the backward pass, where K and V and then their gradients move.

    Overlapped, it holds if computing takes at least L + 2nG: then all is hidden but the last gradients' way home.
    """
    link = network.link(0, 1)
    moved_ps = link.latency_ps + link.transfer_ps(n_bytes)
    seen = 1 if overlap else 2 * (p - 1)
    return p * compute_ps + 4 * (p - 1) * network.overhead_ps + seen * moved_ps
