"""How the model is cut for one rank: its tokens, heads and words, and how it works with those that have others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from collectives.arrays import Array, block_bounds
from parallel import (
    Experts,
    SequenceParallel,
    SequenceSharded,
    TensorParallel,
    local_attention,
    token_positions,
    ulysses_attention,
    ulysses_attention_backward,
)
from parallel.attention.local import BLOCKWISE, Attention, Kernel
from parallel.block import Drop, keep_all
from parallel.sequence.ring import ring
from parallel.strategies import Strategy
from parallel.tensor.vocabulary import vocabulary_rows
from training.dropout import Dropout
from training.plan import Plan
from training.sizes import GPTSizes


@dataclass(frozen=True, slots=True)
class Cut:
    """What all layers of a rank share.

    strategy:  how its blocks work with those of other ranks.
    recompute: what its blocks make again in the backward pass, as the plan says.
    comm:      the ranks that share the vocabulary, or None.
    first:     this rank's first row of the table.
    rows:      how many rows it has.
    tokens:    the positions of the tokens that its tensor-parallel ranks have together.
    positions: the positions of those that it has between matrices: fewer under sequence parallelism.
    dropout:   what drops some numbers of these; None if nothing does.
    smoothing: of labels.
    experts:   makes those of a block; None if blocks have none.
    """

    strategy: Strategy
    recompute: str
    comm: Any
    first: int
    rows: int
    tokens: Array
    positions: Array
    dropout: Dropout | None
    smoothing: float
    experts: Callable[[], Experts] | None

    def drop(self, step: int, first: int, place: int) -> Drop:
        """Return dropout at a place of the model, and at those after it, of sequences from `first` on."""
        dropout = self.dropout
        if dropout is None:
            return keep_all
        return lambda after, x: dropout(step, first, place + after, x)


def make_cut(
    plan: Plan, sizes: GPTSizes, context: Any, tensor: Any, *,
    seed: int, dropout: float, smoothing: float, batch: int, expert: Any = None, kernel: Kernel = BLOCKWISE,
) -> Cut:  # fmt: skip
    """Return the cut of this rank, given its communicators along "cp" and "tp", and along "ep", if there is that.

    kernel: computes attention.
    """
    layout = "zigzag" if plan.context == "ring" else "plain"
    every = token_positions(layout, sizes.context, plan.cp)
    tokens = every[context.rank]
    attention = _attention(context, plan.context, layout, [len(each) for each in every], kernel)
    first, end = vocabulary_rows(sizes.vocab, plan.tp, tensor.rank)
    positions = tokens
    strategy: Strategy = SequenceSharded(None, sizes.block, attention)
    if plan.tp > 1 and not plan.sp:
        strategy = TensorParallel(tensor, sizes.block, attention)
    elif plan.tp > 1:
        shards = [tokens[low:high] for low, high in pairwise(block_bounds(len(tokens), plan.tp))]
        positions, lengths = shards[tensor.rank], [len(each) for each in shards]
        strategy = SequenceParallel(tensor, sizes.block, attention, tokens=len(positions), lengths=lengths)
    drop = Dropout(dropout, seed, sizes.context, positions) if dropout else None
    comm = tensor if plan.tp > 1 else None
    experts = None
    if sizes.experts:
        total, leads = batch * sizes.context, tensor.rank == 0
        experts = partial(Experts, sizes.routing, every, total, comm=expert, context=context, leads=leads)
    return Cut(strategy, plan.recompute, comm, first, end - first, tokens, positions, drop, smoothing, experts)


def _attention(comm: Any, context: str, layout: str, lengths: list[int], kernel: Kernel) -> Attention:
    """Return how a rank attends over the tokens of all ranks of `comm`."""
    if comm.size == 1:
        return local_attention(kernel, causal=True)
    if context == "ring":
        return ring(comm, causal=True, layout=layout, lengths=lengths, kernel=kernel)
    alone = local_attention(kernel, causal=True)
    forward = partial(ulysses_attention, comm, attention=alone, lengths=lengths)
    return Attention(forward, partial(ulysses_attention_backward, comm))
