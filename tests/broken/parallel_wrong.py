"""Wrong ways to share out a sequence or a block, most of them seen in hand-written code; none may pass the claims."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import numpy as np

import collectives
import parallel
from parallel.attention.heads import from_ranks
from parallel.attention.local import BLOCKWISE, Attention, Kernel
from parallel.sequence.exchange import heads_to_tokens, tokens_to_heads
from parallel.tensor.megatron import SequenceParallel, TensorParallel
from parallel_claims import WAYS, Case, any_lengths

# -- attention: (comm, case) -> (tokens, segments -> Attention) --------------------------------------------------


def _with_ulysses(forward: Any, backward: Any = parallel.ulysses_attention_backward) -> Any:
    def way(comm: Any, case: Case) -> Any:
        return any_lengths(comm, case), lambda segments: Attention(
            partial(forward, comm, causal=case.causal, scale=case.scale, segments=segments), partial(backward, comm)
        )

    return way


def _equal_heads_only(comm: Any, q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """Each rank takes heads // p heads: those left over come out as zeros, and get no gradient."""
    many = q.shape[2] // comm.size * comm.size
    kept = np.arange(many) * k.shape[2] // q.shape[2]  # a K/V head for each query head: that much is right
    out, saved = parallel.ulysses_attention(comm, q[:, :, :many], k[:, :, kept], v[:, :, kept], **keywords)
    whole = np.zeros_like(q)
    whole[:, :, :many] = out
    return whole, (saved, many, kept, k)


def _equal_heads_only_backward(comm: Any, saved: Any, d_out: Any) -> Any:
    inner, many, kept, k = saved
    d_q, (d_k, d_v) = np.zeros_like(d_out), np.zeros((2, *k.shape), k.dtype)
    d_q[:, :, :many], of_k, of_v = parallel.ulysses_attention_backward(comm, inner, d_out[:, :, :many])
    for head, kv_head in enumerate(kept):
        d_k[:, :, kv_head] += of_k[:, :, head]
        d_v[:, :, kv_head] += of_v[:, :, head]
    return d_q, d_k, d_v


