"""Ring attention: queries stay, keys and values go round; each rank attends to one block after the other.

Block b of K and V starts at rank b and travels right, so that in step s rank r attends to block r-s. The partial
results are merged by their log-sum-exp. Going back, K and V travel again, and the gradient of a block follows it: it
starts at the first rank that the block visits, so p-1 moves bring it home (common code starts it at home: p moves).

Of 16 bits K and V travel as they are. Partial results and gradients stay in float32 until they are complete: a sum
that was rounded on every rank would depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import check_like, check_scale, refuse
from parallel.attention.local import BLOCKWISE, Attention, Kernel
from parallel.precision import rounded, wide, wire
from parallel.sequence.shards import agree, alike, check_shards, gather_tokens, held_positions
from ranks import mpi_of

# Tags of this file's messages, out of the way of a program's own.
_KV, _D_KV = 32_701, 32_702


@dataclass(frozen=True, slots=True)
class Shards:
    """Where the tokens of all ranks are, and who sees whom."""

    layout: str
    lengths: list[int]
    segments: list[Array] | None
    causal: bool
    scale: float

    def seen_by(self, rank: int) -> list[dict[str, Any]]:
        """Return the kernel's keywords for the queries of `rank` and the keys of every rank."""
        positions = held_positions("ring_attention", self.layout, self.lengths)
        keywords: list[dict[str, Any]] = [
            {"causal": self.causal, "scale": self.scale, "q_positions": positions[rank], "k_positions": held}
            for held in positions
        ]
        if self.segments is not None:
            for each, segments in zip(keywords, self.segments, strict=True):
                each |= {"q_segments": self.segments[rank], "k_segments": segments}
        return keywords


@dataclass(frozen=True, slots=True)
class SavedRing:
    """What the backward pass needs: this rank's arrays, and where tokens are."""

    q: Array
    k: Array
    v: Array
    out: Array
    lse: Array
    shards: Shards
    kernel: Kernel
    overlap: bool


def ring_attention(
    comm: Any,
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    scale: float | None = None,
    segments: Array | None = None,
    layout: str = "plain",
    overlap: bool = True,
    lengths: Sequence[int] | None = None,
    kernel: Kernel = BLOCKWISE,
) -> tuple[Array, SavedRing]:
    """Return this rank's tokens of the attention over the whole sequence, and what the backward pass needs.

        def program(comm):
            q, k, v = np.random.default_rng(comm.rank).random((3, 1, 4, 2, 8))  # 4 tokens a rank, 2 heads of 8
            return ring_attention(comm, q, k, v, causal=True, layout="zigzag")[0].shape
        ranks.run(program, 3).results  # [(1, 4, 2, 8), (1, 4, 2, 8), (1, 4, 2, 8)]

    layout:   which tokens a rank holds (`token_positions`). Under a causal mask the plain layout leaves early ranks
              idle; striped and zigzag give all ranks the same work. overlap: move the next block while computing.
    segments: (batch, tokens), the document of each of this rank's tokens; they attend inside their document only.
    lengths:  how many tokens each rank holds, if known. kernel: attends to one block.

    Shape:   q (batch, tokens, heads, head_dim), k and v with kv_heads that divide heads -> as q. Any number of tokens
             on a rank in the plain layout. Arguments are kept. With arguments of 16 bits a rank
             computes in float32, and rounds its result once.
    Cost:    p-1 sends a rank, of 2 * batch * tokens * kv_heads * head_dim elements each, tokens being those of one
             rank. Without `lengths` p-1 more (`agree`), with `segments` p-1 of batch * tokens integers.
             With t for a block's message and c for computing with one: p c + (p-1) t, with overlap c + (p-1) max(c, t).
    Raises:  TypeError, ValueError if arrays do not fit each other, or those of other ranks (on every rank).
    Source:  Liu, Zaharia, Abbeel, arXiv 2310.01889; striped: Brandon et al., arXiv 2311.09431.
    """
    who, p, rank = "ring_attention", comm.size, comm.rank
    sizes = check_shards(who, q, k, v, segments)
    lengths = agree(comm, who, q.shape[1], lengths, **alike(who, sizes, q.dtype, causal, scale, segments, layout))
    documents = None if segments is None else gather_tokens(comm, segments, lengths)
    shards = Shards(layout, lengths, documents, causal, check_scale(who, scale, sizes.dim))
    seen = shards.seen_by(rank)
    here = _in_one_piece(k, v)
    so_far: tuple[Array, Array] | None = None
    queries = wide(q)
    for step in range(p):
        block = (rank - step) % p
        moving = _Move(comm, here, lengths[block - 1], _KV, overlap) if step < p - 1 else None
        so_far = kernel.forward(queries, *wide(here), into=so_far, **seen[block])
        here = moving.end() if moving else here
    assert so_far is not None  # p is at least 1
    out, lse = rounded(so_far[0], q.dtype), so_far[1]
    return out, SavedRing(q, k, v, out, lse, shards, kernel, overlap)


