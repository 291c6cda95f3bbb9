"""What collectives that only move data must do, as programs for either world; `claims.py` says how claims work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import collectives
from claims import Case, laid_out, same, values


def sizes(case: Case, rank: int, p: int, most: int = 4) -> list[int]:
    """Return a size from 0 to `most` for each of p ranks, drawn from the case's seed and `rank`."""
    return np.random.default_rng([case.seed, rank, p]).integers(0, most + 1, p).tolist()


def claim_alltoall(comm: Any, case: Case, alltoall: Callable[..., Any]) -> None:
    """Rank d gets block d of every rank, in rank order; x is kept; out is used, even if it is x."""
    p, rank = comm.size, comm.rank
    parts = [values(replace(case, shape=(p, *case.shape)), source) for source in range(p)]
    x = laid_out(parts[rank], case.layout)
    itself = case.out == "itself" and x.flags.writeable
    out = {"fresh": np.empty_like(parts[0]), "strided": laid_out(np.zeros_like(parts[0]), "strided")}.get(case.out)
    target = x if itself else out
    result = alltoall(comm, x, out=target)
    same(result, np.stack([part[rank] for part in parts]).astype(x.dtype))
    assert target is None or result is target, "out was given, and something else came back"
    assert result is x or not np.shares_memory(result, x), "the result is a view of the argument"
    if not itself:
        same(x, parts[rank])


def claim_alltoallv(comm: Any, case: Case, alltoallv: Callable[..., Any]) -> None:
    """Rank d gets the block that each rank cut for it, whether it knows their sizes or asks; x is kept."""
    p, rank = comm.size, comm.rank
    counts = [sizes(case, source, p) for source in range(p)]
    parts = [values(replace(case, shape=(sum(count),)), source) for source, count in enumerate(counts)]
    blocks = [np.split(part, np.cumsum(count)[:-1]) for part, count in zip(parts, counts, strict=True)]
    expected = np.concatenate([block[rank] for block in blocks]).astype(case.dtype)
    x = laid_out(parts[rank], case.layout)
    same(alltoallv(comm, x, counts[rank]), expected)
    out = np.empty_like(expected)
    assert alltoallv(comm, x, counts[rank], [count[rank] for count in counts], out=out) is out
    same(out, expected)
    same(x, parts[rank])


def claim_alltoall_of_axes(comm: Any, case: Case, alltoall: Callable[..., Any]) -> None:
    """From shares of the whole along one axis to shares along another, and back; all of it is x again, x is kept."""
    p, rank = comm.size, comm.rank
    shape = case.shape or (3,)
    split, concat = case.seed % len(shape), case.seed // 7 % len(shape)
    if split == concat:
        claim_alltoall_along_one_axis(comm, replace(case, shape=shape), alltoall, split)
        return
    drawn = sizes(case, 0, p)
    whole = values(replace(case, shape=tuple(sum(drawn) if a == concat else n for a, n in enumerate(shape))), 0)
    given = sizes(case, 1, p, 2) if case.seed % 2 else None
    if given is not None:
        whole = np.concatenate([whole] * (1 + sum(given)), axis=split).astype(case.dtype)
        given[-1] += whole.shape[split] - sum(given)
    cut = [len(part) for part in np.array_split(np.empty(whole.shape[split]), p)] if given is None else given
    shares = np.split(whole, np.cumsum(drawn)[:-1], axis=concat)
    expected = np.split(whole, np.cumsum(cut)[:-1], axis=split)[rank]
    x = laid_out(shares[rank], case.layout)
    out = {"fresh": np.empty_like(expected), "strided": laid_out(np.zeros_like(expected), "strided")}.get(case.out)
    result = alltoall(comm, x, split - len(shape), concat, split_sizes=given, concat_sizes=drawn, out=out)
    same(result, np.asarray(expected))
    assert out is None or result is out, "out was given, and something else came back"
    same(alltoall(comm, result, concat, split, split_sizes=drawn, concat_sizes=cut), np.ascontiguousarray(shares[rank]))
    same(x, np.ascontiguousarray(shares[rank]))


def claim_alltoall_along_one_axis(comm: Any, case: Case, alltoall: Callable[..., Any], axis: int) -> None:
    """Split and joined along the same axis: what np.array_split makes of every rank's x."""
    parts = [values(case, source) for source in range(comm.size)]
    x = laid_out(parts[comm.rank], case.layout)
    result = alltoall(comm, x, axis, axis)
    cut = [np.array_split(part, comm.size, axis=axis)[comm.rank] for part in parts]
    same(result, np.concatenate(cut, axis=axis).astype(x.dtype))
    assert not np.shares_memory(result, x), "the result is a view of the argument"
    same(x, parts[comm.rank])


MOVER_CLAIMS: dict[str, Callable[[Any, Case], None]] = {
    "linear_alltoall": lambda comm, case: claim_alltoall(comm, case, collectives.linear_alltoall),
    "pairwise_alltoall": lambda comm, case: claim_alltoall(comm, case, collectives.pairwise_alltoall),
    "bruck_alltoall": lambda comm, case: claim_alltoall(comm, case, collectives.bruck_alltoall),
    "alltoallv": lambda comm, case: claim_alltoallv(comm, case, collectives.alltoallv),
    "linear_alltoallv": lambda comm, case: claim_alltoallv(
        comm, case, lambda *args, **given: collectives.alltoallv(*args, **given, algorithm="linear")
    ),
    "alltoall_of_axes": lambda comm, case: claim_alltoall_of_axes(comm, case, collectives.alltoall),
    "linear_alltoall_of_axes": lambda comm, case: claim_alltoall_of_axes(
        comm, case, lambda *args, **given: collectives.alltoall(*args, **given, algorithm="linear")
    ),
}
