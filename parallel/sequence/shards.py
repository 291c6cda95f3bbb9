"""Which rank holds which tokens, and the check that all ranks mean the same sequence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import index
from typing import Any

import numpy as np

from collectives import ring_allgather
from collectives.arrays import Array, block_bounds
from parallel.arguments import Sizes, check_qkv, check_scale, refuse
from ranks import announce

LAYOUTS = ("plain", "striped", "zigzag")
FLOATS = ("float16", "bfloat16", "float32", "float64")


def token_positions(layout: str, n: int, p: int) -> list[Array]:
    """Return the positions in the sequence of the tokens that each of p ranks holds, n tokens in all.

        token_positions("zigzag", 8, 2)  # [array([0, 1, 6, 7]), array([2, 3, 4, 5])]

    plain: rank r has the r-th of p blocks. striped: r, r+p, r+2p, ... zigzag: of 2p blocks the r-th from the front
    and the r-th from the back. The last two give every rank the same share of a causal mask.

    Source:  striped: Brandon et al., arXiv 2311.09431.
    """
    _check_layout(layout)
    if layout == "striped":
        return [np.arange(rank, n, p) for rank in range(p)]
    if layout == "plain":
        return [np.arange(begin, end) for begin, end in pairwise(block_bounds(n, p))]
    blocks = [np.arange(begin, end) for begin, end in pairwise(block_bounds(n, 2 * p))]
    return [np.concatenate([blocks[rank], blocks[-1 - rank]]) for rank in range(p)]


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        refuse(ValueError, "layout", repr(layout), ", ".join(LAYOUTS), "choose one of these")


def shard(x: Array, p: int, rank: int, layout: str = "plain", axis: int = 1) -> Array:
    """Return the tokens of `x` that belong to `rank` of p, as a copy; tokens lie along `axis`.

    shard(np.arange(8), 2, 0, "striped", axis=0)  # array([0, 2, 4, 6])
    """
    if not 0 <= rank < p:
        refuse(ValueError, "shard", f"p={p}, rank={rank}", "a rank from 0 to p-1", "pass comm.size, then comm.rank")
    return np.take(x, token_positions(layout, x.shape[axis], p)[rank], axis)


def unshard(shards: Sequence[Array], layout: str = "plain", axis: int = 1) -> Array:
    """Return the sequence whose shards, in rank order, are given: the inverse of `shard`.

    unshard([np.array([0, 2, 4]), np.array([1, 3])], "striped", axis=0)  # array([0, 1, 2, 3, 4])
    """
    joined = np.concatenate(shards, axis)
    positions = token_positions(layout, joined.shape[axis], len(shards))
    return np.take(joined, np.argsort(np.concatenate(positions)), axis)


def held_positions(who: str, layout: str, lengths: Sequence[int]) -> list[Array]:
    """Return `token_positions` for ranks that hold `lengths` tokens; the plain layout takes any lengths.

    Raises: ValueError if the layout would give some rank another number of tokens.
    """
    if layout == "plain":
        return [np.arange(begin, end) for begin, end in pairwise([0, *accumulate(lengths)])]
    positions = token_positions(layout, sum(lengths), len(lengths))
    expected = [len(held) for held in positions]
    if expected != list(lengths):
        raise ValueError(
            f"{who}: got shards of {list(lengths)} tokens, expected {expected} in the {layout} layout; remedy: cut "
            "the sequence with parallel.shard, or use the plain layout, which takes any lengths"
        )
    return positions


def agree(comm: Any, who: str, n: int, lengths: Sequence[int] | None, **alike: int) -> list[int]:
    """Return how many tokens each rank of `comm` holds, after checking that the ranks' calls fit together.

        ranks.run(lambda comm: agree(comm, "f", comm.rank, None, heads=8), 3).results[0]  # [0, 1, 2]

    n: tokens of this rank. lengths: those of all ranks, if the caller knows them. alike: what must be the same.

    Cost:    nothing if `lengths` are given; else p-1 sends of 8 bytes for n and each of `alike`.
    Raises:  ValueError on every rank, naming all that differ, if `alike` is not alike; with `lengths`, whose point
             is to send nothing, simulated ranks get a CollectiveMismatchError and real ones are not compared.
    """
    if lengths is not None:
        known = _known_lengths(comm, who, n, lengths)
        announce(comm, who, lengths=tuple(known), **alike)
        return known
    announce(comm, who, lengths=None)
    table = ring_allgather(comm, np.array([n, *alike.values()], np.int64))
    _require_alike(who, [*alike], table[:, 1:])
    return [int(each) for each in table[:, 0]]


def _known_lengths(comm: Any, who: str, n: int, lengths: Sequence[int]) -> list[int]:
    try:
        known = [index(each) for each in lengths]
    except TypeError:
        known = []
    if len(known) != comm.size or min(known) < 0 or known[comm.rank] != n:
        raise ValueError(
            f"{who}: got lengths={lengths} and, on rank {comm.rank}, {n} tokens, expected the number of tokens of each "
            f"of {comm.size} ranks; remedy: pass the same, true lengths on all ranks, or none, and ranks exchange them"
        )
    return known


def _require_alike(who: str, names: list[str], table: Array) -> None:
    rows, counts = np.unique(table, axis=0, return_counts=True)
    if len(rows) <= 1:
        return
    usual = rows[np.argmax(counts)]
    differ = [
        f"rank {rank}: " + ", ".join(_text(names[i], row[i]) for i in np.flatnonzero(row != usual))
        for rank, row in enumerate(table)
        if (row != usual).any()
    ]
    expected = ", ".join(_text(names[i], usual[i]) for i in np.flatnonzero((table != usual).any(0)))
    raise ValueError(
        f"{who}: got {'; '.join(differ)}, expected {expected} as on the other {counts.max()} of {len(table)} ranks; "
        "remedy: pass arrays that differ only in their number of tokens, and the same keywords"
    )


def _text(name: str, value: np.int64) -> str:
    """Return how a number of `alike` was written by the caller."""
    if name == "layout":
        return f"layout={LAYOUTS[value]!r}"
    if name == "dtype":
        return f"dtype={FLOATS[value]}"
    if name == "scale":
        return f"scale={value.view(np.float64):.6g}"
    return f"{name}={bool(value)}" if name in ("causal", "segments", "keep_gathered") else f"{name}={value}"


def check_shards(who: str, q: Any, k: Any, v: Any, segments: Any) -> Sizes:
    """Return the sizes of this rank's q, k and v; raise unless they go together, one token of each per token."""
    sizes = check_qkv(who, q, k, v, sixteen=True)
    got = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if sizes.queries != sizes.keys or sizes.dim != sizes.v_dim:
        refuse(ValueError, who, got, "q, k and v of the same tokens and head_dim", "project all three from one x")
    if segments is not None and (
        not isinstance(segments, np.ndarray) or segments.dtype.kind not in "iu" or segments.shape != q.shape[:2]
    ):
        came = f"{segments.dtype} {segments.shape}" if isinstance(segments, np.ndarray) else type(segments).__name__
        remedy = "pass the number of the document of each of this rank's tokens"
        refuse(ValueError, who, f"segments {came}", f"an array of integers of shape {q.shape[:2]}", remedy)
    return sizes


def alike(
    who: str,
    sizes: Sizes,
    dtype: np.dtype[Any],
    causal: bool,
    scale: float | None,
    segments: Array | None,
    layout: str = "plain",
) -> dict[str, int]:
    """Return, as integers, all that ranks must have alike: the arrays but for their tokens, and the keywords."""
    _check_layout(layout)
    factor = np.float64(check_scale(who, scale, sizes.dim))
    return {
        "batch": sizes.batch, "heads": sizes.heads, "kv_heads": sizes.kv_heads, "head_dim": sizes.dim,
        "dtype": FLOATS.index(dtype.name), "causal": int(bool(causal)), "segments": int(segments is not None),
        "layout": LAYOUTS.index(layout), "scale": int(factor.view(np.int64)),
    }  # fmt: skip


def gather_tokens(comm: Any, x: Array, lengths: Sequence[int]) -> list[Array]:
    """Return the (batch, tokens) arrays of all ranks, by rank."""
    counts = [x.shape[0] * n for n in lengths]
    flat = ring_allgather(comm, x.reshape(-1).astype(np.int64), counts=counts)
    parts = np.split(flat, np.cumsum(counts)[:-1])
    return [part.reshape(x.shape[0], n) for part, n in zip(parts, lengths, strict=True)]
