"""The two all-to-alls of Ulysses: from my tokens with all heads to all tokens with my heads, and back.

Heads for different ranks may overlap and be of several arrays (q, k, v): all that goes to one rank is one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from collectives import alltoallv
from collectives.arrays import Array


def tokens_to_heads(comm: Any, parts: Sequence[Sequence[Array]], lengths: Sequence[int]) -> Array:
    """Return all tokens with the heads that every rank has for this one.

    parts[r]: what goes to rank r, arrays of (batch, my tokens, heads, head_dim), which arrive joined along heads.
    lengths: tokens of each rank. Shape: -> (batch, all tokens, heads, head_dim).
    """
    batch, n, _, head_dim = parts[0][0].shape
    widths = [sum(part.shape[2] for part in each) for each in parts]
    sizes = [batch * n * width * head_dim for width in widths]
    flat = np.empty(sum(sizes), parts[0][0].dtype)
    for (begin, end), each, width in zip(pairwise([0, *accumulate(sizes)]), parts, widths, strict=True):
        np.concatenate(each, 2, out=flat[begin:end].reshape(batch, n, width, head_dim))
    mine = widths[comm.rank]
    counts = [batch * length * mine * head_dim for length in lengths]
    came = alltoallv(comm, flat, sizes, counts)
    if batch == 1:  # tokens of rank after rank: no copy
        return came.reshape(1, sum(lengths), mine, head_dim)
    blocks = np.split(came, [*accumulate(counts)][:-1])
    shaped = [block.reshape(batch, n, mine, head_dim) for block, n in zip(blocks, lengths, strict=True)]
    return np.concatenate(shaped, 1)


def heads_to_tokens(comm: Any, x: Array, lengths: Sequence[int], widths: Sequence[int]) -> list[Array]:
    """Return, for each rank, this rank's tokens with the heads of that one.

    x: (batch, all tokens, my heads, head_dim). widths: heads of each rank. Shape: -> (batch, my tokens, heads,
    head_dim) from each rank.
    """
    batch, _, mine, head_dim = x.shape
    n = lengths[comm.rank]
    ends = [0, *accumulate(lengths)]
    flat = x.reshape(-1)  # tokens of rank after rank, if there is one batch
    if batch > 1:
        flat = np.concatenate([x[:, begin:end].reshape(-1) for begin, end in pairwise(ends)])
    counts = [batch * n * width * head_dim for width in widths]
    came = alltoallv(comm, flat, [batch * length * mine * head_dim for length in lengths], counts)
    blocks = np.split(came, [*accumulate(counts)][:-1])
    return [block.reshape(batch, n, width, head_dim) for block, width in zip(blocks, widths, strict=True)]
