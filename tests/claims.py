"""What every collective must do, as programs: the same claims run on simulated ranks and on real MPI.

A claim takes a communicator and a case. Each rank makes the inputs of all ranks from the case's seed, calls the
collective, and compares its own result with NumPy's; a rank that is wrong raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

import collectives
import ranks
from covering import covering
from orders import BLOCK_ORDERS, ORDERS, SCAN_ORDERS, rank_order, two_level_order

OPS: dict[str, Any] = {
    "add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "fmax": np.fmax,
    "bitwise_xor": np.bitwise_xor, "logical_or": np.logical_or,
    "custom": collectives.commutative(lambda a, b: np.maximum(a, b)),
}  # fmt: skip
DTYPES = ["?", "i1", "u1", "i2", "i4", "u8", "i8", "f2", "f4", "f8", "g", "F", "D", ">f8", ">i4", "M8[s]", "m8[ns]"]
LAYOUTS = ["plain", "strided", "fortran", "reversed", "read-only", "misaligned", "misaligned, read-only"]
OUTS = ["none", "fresh", "strided", "itself", "misaligned", "overlapping"]
GIVEN = ("fresh", "strided", "misaligned")


@dataclass(frozen=True)
class Case:
    """One call: `shape` and `layout` of x, its dtype, the op's name, where the result goes, and what is in x."""

    shape: tuple[int, ...]
    dtype: str
    op: str
    layout: str = "plain"
    out: str = "none"
    seed: int = 0

    def makes_sense(self) -> bool:
        """Return whether NumPy's op takes this dtype to itself."""
        op, dtype = OPS[self.op], np.dtype(self.dtype).newbyteorder("=")
        if not isinstance(op, np.ufunc):
            return dtype.kind != "c"
        try:
            return bool(op.resolve_dtypes((dtype, dtype, None))[2] == dtype)
        except TypeError:
            return False


@lru_cache(maxsize=64)  # simulated ranks share them, and one claim after the other
def values(case: Case, rank: int) -> np.ndarray:
    """Return the elements of a rank's x, C-ordered and read-only."""
    made = drawn(case, rank)
    made.flags.writeable = False
    return made


@lru_cache(maxsize=16)  # all simulated ranks expect the same
def combined(case: Case, p: int, order: Callable[..., Any], *nodes: Any) -> Any:
    """Return what `order` makes of the x of p ranks."""
    return order([values(case, rank) for rank in range(p)], OPS[case.op], *nodes)


def drawn(case: Case, rank: int) -> np.ndarray:
    rng = np.random.default_rng([case.seed, rank])
    dtype = np.dtype(case.dtype)
    if dtype.kind == "c" and case.op == "multiply":
        # NumPy rounds a complex product in one way or another, as the arrays lie in memory: let nothing be rounded.
        return np.asarray(np.array([1, -1, 1j, -1j], dtype)[rng.integers(0, 4, case.shape)])
    if dtype.kind in "fc":
        made = rng.standard_normal(case.shape)
        return np.asarray(made + 1j * rng.standard_normal(case.shape) if dtype.kind == "c" else made, dtype)
    return np.asarray(rng.integers(0, 100, case.shape)).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """Return an array equal to x that lies in memory as `layout` says."""
    if layout == "strided":
        wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]) if x.ndim else (), x.dtype)
        view = wide[..., ::3] if x.ndim else wide
        view[...] = x
        return view
    if layout == "fortran":
        return np.array(x, order="F")
    if layout == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    made = x.copy()
    if layout.startswith("misaligned"):
        made = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        made[...] = x
    made.flags.writeable = not layout.endswith("read-only")
    return made


def out_like(x: np.ndarray, kind: str) -> np.ndarray | None:
    """Return an array like x for a result, which lies in memory as `kind` of OUTS says; None if it is not given."""
    return laid_out(np.zeros_like(x), kind) if kind in GIVEN else None


