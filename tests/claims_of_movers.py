"""What collectives that only move data must do, as programs for either world; `claims.py` says how claims work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import collectives
import ranks
from claims import Case, laid_out, out_like, overlapping, rows, same, values


def sizes(case: Case, rank: int, p: int, most: int = 4) -> list[int]:
    """Return a size from 0 to `most` for each of p ranks, drawn from the case's seed and `rank`."""
    return np.random.default_rng([case.seed, rank, p]).integers(0, most + 1, p).tolist()


def claim_alltoall(comm: Any, case: Case, alltoall: Callable[..., Any]) -> None:
    """Rank d gets block d of every rank, in rank order; x is kept; out is used, even if it is x."""
    p, rank = comm.size, comm.rank
    parts = [values(replace(case, shape=(p, *case.shape)), source) for source in range(p)]
    x = laid_out(parts[rank], case.layout)
    itself = case.out == "itself" and x.flags.writeable
    out = out_like(parts[0], case.out)
    target = x if itself else out
    if case.out == "overlapping":
        x, target = overlapping(parts[rank], x.shape, case.seed)
    result = alltoall(comm, x, out=target)
    same(result, np.stack([part[rank] for part in parts]).astype(x.dtype))
    assert target is None or result is target, "out was given, and something else came back"
    assert target is not None or not np.shares_memory(result, x), "the result is a view of the argument"
    if target is None or not np.shares_memory(target, x):
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
    mine, over = overlapping(parts[rank], expected.shape, case.seed)
    same(alltoallv(comm, mine, counts[rank], out=over), expected)
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
    given = None
    if case.seed % 2:
        cuts = np.sort(np.random.default_rng([case.seed, 1, p]).integers(0, shape[split] + 1, p - 1))
        given = np.diff([0, *cuts, shape[split]]).tolist()
    cut = [len(part) for part in np.array_split(np.empty(whole.shape[split]), p)] if given is None else given
    shares = np.split(whole, np.cumsum(drawn)[:-1], axis=concat)
    expected = np.split(whole, np.cumsum(cut)[:-1], axis=split)[rank]
    x = laid_out(shares[rank], case.layout)
    out = out_like(expected, case.out)
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


def claim_gather(comm: Any, case: Case, gather: Callable[..., Any]) -> None:
    """The root gets all blocks in rank order: equal ones stacked, unequal ones with counts joined; others get None."""
    p, rank, root = comm.size, comm.rank, case.seed % comm.size
    parts = [values(case, source) for source in range(p)]
    counts = sizes(case, 0, p)
    uneven = [values(replace(case, shape=(count,)), source) for source, count in enumerate(counts)]
    claim_gathered(comm, case, gather, root, parts, np.stack(parts).astype(case.dtype), {})
    claim_gathered(comm, case, gather, root, uneven, np.concatenate(uneven).astype(case.dtype), {"counts": counts})
    begun = np.zeros(sum(counts), case.dtype)
    own = begun[sum(counts[:rank]) :][: counts[rank]]
    own[...] = uneven[rank]
    gather(comm, own, root=root, counts=counts, out=begun)
    block, over = overlapping(uneven[rank], begun.shape, case.seed)
    gather(comm, block, root=root, counts=counts, out=over)
    if rank == root:
        same(begun, np.concatenate(uneven).astype(case.dtype))
        same(over, begun)


def claim_gathered(
    comm: Any, case: Case, gather: Any, root: int, parts: list[np.ndarray], expected: np.ndarray, given: Any
) -> None:
    x = laid_out(parts[comm.rank], case.layout)
    out = out_like(expected, case.out)
    result = gather(comm, x, root=root, out=out, **given)
    if comm.rank == root:
        same(result, expected)
        assert out is None or result is out, "out was given, and something else came back"
        assert not np.shares_memory(result, x), "the result is a view of the argument"
    else:
        assert result is None, f"got {result} on a rank that is not the root"
    same(x, parts[comm.rank])