def _equal_shards_only(comm: Any, q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """Takes every shard to be as long as its own."""
    return parallel.ulysses_attention(comm, q, k, v, lengths=[q.shape[1]] * comm.size, **keywords)


def _kv_head_by_rank(comm: Any, q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """K/V heads are dealt out in turn, whoever needs them."""
    turned = np.roll(k, 1, 2), np.roll(v, 1, 2)
    kv = turned if k.shape[2] % comm.size else (k, v)
    return parallel.ulysses_attention(comm, q, *kv, **keywords)


def _sends_to_itself(comm: Any, q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    """Its own block goes by message too, before it is received: fails where nobody buffers it, p = 1 included."""
    comm.Send(np.ascontiguousarray(q), comm.rank)
    comm.Recv(np.empty(q.shape, q.dtype), comm.rank)
    return parallel.ulysses_attention(comm, q, k, v, **keywords)


def _last_kv_share_only(comm: Any, saved: Any, d_out: Any) -> Any:
    """A K/V head's gradient is that of the last rank that had it, not the sum."""
    lengths, heads = saved.lengths, saved.heads
    d_mine = tokens_to_heads(comm, [[d_out[:, :, each.query]] for each in heads], lengths)
    d_qkv = np.concatenate(saved.attention.backward(saved.inner, d_mine), 2)
    came = heads_to_tokens(comm, d_qkv, lengths, [each.width for each in heads])
    d_q, d_k, d_v = from_ranks(heads, came, saved.shape[2], saved.kv_heads)
    for each, part in zip(heads, came, strict=True):
        of_query, of_kv = each.hi - each.lo, each.kv_hi - each.kv_lo
        d_k[:, :, each.kv] = part[:, :, of_query : of_query + of_kv]
        d_v[:, :, each.kv] = part[:, :, of_query + of_kv :]
    return d_q, d_k, d_v


def _ring(kernel_of: Any, layout: str = "plain") -> Any:
    def way(comm: Any, case: Case) -> Any:
        mine, _ = WAYS[f"ring_{layout}"](comm, case)
        return mine, lambda segments: Attention(
            partial(
                parallel.ring_attention,
                comm,
                causal=case.causal,
                scale=case.scale,
                layout=layout,
                segments=segments,
                kernel=kernel_of(),
            ),
            partial(parallel.ring_attention_backward, comm),
        )

    return way


def _first_kv_again() -> Kernel:
    """The backward of every step uses the K and V of the first."""
    first: list[Any] = []

    def backward(q: Any, k: Any, v: Any, *rest: Any, **keywords: Any) -> Any:
        first.extend([k, v] if not first else [])
        if first[0].shape == k.shape:
            k, v = first[0], first[1]
        return BLOCKWISE.backward(q, k, v, *rest, **keywords)

    return Kernel(BLOCKWISE.forward, backward)


def _mean_of_blocks() -> Kernel:
    """Blocks are averaged as if the weights of each added up to the same."""

    def forward(q: Any, k: Any, v: Any, into: Any = None, **keywords: Any) -> Any:
        out, lse = BLOCKWISE.forward(q, k, v, **keywords)
        if into is not None:
            parallel.merge_attention(into[0], np.zeros_like(into[1]), out, np.zeros_like(lse))
            into[1][...] = np.logaddexp(into[1], lse)
            return into
        return out, lse

    return Kernel(forward, BLOCKWISE.backward)


def _local_positions() -> Kernel:
    """The causal mask compares places inside of the shards."""

    def here(keywords: dict[str, Any]) -> dict[str, Any]:
        return keywords | {"q_positions": 0, "k_positions": 0}

    return Kernel(
        lambda *arrays, into=None, **keywords: BLOCKWISE.forward(*arrays, into=into, **here(keywords)),
        lambda *arrays, into=None, **keywords: BLOCKWISE.backward(*arrays, into=into, **here(keywords)),
    )


def _striped_taken_for_plain(comm: Any, case: Case) -> Any:
    mine, _ = WAYS["ring_striped"](comm, case)
    return mine, lambda segments: Attention(
        partial(parallel.ring_attention, comm, causal=case.causal, scale=case.scale, segments=segments),
        partial(parallel.ring_attention_backward, comm),
    )


def _documents_of_this_rank() -> Kernel:
    """Documents of the keys are taken to be those of this rank's tokens, where there are as many."""

    def here(keywords: dict[str, Any]) -> dict[str, Any]:
        mine, other = keywords.get("q_segments"), keywords.get("k_segments")
        return keywords | ({} if mine is None or mine.shape != other.shape else {"k_segments": mine})

    return Kernel(
        lambda *arrays, into=None, **keywords: BLOCKWISE.forward(*arrays, into=into, **here(keywords)),
        lambda *arrays, into=None, **keywords: BLOCKWISE.backward(*arrays, into=into, **here(keywords)),
    )


ATTENTION = {
    "heads that p does not divide": _with_ulysses(_equal_heads_only, _equal_heads_only_backward),
    "shards of equal length only": _with_ulysses(_equal_shards_only),
    "K/V heads dealt out in turn": _with_ulysses(_kv_head_by_rank),
    "sends to itself": _with_ulysses(_sends_to_itself),
    "last K/V share only": _with_ulysses(parallel.ulysses_attention, _last_kv_share_only),
    "first K and V again": _ring(_first_kv_again),
    "mean of blocks": _ring(_mean_of_blocks),
    "local positions": _ring(_local_positions),
    "local positions, zigzag": _ring(_local_positions, "zigzag"),
    "striped taken for plain": _striped_taken_for_plain,
    "documents of this rank only": _ring(_documents_of_this_rank, "striped"),
}

# The same plumbing around what is right: if this is rejected too, the rejections above say nothing.
RIGHT = {
    "Ulysses": _with_ulysses(parallel.ulysses_attention),
    "ring": _ring(lambda: BLOCKWISE),
    "zigzag": _ring(lambda: BLOCKWISE, "zigzag"),
}

# -- blocks: strategies ------------------------------------------------------------------------------------------------


def bias_on_every_rank(strategy: Any, parameters: Any, x: Any) -> Any:
    """The biases of w_out and w_down are added before the sum: p times."""
    p = strategy.comm.size
    return parallel.block(strategy, parameters | {name: p * parameters[name] for name in ("b_out", "b_down")}, x)


class NoAllReduceBackward(TensorParallel):
    """The gradient of x is that of this rank's features."""

    def enter_backward(self, d: Any) -> Any:
        return d


class SharedKvNotSummed(TensorParallel):
    """Each rank keeps its share of the gradient of a K/V head that others have too."""

    def finish(self, gradients: Any) -> Any:
        return gradients


class AllReducedAndScattered(SequenceParallel):
    """The sum over ranks is taken twice: p times too big."""

    def leave(self, y: Any) -> Any:
        return super().leave(collectives.ring_allreduce(self.comm, y))


class MlpWithoutAllGather(SequenceParallel):
    """Each rank applies its columns and rows of the MLP to its own tokens."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.calls = count()

    def _in_mlp(self) -> bool:
        """Return whether this call is one of the MLP: forward after attention, in both halves of the backward first."""
        return next(self.calls) in (2, 3, 4, 5, 8)

    def enter(self, x: Any) -> Any:
        return x if self._in_mlp() else super().enter(x)

    def leave(self, y: Any) -> Any:
        return y if self._in_mlp() else super().leave(y)

    def enter_backward(self, d: Any) -> Any:
        return d if self._in_mlp() else super().leave(d)

    def leave_backward(self, d: Any) -> Any:
        return d if self._in_mlp() else super().enter(d)


class NormsNotSummed(SequenceParallel):
    """Replicated parameters get the gradient of this rank's tokens."""

    replicated = ()


class NormsAveraged(SequenceParallel):
    """Replicated parameters get the mean over ranks of the gradients of their tokens."""

    def finish(self, gradients: Any) -> Any:
        summed = super().finish(gradients)
        return {name: each / self.comm.size if name in self.replicated else each for name, each in summed.items()}


class GradientsNotSummed(parallel.SequenceSharded):
    """Parameters get the gradient of this rank's tokens."""

    def finish(self, gradients: Any) -> Any:
        return gradients


TENSOR = [NoAllReduceBackward, SharedKvNotSummed]
SEQUENCE = [AllReducedAndScattered, MlpWithoutAllGather, NormsNotSummed, NormsAveraged]

# -- halves of the backward --------------------------------------------------------------------------------------------


def middle_reused(strategy: Any, parameters: Any, saved: Any, d_y: Any) -> Any:
    """The gradient of x is made in an array that the weight half still needs."""
    d_x, waiting = parallel.block_input_backward(strategy, parameters, saved, d_y)
    d_middle = waiting.products["w_out"][1]
    d_middle[...] = d_x
    return d_middle, waiting


def last_use_only(so_far: Any, more: Any) -> Any:
    """A parameter that is used twice gets the gradient of one use."""
    return so_far | more


def both_halves_add(so_far: Any, more: Any) -> Any:
    """The input half has added the gradients of matrices too: they count twice."""
    return {name: so_far.get(name, 0) + (1 + (name[:2] == "w_")) * each for name, each in more.items()} | {
        name: each for name, each in so_far.items() if name not in more
    }


# -- vocabularies: loss, embed, embed_backward -------------------------------------------------------------------------


def largest_of_this_rank(comm: Any, logits: Any, lo: int, labels: Any, total: int, **more: Any) -> Any:
    """Subtracts the largest logit of this rank's rows, whatever the others subtract."""
    loss, d_logits = parallel.vocabulary_loss(comm, logits, lo, labels, total, **more)
    if comm is None or comm.size == 1 or more:
        return loss, d_logits
    largest = logits.max(-1, initial=-np.inf)
    sums = collectives.ring_allreduce(comm, np.exp(logits - largest[..., None]).sum(-1))
    here = (labels >= lo) & (labels < lo + logits.shape[2])
    of_label = np.zeros_like(sums)
    of_label[here] = (logits[here, labels[here] - lo]) - largest[here]
    losses = np.log(sums) - collectives.ring_allreduce(comm, of_label)
    return losses[labels >= 0].sum() / total, d_logits


def softmax_of_this_rank(comm: Any, logits: Any, lo: int, labels: Any, total: int, **more: Any) -> Any:
    """The loss is right; its gradient is that of a softmax over this rank's rows."""
    loss, d_logits = parallel.vocabulary_loss(comm, logits, lo, labels, total, **more)
    if logits.shape[2]:
        here = np.where((labels >= lo) & (labels < lo + logits.shape[2]), labels - lo, -1)
        d_logits = parallel.vocabulary_loss(None, logits, 0, here, total, **more)[1]
    return loss, d_logits


def rows_as_if_even(comm: Any, logits: Any, lo: int, labels: Any, total: int, **more: Any) -> Any:
    """Takes every rank to have as many rows as this one."""
    return parallel.vocabulary_loss(comm, logits, comm.rank * logits.shape[2], labels, total, **more)


def mean_of_these_tokens(comm: Any, logits: Any, lo: int, labels: Any, total: int, **more: Any) -> Any:
    """Each microbatch is divided by its own tokens."""
    return parallel.vocabulary_loss(comm, logits, lo, labels, max(1, int((labels >= 0).sum())), **more)


def smoothed_over_this_rank(
    comm: Any, logits: Any, lo: int, labels: Any, total: int, smoothing: float = 0.0
) -> tuple[float, Any]:
    """What smoothing takes from a label goes to the classes of this rank."""
    loss, d_logits = parallel.vocabulary_loss(comm, logits, lo, labels, total)
    here = (labels >= 0)[..., None] * (np.arange(lo, lo + logits.shape[2]) == labels[..., None])
    d_here = (labels >= 0)[..., None] / max(logits.shape[2], 1) - here
    of_label = (here * logits).sum(-1)
    means = logits.sum(-1) / max(logits.shape[2], 1)
    if comm is not None:
        of_label = collectives.ring_allreduce(comm, of_label)
    return loss + smoothing * (of_label - means)[labels >= 0].sum() / total, d_logits - smoothing * d_here / total


def rows_from_the_end(table: Any, lo: int, tokens: Any) -> Any:
    """Tokens of rows before this rank's take some from the end."""
    rows = tokens.astype(int) - lo
    here = (-len(table) <= rows) & (rows < len(table))
    vectors = np.zeros((*tokens.shape, table.shape[1]), table.dtype)
    vectors[here] = table[rows[here]]
    return vectors


def last_token_of_a_row(n_rows: int, lo: int, tokens: Any, d_x: Any) -> Any:
    """A token that comes twice gets the gradient of one place."""
    d_table = np.zeros((n_rows, d_x.shape[2]), d_x.dtype)
    here = (tokens >= lo) & (tokens < lo + n_rows)
    d_table[tokens[here] - lo] += d_x[here]
    return d_table


VOCABULARY: list[dict[str, Any]] = [
    {"loss": largest_of_this_rank},
    {"loss": softmax_of_this_rank},
    {"loss": smoothed_over_this_rank},
    {"loss": rows_as_if_even},
    {"loss": mean_of_these_tokens},
    {"embed": rows_from_the_end},
    {"embed_backward": last_token_of_a_row},
]

# -- losses ------------------------------------------------------------------------------------------------------------


def mean_of_means(comm: Any, logits: Any, labels: Any) -> Any:
    """Ranks with few tokens count as much as those with many."""
    if comm is None:
        return parallel.mean_token_loss(None, logits, labels)
    counted = (labels >= 0).any()
    loss, d_logits = parallel.mean_token_loss(None, logits, labels) if counted else (0.0, np.zeros_like(logits))
    sums = collectives.ring_allreduce(comm, np.array([loss, float(counted)]))
    return sums[0] / sums[1], d_logits / sums[1]


def gradient_of_the_local_mean(comm: Any, logits: Any, labels: Any) -> Any:
    """The loss is right; its gradient is that of the mean over this rank's tokens."""
    loss, d_logits = parallel.mean_token_loss(comm, logits, labels)
    if comm is not None and (labels >= 0).any():
        d_logits = parallel.mean_token_loss(None, logits, labels)[1]
    return loss, d_logits


def largest_of_the_batch(comm: Any, logits: Any, labels: Any) -> Any:
    """Subtracts the largest logit of the whole batch: tokens far below it lose their softmax."""
    exponentials = np.exp(logits - logits.max(initial=-np.inf))
    chances = exponentials / exponentials.sum(-1, keepdims=True)
    loss = -np.log(np.take_along_axis(chances, labels[..., None], -1)).mean()
    return loss, chances - np.eye(logits.shape[2])[labels]


SHARDED_LOSSES = [mean_of_means, gradient_of_the_local_mean]
