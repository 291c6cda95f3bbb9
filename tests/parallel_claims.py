"""What every way to share out a sequence must do, as programs: the same claims on simulated ranks and on real MPI.

A rank makes the arrays of the whole sequence from the case's seed, attends to its tokens, and compares what it gets
with the dense reference on the whole. Its arguments are read-only: writing to one would raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

import parallel
from parallel.attention.local import Attention


@dataclass(frozen=True)
class Case:
    """One attention over a whole sequence of n tokens; `seed` draws values, documents and lengths of shards.

    bad: some tokens hold NaN or infinity.
    """

    n: int
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 3
    batch: int = 1
    causal: bool = False
    scale: float | None = None
    packed: bool = False
    dtype: str = "f8"
    overlap: bool = True
    bad: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Whole:
    """The arrays of the whole sequence, and the dense reference: out, d_q, d_k, d_v."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    d_out: np.ndarray
    segments: np.ndarray | None
    expected: tuple[np.ndarray, ...]


@cache
def whole(case: Case) -> Whole:
    """Return what the case stands for, read-only."""
    rng = np.random.default_rng(case.seed)
    q, d_out = rng.standard_normal((2, case.batch, case.n, case.heads, case.head_dim)).astype(case.dtype)
    k, v = rng.standard_normal((2, case.batch, case.n, case.kv_heads, case.head_dim)).astype(case.dtype)
    if case.bad and case.n:
        for x, value in ((q, np.nan), (k, np.inf), (v, np.nan), (d_out, np.nan)):
            x[:, rng.integers(case.n), rng.integers(x.shape[2]), 0] = value
    segments = np.sort(rng.integers(0, 3, (case.batch, case.n)), 1) if case.packed else None
    mask = None if segments is None else (segments[:, :, None] == segments[:, None, :])[:, None]
    out = parallel.attention(q, k, v, causal=case.causal, scale=case.scale, mask=mask)
    gradients = parallel.attention_backward(q, k, v, d_out, causal=case.causal, scale=case.scale, mask=mask)
    return Whole(q, k, v, d_out, segments, (out, *gradients))


def tolerance(case: Case, expected: np.ndarray) -> float:
    """Return the error that rounding can cause.

    An element is a sum of at most n products with weights that add up to 1, or of n * heads such; the weights come
    from scores of head_dim products. Each of these operations has a relative error of eps/2 at most, and every one is
    done twice: here and in the reference.
    """
    eps = float(np.finfo(case.dtype).eps)
    return 4 * eps * (case.n + case.head_dim + 8) * max(1.0, float(abs(expected).max(initial=0)))


# -- ways to share out a sequence: (comm, case) -> (this rank's tokens, segments -> Attention) ----

Way = Callable[[Any, Case], tuple[np.ndarray, Callable[[Any], Attention]]]


def any_lengths(comm: Any, case: Case) -> np.ndarray:
    """Return the tokens of this rank if every token is given to a rank at random: shards of any lengths, also empty."""
    lengths = np.random.default_rng(case.seed + 1).multinomial(case.n, np.full(comm.size, 1 / comm.size))
    return [np.arange(a, b) for a, b in pairwise([0, *np.cumsum(lengths)])][comm.rank]


def ulysses(comm: Any, case: Case) -> tuple[np.ndarray, Callable[[Any], Attention]]:
    """Ulysses over shards of any lengths."""
    return any_lengths(comm, case), lambda segments: Attention(
        partial(parallel.ulysses_attention, comm, causal=case.causal, scale=case.scale, segments=segments),
        partial(parallel.ulysses_attention_backward, comm),
    )


def ring(layout: str, comm: Any, case: Case) -> tuple[np.ndarray, Callable[[Any], Attention]]:
    """Ring attention; shards of any lengths in the plain layout."""
    positions = parallel.token_positions(layout, case.n, comm.size)[comm.rank]
    mine = any_lengths(comm, case) if layout == "plain" else positions
    keywords = {"causal": case.causal, "scale": case.scale, "layout": layout, "overlap": case.overlap}
    return mine, lambda segments: Attention(
        partial(parallel.ring_attention, comm, segments=segments, **keywords),
        partial(parallel.ring_attention_backward, comm),
    )


def usp(layout: str, comm: Any, case: Case) -> tuple[np.ndarray, Callable[[Any], Attention]]:
    """A grid whose rows are as long as the smallest divisor of p."""
    grid = parallel.usp_grid(comm, next(u for u in (2, 3, comm.size) if comm.size % u == 0))
    keywords = {"causal": case.causal, "scale": case.scale, "layout": layout, "overlap": case.overlap}
    return grid.shard(np.arange(case.n), layout, axis=0), lambda segments: Attention(
        partial(parallel.usp_attention, grid, segments=segments, **keywords),
        partial(parallel.usp_attention_backward, grid),
    )


WAYS: dict[str, Way] = {
    "ulysses": ulysses,
    **{f"ring_{layout}": partial(ring, layout) for layout in ("plain", "striped", "zigzag")},
    **{f"usp_{layout}": partial(usp, layout) for layout in ("plain", "zigzag")},
}


def claim_equals_dense(comm: Any, case: Case, way: Way) -> None:
    """Output and all gradients of this rank's tokens are those of dense attention over the whole sequence."""
    every = whole(case)
    mine, make = way(comm, case)
    parts = [x[:, mine] for x in (every.q, every.k, every.v, every.d_out)]
    for part in parts:
        part.flags.writeable = False
    attention = make(None if every.segments is None else every.segments[:, mine])
    out, saved = attention.forward(*parts[:3])
    got = (out, *attention.backward(saved, parts[3]))
    for name, result, expected in zip(("out", "d_q", "d_k", "d_v"), got, every.expected, strict=True):
        wanted = expected[:, mine]
        assert result.shape == wanted.shape, f"{name}: got shape {result.shape}, expected {wanted.shape}"
        assert result.dtype == wanted.dtype, f"{name}: got {result.dtype}, expected {wanted.dtype}"
        lost = np.isnan(wanted)
        assert (np.isnan(result) == lost).all(), f"{name}: NaN in other places than in dense attention"
        allowed = tolerance(case, expected[~np.isnan(expected)])
        error = float(abs(result - wanted)[~lost].max(initial=0))
        assert error <= allowed, f"{name}: off by {error}, {allowed} allowed"


def fixed_cases() -> Iterator[Case]:
    """Yield the shapes on which hand-written code of this kind fails, each under all masks."""
    shapes = [
        Case(12),  # every p up to 4 divides tokens and heads
        Case(7),  # tokens that p does not divide
        Case(2),  # fewer tokens than ranks
        Case(0),
        Case(9, heads=5, kv_heads=5, scale=0.3),  # heads that p does not divide
        Case(9, heads=6, kv_heads=2),  # K/V heads that straddle ranks
        Case(8, heads=4, kv_heads=1),  # fewer K/V heads than ranks
        Case(8, heads=2, kv_heads=2),  # fewer heads than ranks
        Case(10, batch=2, dtype="f4"),
        Case(9, heads=4, kv_heads=2, bad=True),
        Case(3, batch=0),
    ]
    for seed, shape in enumerate(shapes):
        yield replace(shape, seed=seed, causal=bool(seed % 2), packed=seed % 3 == 0, overlap=bool(seed % 2))
        yield replace(shape, seed=seed, causal=not seed % 2, packed=seed % 3 == 1, overlap=not seed % 2)