def overlapping(x: np.ndarray, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an array equal to x, and one of `shape`, which lie in one memory at any distance from each other."""
    n = int(np.prod(shape))
    memory = np.zeros(x.size + 2 * n, x.dtype)
    begin = int(np.random.default_rng([seed, 2]).integers(0, x.size + n + 1))
    made = memory[n : n + x.size].reshape(x.shape)
    made[...] = x
    return made, memory[begin : begin + n].reshape(shape)


def same(got: Any, expected: np.ndarray) -> None:
    """Compare bit for bit: shape, dtype, and every byte but the sign and payload of NaN."""
    assert isinstance(got, np.ndarray), f"got a {type(got).__name__}"
    assert got.shape == expected.shape, f"got shape {got.shape}, expected {expected.shape}"
    assert got.dtype == expected.dtype, f"got dtype {got.dtype}, expected {expected.dtype}"
    assert np.array_equal(got, expected, equal_nan=got.dtype.kind in "fcmM"), f"got {got}, expected {expected}"


def claim_call(case: Case, part: np.ndarray, call: Callable[..., Any], expected: np.ndarray | None) -> None:
    """call(x, out=out) gives what is expected, bit for bit; x is kept; out is used as NumPy does."""
    x = laid_out(part, case.layout)
    itself = case.out == "itself" and x.flags.writeable
    out = out_like(part, case.out)
    target = x if itself else out
    if case.out == "overlapping":
        x, target = overlapping(part, part.shape, case.seed)
    result = call(x, out=target)
    if expected is None:
        assert result is None, f"got {result} on a rank that is not the root"
    else:
        same(result, expected)
        assert target is None or result is target, "out was given, and something else came back"
        assert target is not None or not np.shares_memory(result, x), "the result is a view of the argument"
    if expected is None or not np.shares_memory(target, x):
        same(x, part)


def claim_allreduce(comm: Any, case: Case, allreduce: Callable[..., Any], order: Any = None) -> None:
    """The result is the reduction in the documented order."""
    if allreduce is collectives.two_level_allreduce:
        expected = combined(case, comm.size, two_level_order, tuple(ranks.nodes_of(comm)))
    else:
        expected = combined(case, comm.size, order or ORDERS[allreduce.__name__])
    part, op = values(case, comm.rank), OPS[case.op]
    claim_call(case, part, lambda x, out: allreduce(comm, x, op, out=out), expected)


def claim_naive_allreduce_at_any_root(comm: Any, case: Case) -> None:
    """The root changes nothing but the way."""
    part, op, root = values(case, comm.rank), OPS[case.op], case.seed % comm.size
    naive = collectives.naive_allreduce
    expected = combined(case, comm.size, rank_order)
    claim_call(case, part, lambda x, out: naive(comm, x, op, root=root, out=out), expected)


def claim_reduce(comm: Any, case: Case, reduce: Callable[..., Any], order: Any = None) -> None:
    """The root gets the reduction in the documented order, the others None."""
    p, op, root = comm.size, OPS[case.op], case.seed % comm.size
    parts = [values(case, rank) for rank in range(p)]
    turned = parts[root:] + parts[:root] if reduce is collectives.binomial_reduce else parts
    expected = (order or ORDERS[reduce.__name__])(turned, op) if comm.rank == root else None
    claim_call(case, parts[comm.rank], lambda x, out: reduce(comm, x, op, root=root, out=out), expected)


def claim_broadcast(comm: Any, case: Case, broadcast: Callable[..., Any]) -> None:
    """Everybody gets the root's x, and keeps its own."""
    root = case.seed % comm.size
    part, expected = values(case, comm.rank), values(case, root)
    claim_call(case, part, lambda x, out: broadcast(comm, x, root=root, out=out), expected)


def claim_reduce_scatter(
    comm: Any, case: Case, reduce_scatter: Callable[..., Any], order: Any = None, counts: list[int] | None = None
) -> None:
    """Rank r gets block r of the reduction in the documented order; x is kept."""
    p, rank, op = comm.size, comm.rank, OPS[case.op]
    parts = [values(case, source) for source in range(p)]
    x = laid_out(parts[rank], case.layout)
    ends = np.cumsum(counts or [len(block) for block in np.array_split(parts[0].reshape(-1), p)]).tolist()
    place = slice(ends[rank - 1] if rank else 0, ends[rank])
    shares = [part.reshape(-1)[place] for part in parts]
    expected = (order or BLOCK_ORDERS[reduce_scatter.__name__])(shares, op, rank).astype(x.dtype)
    out = out_like(expected, case.out)
    given = {} if counts is None else {"counts": counts}
    result = reduce_scatter(comm, x, op, out=out, **given)
    same(result, expected)
    assert out is None or result is out, "out was given, and something else came back"
    assert not np.shares_memory(result, x), "the result is a view of the argument"
    same(x, parts[rank])
    if case.out == "itself":
        own = parts[rank].copy().reshape(-1)
        same(reduce_scatter(comm, own, op, out=own[place], **given), expected)
    if case.out == "overlapping":
        mine, over = overlapping(parts[rank], expected.shape, case.seed)
        same(reduce_scatter(comm, mine, op, out=over, **given), expected)


def claim_reduce_scatter_of_any_counts(comm: Any, case: Case, reduce_scatter: Callable[..., Any]) -> None:
    """Blocks are as np.array_split cuts them, or of the sizes given."""
    claim_reduce_scatter(comm, case, reduce_scatter)
    size = int(np.prod(case.shape))
    cuts = np.sort(np.random.default_rng(case.seed).integers(0, size + 1, comm.size - 1))
    claim_reduce_scatter(comm, case, reduce_scatter, counts=np.diff([0, *cuts, size]).tolist())


def claim_allgather(comm: Any, case: Case, allgather: Callable[..., Any]) -> None:
    """Everybody gets all blocks in rank order: equal ones stacked, unequal ones with counts joined; x is kept."""
    p, rank = comm.size, comm.rank
    parts = [values(case, source) for source in range(p)]
    x, expected = laid_out(parts[rank], case.layout), np.stack(parts).astype(case.dtype)
    out = out_like(expected, case.out)
    result = allgather(comm, x, out=out)
    same(result, expected)
    assert out is None or result is out, "out was given, and something else came back"
    assert not np.shares_memory(result, x), "the result is a view of the argument"
    same(x, parts[rank])
    counts = [(3 * source + case.seed) % 5 for source in range(p)]
    uneven = [np.resize(part, count).astype(part.dtype) if part.size else np.zeros(count, part.dtype)
              for part, count in zip(parts, counts, strict=True)]  # fmt: skip
    whole = np.concatenate(uneven).astype(x.dtype)
    same(allgather(comm, uneven[rank], counts=counts), whole)
    begun = np.zeros_like(whole)
    begun[sum(counts[:rank]) :][: counts[rank]] = uneven[rank]
    same(allgather(comm, begun[sum(counts[:rank]) :][: counts[rank]], counts=counts, out=begun), whole)
    block, over = overlapping(uneven[rank], whole.shape, case.seed)
    same(allgather(comm, block, counts=counts, out=over), whole)


def claim_scan(comm: Any, case: Case, scan: Callable[..., Any], order: Any = None) -> None:
    """Rank r gets the reduction over ranks 0, ..., r in the documented order."""
    part, op = values(case, comm.rank), OPS[case.op]
    expected = combined(case, comm.size, order or SCAN_ORDERS[scan.__name__])[comm.rank]
    claim_call(case, part, lambda x, out: scan(comm, x, op, out=out), expected)


def claim_exscan(comm: Any, case: Case, exscan: Callable[..., Any], order: Any = None) -> None:
    """Rank r gets the reduction over ranks 0, ..., r-1 in the documented order; rank 0 what it is told."""
    part, op = values(case, comm.rank), OPS[case.op]
    first = np.ones((), case.dtype)
    given = {} if getattr(op, "identity", None) is not None and case.seed % 2 else {"first": first[()]}
    lowest = np.full(case.shape, first if given else np.asarray(op.identity).astype(case.dtype), case.dtype)
    expected = [lowest, *combined(case, comm.size, order or SCAN_ORDERS[exscan.__name__])][comm.rank]
    claim_call(case, part, lambda x, out: exscan(comm, x, op, out=out, **given), expected)


def claim_barriers_leave_nothing_behind(comm: Any, case: Case, barrier: Callable[[Any], None]) -> None:
    """Collectives right before and after a barrier, which is used several times, are not disturbed by it."""
    for turn in range(3):
        same(collectives.ring_allgather(comm, np.array([comm.rank + turn])).ravel(), np.arange(comm.size) + turn)
        barrier(comm)
        barrier(comm)


# What is claimed of every algorithm of an operation.
CLAIMS_OF: dict[str, Callable[[Any, Case, Callable[..., Any]], None]] = {
    "allreduce": claim_allreduce,
    "reduce": claim_reduce,
    "broadcast": claim_broadcast,
    "reduce_scatter": claim_reduce_scatter_of_any_counts,
    "allgather": claim_allgather,
    "scan": claim_scan,
    "exscan": claim_exscan,
    "barrier": claim_barriers_leave_nothing_behind,
}


def rows(operation: str) -> list[Any]:
    """Return the rows of the catalogue for all networks; `test_shared_memory.py` has those for one node."""
    return [row for row in collectives.CATALOGUE[operation].values() if not row.one_node]


CLAIMS: dict[str, Callable[[Any, Case], None]] = {
    row.function.__name__: lambda comm, case, claim=CLAIMS_OF[operation], row=row: claim(comm, case, row.function)
    for operation in CLAIMS_OF
    for row in rows(operation)
} | {"naive_allreduce_at_any_root": claim_naive_allreduce_at_any_root}


SHAPES: dict[str, list[tuple[int, ...]]] = {
    "none": [(0,), (2, 0, 3)], "one": [(), (1,)], "few": [(2,), (7,)], "axes": [(3, 5), (4, 3, 2)],
    "many": [(1000,), (40_000,)],
}  # fmt: skip


@lru_cache(maxsize=4)
def fixed_cases(ops: tuple[str, ...] = tuple(OPS)) -> list[Case]:
    """Return cases in which every two of dtype, op, layout, kind of out and kind of shape meet, the same anywhere."""
    options = {"dtype": DTYPES, "layout": LAYOUTS, "op": ops, "out": OUTS, "shape": list(SHAPES)}

    def fits(chosen: dict[str, Any]) -> bool:
        return not {"dtype", "op"} <= chosen.keys() or Case((), chosen["dtype"], chosen["op"]).makes_sense()

    return [
        Case(**(chosen | {"shape": SHAPES[chosen["shape"]][turn % 2]}), seed=turn)
        for turn, chosen in enumerate(covering(options, fits))
    ]


def hold_all(
    claims: dict[str, Callable[[Any, Case], None]], comm: Any, share: int, ops: tuple[str, ...] = tuple(OPS)
) -> None:
    """Check each claim with one of `share` parts of the fixed cases, so many claims in a row with all of them.

    Each third has every dtype, layout and out.
    """
    for place, case in enumerate(fixed_cases(ops)):
        for turn, (name, claim) in enumerate(claims.items()):
            if (place - turn) % share:
                continue
            try:
                claim(comm, case)
            except BaseException as problem:
                problem.add_note(f"claim {name} on rank {comm.rank} of {comm.size}, {case}")
                raise