def ring_attention_backward(comm: Any, saved: SavedRing, d_out: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of this rank's q, k and v, given that of what `ring_attention` returned.

    Shape:   d_out as q -> as q, k, v. `d_out` is kept.
    Cost:    2(p-1) sends a rank, of 2 * batch * tokens * kv_heads * head_dim elements each.
    Raises:  ValueError if d_out has not the shape and dtype of q.
    """
    check_like("ring_attention_backward", "d_out", d_out, saved.out.shape, saved.out.dtype, written=False)
    p, rank, overlap = comm.size, comm.rank, saved.overlap
    lengths, seen = saved.shards.lengths, saved.shards.seen_by(rank)
    here, dtype = _in_one_piece(saved.k, saved.v), saved.q.dtype
    q, out, d_out = wide(saved.q), wide(saved.out), wide(d_out)
    d_q = np.zeros(q.shape, q.dtype)
    moving_d: _Move | None = None
    for step in range(p):
        block = (rank - step) % p
        moving = _Move(comm, here, lengths[block - 1], _KV, overlap) if step < p - 1 else None
        k_v = wide(here)
        d_here = np.zeros_like(k_v)
        saved.kernel.backward(q, *k_v, out, saved.lse, d_out, into=(d_q, *d_here), **seen[block])
        if step == 0:
            d_own = d_here
        else:
            # With what comes, this holds the shares of ranks block+1 ... rank; it leaves for the next one.
            d_here += moving_d.end() if moving_d else 0
            moving_d = _Move(comm, d_here, lengths[block - 1], _D_KV, overlap)
        here = moving.end() if moving else here
    d_own += moving_d.end() if moving_d else 0
    return rounded(d_q, dtype), rounded(d_own[0], dtype), rounded(d_own[1], dtype)


def _in_one_piece(k: Array, v: Array) -> Array:
    """Return both as one array that can be sent; np.stack may keep the order of axes in memory."""
    both = np.empty((2, *k.shape), k.dtype)
    both[0], both[1] = k, v
    return both


class _Move:
    """A block on its way to the right neighbour, while another comes from the left: at once, or only at the end."""

    def __init__(self, comm: Any, sent: Array, n_came: int, tag: int, overlap: bool) -> None:
        left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
        self.came = np.empty((*sent.shape[:2], n_came, *sent.shape[3:]), sent.dtype)
        self.source, self.status = left, mpi_of(comm).Status()
        coming, going = wire(self.came), wire(sent)
        self.receiving = comm.Irecv(coming, left, tag) if overlap else None
        self.sending = comm.Isend(going, right, tag) if overlap else None
        self.exchange = partial(comm.Sendrecv, going, right, tag, coming, left, tag, self.status)

    def end(self) -> Array:
        """Return the block that came, when both are through."""
        if self.receiving and self.sending:
            self.receiving.Wait(self.status)
            self.sending.Wait()
        else:
            self.exchange()
        if self.status.Get_count() != self.came.nbytes:  # MPI itself refuses only what is too long
            got = f"{self.status.Get_count()} bytes from rank {self.source}"
            refuse(ValueError, "ring_attention", got, f"{self.came.nbytes}", "pass the true lengths on all ranks")
        return self.came


def ring(comm: Any, **keywords: Any) -> Attention:
    """Return ring attention over `comm` with these keywords as an Attention."""
    return Attention(partial(ring_attention, comm, **keywords), partial(ring_attention_backward, comm))
