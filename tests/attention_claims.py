"""What attention must be: cases, a reference that goes row by row, tolerances derived, and claims on any variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from covering import covering

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """Sizes, keywords and a seed, from which everything else is drawn."""

    batch: int = 1
    queries: int = 5
    keys: int = 7
    kv_heads: int = 1
    group: int = 2
    dim: int = 4
    v_dim: int = 3
    causal: bool = False
    masked: str = "no"
    segments: int = 0
    positions: str = "natural"
    scale: float | None = None
    dtype: str = "f8"
    spread: float = 1.0
    seed: int = 0

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Return q, k, v, d_out: read-only views of arrays laid out (batch, heads, seq, 2 dim)."""
        rng = np.random.default_rng(self.seed)
        heads = self.kv_heads * self.group

        def draw(seq: int, heads: int, dim: int, factor: float = 1.0) -> Array:
            x = factor * rng.standard_normal((self.batch, heads, seq, 2 * dim))
            x = x.astype(self.dtype)[..., ::2].transpose(0, 2, 1, 3)
            x.flags.writeable = False
            return x

        return (
            draw(self.queries, heads, self.dim, self.spread),
            draw(self.keys, self.kv_heads, self.dim),
            draw(self.keys, self.kv_heads, self.v_dim),
            draw(self.queries, heads, self.v_dim),
        )

    def keywords(self) -> dict[str, Any]:
        """Return the keywords for the blockwise form."""
        rng = np.random.default_rng(self.seed + 1)
        given: dict[str, Any] = {"causal": self.causal, "scale": self.scale}
        heads, shape = self.kv_heads * self.group, (self.queries, self.keys)
        masks = {
            "no": None,
            "pairs": shape,
            "keys": (self.batch, 1, 1, self.keys),
            "heads": (self.batch, heads, *shape),
        }
        if masks[self.masked] is not None:
            given["mask"] = rng.random(masks[self.masked]) < 0.6
        if self.segments:
            # One set of documents for all of the batch, or another for each.
            lead = (self.batch,) if self.segments % 2 else ()
            given["q_segments"] = np.sort(rng.integers(0, self.segments, (*lead, self.queries)))
            given["k_segments"] = rng.integers(0, self.segments, (*lead, self.keys))
        if self.positions == "offset":
            given |= {"q_positions": 4, "k_positions": 2}
        elif self.positions == "later keys":
            given |= {"q_positions": 1, "k_positions": 3}
        elif self.positions == "shuffled":
            given |= {"q_positions": rng.permutation(self.queries), "k_positions": 2 * rng.permutation(self.keys)}
        return given

    def seen(self) -> Array:
        """Return who sees whom, (batch, heads, queries, keys), from the meaning of the keywords."""
        given = self.keywords()
        seen = np.ones((self.batch, self.kv_heads * self.group, self.queries, self.keys), bool)
        seen &= given.get("mask", True)
        if self.causal:
            first = [given.get(name, 0) for name in ("q_positions", "k_positions")]
            q, k = (np.arange(n) + x if np.ndim(x) == 0 else x for x, n in zip(first, seen.shape[2:], strict=True))
            seen &= q[:, None] >= k
        if self.segments:
            q, k = (np.atleast_2d(given[name]) for name in ("q_segments", "k_segments"))
            seen &= (q[:, :, None] == k[:, None, :])[:, None]
        return seen


SIZES = [0, 1, 2, 3, 5, 8, 13]
OPTIONS: dict[str, list[Any]] = {
    "batch": [1, 2], "queries": SIZES, "keys": SIZES, "kv_heads": [1, 2], "group": [1, 2, 3],
    "dim": [1, 2, 3, 4, 5], "v_dim": [1, 2, 3, 4, 5], "causal": [False, True],
    "masked": ["no", "pairs", "keys", "heads"], "segments": [0, 1, 2, 3],
    "positions": ["natural", "offset", "shuffled", "later keys"], "scale": [None, 0.3, -1.0, 0.0],
    "dtype": ["f4", "f8"], "spread": [1.0, 1e-3, 30.0, 1000.0],
}  # fmt: skip
CASES = st.builds(
    Case, **{name: st.sampled_from(values) for name, values in OPTIONS.items()}, seed=st.integers(0, 2**20)
)


def every_pair() -> list[Case]:
    """Return cases in which every two values of two options meet."""
    return [Case(**chosen, seed=turn) for turn, chosen in enumerate(covering(OPTIONS))]


def factor_of(case: Case) -> float:
    return 1 / np.sqrt(case.dim) if case.scale is None else case.scale


