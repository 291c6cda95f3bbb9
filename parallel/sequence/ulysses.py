"""DeepSpeed-Ulysses: an all-to-all turns my tokens with all heads into all tokens with my heads.

    my tokens, all heads   --all-to-all-->   all tokens, my heads: each rank attends alone
                           <--all-to-all--

What a rank sends shrinks as p grows: 4/p of its share of one (batch, seq, hidden) array, less what it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import check_like, refuse
from parallel.attention.heads import Heads, from_ranks, of_ranks, on_heads, split_heads
from parallel.attention.local import Attention, local_attention
from parallel.sequence.exchange import heads_to_tokens, tokens_to_heads
from parallel.sequence.shards import agree, alike, check_shards, gather_tokens


@dataclass(frozen=True, slots=True)
class SavedUlysses:
    """What the backward pass needs: how many tokens each rank has, and what this rank's heads attended with."""

    lengths: list[int]
    heads: list[Heads]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    kv_heads: int
    attention: Attention
    inner: Any


def ulysses_attention(
    comm: Any,
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    scale: float | None = None,
    segments: Array | None = None,
    lengths: Sequence[int] | None = None,
    attention: Attention | None = None,
) -> tuple[Array, SavedUlysses]:
    """Return this rank's tokens of the attention over the whole sequence, and what the backward pass needs.

        def program(comm):
            q, k, v = np.random.default_rng(comm.rank).random((3, 1, 4, 6, 8))  # 4 tokens a rank, 6 heads of 8
            return ulysses_attention(comm, q, k, v, causal=True)[0].shape
        ranks.run(program, 3).results  # [(1, 4, 6, 8), (1, 4, 6, 8), (1, 4, 6, 8)]

    segments: (batch, tokens), the document of each of this rank's tokens; they attend inside their document only.
    lengths:  how many tokens each rank holds, if known. attention: what each rank does with its heads, for
              all of these (USP: a ring).

    Shape:   q (batch, tokens, heads, head_dim), k and v with kv_heads that divide heads -> as q. Any number of tokens
             on a rank, of heads, of K/V heads and of ranks: query heads are split as evenly as can be, and a K/V head
             goes to every rank that has a query head for it. Arguments are kept. With
             arguments of 16 bits a rank computes in float32, and rounds its result once.
    Cost:    2(p-1) sends a rank; elements sent: (2 heads + 2 kv_heads) tokens head_dim (p-1)/p * batch if p divides
             heads and kv_heads, tokens being those of one rank. p > kv_heads: K and V count p times instead.
             Without `lengths` p-1 sends more (`agree`), with `segments` p-1 of batch * tokens integers.
    Raises:  TypeError, ValueError if arrays do not fit each other, or those of other ranks (on every rank).
    Source:  Jacobs et al., DeepSpeed Ulysses, arXiv 2309.14509.
    """
    who, rank = "ulysses_attention", comm.rank
    sizes = check_shards(who, q, k, v, segments)
    lengths = agree(comm, who, q.shape[1], lengths, **alike(who, sizes, q.dtype, causal, scale, segments))
    if attention is not None and (causal or scale is not None or segments is not None):
        got = "causal, scale or segments beside an attention that has its own"
        refuse(ValueError, who, got, "one or the other", "give them to what makes the attention")
    heads = split_heads(sizes.heads, sizes.kv_heads, comm.size)
    if attention is None:
        whole = None if segments is None else np.concatenate(gather_tokens(comm, segments, lengths), 1)
        attention = local_attention(causal=causal, scale=scale, q_segments=whole, k_segments=whole)
    mine = tokens_to_heads(comm, of_ranks(heads, q, k, v), lengths)
    attention = on_heads(attention, heads[rank], sizes.group)
    of_query, of_kv = heads[rank].hi - heads[rank].lo, heads[rank].kv_hi - heads[rank].kv_lo
    out, inner = attention.forward(*np.split(mine, [of_query, of_query + of_kv], 2))
    out = np.concatenate(heads_to_tokens(comm, out, lengths, [each.hi - each.lo for each in heads]), 2)
    return out, SavedUlysses(lengths, heads, q.shape, q.dtype, sizes.kv_heads, attention, inner)


def ulysses_attention_backward(comm: Any, saved: SavedUlysses, d_out: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of this rank's q, k and v, given that of what `ulysses_attention` returned.

    Shape:   d_out as q -> as q, k, v. `d_out` is kept.
    Cost:    2(p-1) sends a rank; as many elements as forward, if p divides heads and kv_heads.
    Raises:  ValueError if d_out has not the shape of q.
    """
    check_like("ulysses_attention_backward", "d_out", d_out, saved.shape, saved.dtype, written=False)
    heads, lengths = saved.heads, saved.lengths
    d_mine = tokens_to_heads(comm, [[d_out[:, :, each.query]] for each in heads], lengths)
    d_qkv = np.concatenate(saved.attention.backward(saved.inner, d_mine), 2)
    del d_mine  # while gradients are on their way, memory is short
    came = heads_to_tokens(comm, d_qkv, lengths, [each.width for each in heads])
    return from_ranks(heads, came, saved.shape[2], saved.kv_heads)