def claim_scatter(comm: Any, case: Case, scatter: Callable[..., Any]) -> None:
    """Each rank gets its block of the root's x: equal ones along the first axis, unequal ones by counts."""
    p, root = comm.size, case.seed % comm.size
    counts = sizes(case, 0, p)
    even = values(replace(case, shape=(p, *case.shape)), root)
    uneven = values(replace(case, shape=(sum(counts),)), root)
    claim_scattered(comm, case, scatter, root, even, list(even), {})
    claim_scattered(comm, case, scatter, root, uneven, np.split(uneven, np.cumsum(counts)[:-1]), {"counts": counts})


def claim_scattered(
    comm: Any, case: Case, scatter: Any, root: int, whole: np.ndarray, blocks: list[Any], given: Any
) -> None:
    rank = comm.rank
    expected = np.asarray(blocks[rank], whole.dtype)
    x = laid_out(whole, case.layout) if rank == root else None
    out = laid_out(np.zeros_like(expected), "strided") if case.out == "strided" else np.empty_like(expected)
    if rank == root and case.out == "none":
        out = None
    inside = case.out == "itself" and x is not None and x.flags.writeable
    if rank == root and case.out == "overlapping":
        x, out = overlapping(whole, expected.shape, case.seed)
    if inside:
        out = x[rank, ...] if not given else x[sum(map(len, blocks[:rank])) :][: len(expected)]
    result = scatter(comm, x, root=root, out=out, **given)
    same(result, expected)
    assert out is None or result is out, "out was given, and something else came back"
    if x is not None and case.out != "overlapping":
        same(x, whole)
        assert inside or not np.shares_memory(result, x), "the result is a view of the argument"


def claim_in_a_crowd(comm: Any, claim: Callable[[Any, Case], None]) -> None:
    """A collective is right while a receive of anything waits, and while a message with each of its tags is there."""
    mpi = ranks.mpi_of(comm)
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    came, early = np.zeros(1), np.zeros(100)
    waiting = comm.Irecv(came, mpi.ANY_SOURCE, mpi.ANY_TAG)
    claim(comm, Case((5,), "i8", "add", seed=1))
    comm.Send(np.full(1, comm.rank + 0.5), right, 7)
    waiting.Wait()
    same(came, np.full(1, left + 0.5))
    tags = range(32_200, 32_300)
    sent = [comm.Isend(np.full(1, tag + 0.25), right, tag) for tag in tags]
    claim(comm, Case((5,), "i8", "add", seed=2))
    for place, tag in enumerate(tags):
        comm.Recv(early[place : place + 1], left, tag)
    for request in sent:
        request.Wait()
    same(early, np.array(tags) + 0.25)


# What is claimed of every algorithm of an operation.
MOVER_CLAIMS_OF: dict[str, Callable[[Any, Case, Callable[..., Any]], None]] = {
    "alltoall": claim_alltoall,
    "gather": claim_gather,
    "scatter": claim_scatter,
}
MOVER_CLAIMS: dict[str, Callable[[Any, Case], None]] = {
    row.function.__name__: lambda comm, case, claim=claim, row=row: claim(comm, case, row.function)
    for operation, claim in MOVER_CLAIMS_OF.items()
    for row in rows(operation)
} | {
    "alltoallv": lambda comm, case: claim_alltoallv(comm, case, collectives.alltoallv),
    "linear_alltoallv": lambda comm, case: claim_alltoallv(
        comm, case, partial(collectives.alltoallv, algorithm="linear")
    ),
    "alltoall_of_axes": lambda comm, case: claim_alltoall_of_axes(comm, case, collectives.alltoall),
    "linear_alltoall_of_axes": lambda comm, case: claim_alltoall_of_axes(
        comm, case, partial(collectives.alltoall, algorithm="linear")
    ),
    "pairwise_alltoall_of_axes": lambda comm, case: claim_alltoall_of_axes(
        comm, case, partial(collectives.alltoall, algorithm="pairwise")
    ),
}