def row_by_row(case: Case, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Return (out, lse) in float64 by the definition: for each query, a softmax over just the keys that it sees."""
    seen, factor = case.seen(), factor_of(case)
    out = np.zeros((*q.shape[:3], v.shape[3]))
    lse = np.full(q.shape[:3], -np.inf)
    q, k, v = (x.astype(float) for x in (q, k, v))
    for b, i, h in np.ndindex(lse.shape):
        mine = np.flatnonzero(seen[b, h, i])
        if mine.size:
            scores = factor * k[b, mine, h // case.group] @ q[b, i, h]
            top = scores.max()
            weights = np.exp(scores - top)
            out[b, i, h] = weights @ v[b, mine, h // case.group] / weights.sum()
            lse[b, i, h] = top + np.log(weights.sum())
    return out, lse


def row_by_row_backward(case: Case, q: Array, k: Array, v: Array, d_out: Array) -> tuple[Array, Array, Array]:
    """Return (dq, dk, dv) in float64 by the definition, query by query."""
    seen, factor = case.seen(), factor_of(case)
    q, k, v, d_out = (x.astype(float) for x in (q, k, v, d_out))
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for b, i, h in np.ndindex(q.shape[:3]):
        mine, g = np.flatnonzero(seen[b, h, i]), h // case.group
        if mine.size:
            scores = factor * k[b, mine, g] @ q[b, i, h]
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            d_weights = v[b, mine, g] @ d_out[b, i, h]
            d_scores = factor * weights * (d_weights - weights @ d_weights)
            dq[b, i, h] = d_scores @ k[b, mine, g]
            dk[b, mine, g] += np.outer(d_scores, q[b, i, h])
            dv[b, mine, g] += np.outer(weights, d_out[b, i, h])
    return dq, dk, dv


def longest(x: Array) -> float:
    """Return the length of the longest vector along the last axis."""
    return float(np.sqrt((x.astype(float) ** 2).sum(axis=-1).max(initial=0)))


def tolerances(case: Case, q: Array, k: Array, v: Array, d_out: Array) -> dict[str, float]:
    """Return how far each result may be from the exact one: rounding errors added up at their worst.

    A score is a product of dim terms with a factor: wrong by (dim + 2) eps |factor q||k|, and so is the logarithm
    that is subtracted from it; a weight is wrong by that much relatively, and by as many eps as terms are added.
    Weights of a query sum to 1. A gradient of a score is at most 2 |d_out||v| times its
    weight; dk and dv sum over queries.
    """
    eps = float(np.finfo(case.dtype).eps)
    top = abs(factor_of(case)) * longest(q) * longest(k)
    relative = 2 * eps * ((case.dim + 4) * (top + 1) + case.keys + case.v_dim + 4)
    slope = 4 * relative * abs(factor_of(case)) * longest(d_out) * longest(v)
    rows = case.queries * case.group + 1
    return {
        "out": relative * longest(v), "lse": relative, "dq": slope * longest(k), "dk": slope * rows * longest(q),
        "dv": relative * rows * longest(d_out),
    }  # fmt: skip


def assert_close(name: str, got: Array, expected: Array, tolerance: float, dtype: str) -> None:
    """Assert shape, dtype, the same infinities and NaN, and values within the tolerance."""
    assert (got.shape, got.dtype) == (expected.shape, np.dtype(dtype)), name
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), name)
    fixed = ~np.isfinite(expected)
    np.testing.assert_array_equal(got[fixed], expected[fixed], name)
    error = np.abs(got[~fixed] - expected[~fixed]).max(initial=0)
    assert error <= tolerance, f"{name}: off by {error:.3g}, at most {tolerance:.3g} expected"


def claim_forward(case: Case, forward: Callable[..., Any]) -> None:
    """Assert that forward(q, k, v, **keywords) gives (out, lse) as the definition does."""
    q, k, v, d_out = case.arrays()
    allowed = tolerances(case, q, k, v, d_out)
    got = forward(q, k, v, **case.keywords())
    for name, mine, exact in zip(("out", "lse"), got, row_by_row(case, q, k, v), strict=True):
        assert_close(name, mine, exact, allowed[name], case.dtype)


def claim_backward(case: Case, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Assert that backward(q, k, v, out, lse, d_out, **keywords) gives (dq, dk, dv) as the definition does."""
    q, k, v, d_out = case.arrays()
    allowed = tolerances(case, q, k, v, d_out)
    out, lse = forward(q, k, v, **case.keywords())
    out.flags.writeable = lse.flags.writeable = False
    got = backward(q, k, v, out, lse, d_out, **case.keywords())
    for name, mine, exact in zip(("dq", "dk", "dv"), got, row_by_row_backward(case, q, k, v, d_out), strict=True):
        assert_close(name, mine, exact, allowed[name], case.dtype)


def claim_parts(case: Case, parts: int, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Assert that keys dealt out at random to parts give the whole: each merges, and adds gradients, as it comes by."""
    q, k, v, d_out = case.arrays()
    keywords = case.keywords()
    mask = np.broadcast_to(keywords.pop("mask", True), case.seen().shape)
    first = keywords.pop("k_positions", 0)
    positions = first + np.arange(case.keys) if np.ndim(first) == 0 else first
    segments = keywords.pop("k_segments", None)
    owner = np.random.default_rng(case.seed + 2).integers(0, parts, case.keys)
    total = np.zeros((*q.shape[:3], case.v_dim), q.dtype), np.full(q.shape[:3], -np.inf, q.dtype)
    shares = []
    for part in range(parts):
        mine = np.flatnonzero(owner == part)
        share = keywords | {"k_positions": positions[mine], "mask": mask[..., mine]}
        if segments is not None:
            share["k_segments"] = segments[..., mine]
        shares.append((mine, share))
        assert forward(q, k[:, mine], v[:, mine], **share, into=total) is total
    # Each merging rounds anew.
    allowed = {name: (parts + 2) * most for name, most in tolerances(case, q, k, v, d_out).items()}
    for name, got, exact in zip(("out", "lse"), total, row_by_row(case, q, k, v), strict=True):
        assert_close(name, got, exact, allowed[name], case.dtype)
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for mine, share in shares:
        grads = dq, np.zeros_like(k[:, mine]), np.zeros_like(v[:, mine])
        assert backward(q, k[:, mine], v[:, mine], *total, d_out, **share, into=grads) is grads
        dk[:, mine], dv[:, mine] = grads[1:]
    exact_grads = row_by_row_backward(case, q, k, v, d_out)
    for name, got, exact in zip(("dq", "dk", "dv"), (dq, dk, dv), exact_grads, strict=True):
        assert_close(name, got, exact, allowed[name], case.dtype)
