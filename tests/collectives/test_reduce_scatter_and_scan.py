"""What reduce-scatter, scan and exscan combine, for all inputs at once: provenance, order, refusals, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from claims import rows, same
from test_collectives import X, concatenated, fails

REDUCE_SCATTERS = rows("reduce_scatter")
SCANS, EXSCANS = rows("scan"), rows("exscan")
UNION = collectives.commutative(lambda a, b: disjoint_union_in_place(a, b))


def disjoint_union_in_place(a: Any, b: Any) -> Any:
    """Join sets of ranks, kept as the low 32 bits, of the element whose number the bits above are."""
    assert np.array_equal(a >> 32, b >> 32), "elements of different places were combined"
    assert not np.any(a & b & 0xFFFFFFFF), "a rank's contribution was counted twice"
    return a | b


def contribution(rank: int, n: int) -> np.ndarray:
    return np.arange(n, dtype=np.int64) << 32 | 1 << rank


def uneven(n: int, p: int) -> list[int]:
    """Return p sizes that add up to n, some of them 0: all on the odd ranks, the last one gets the rest."""
    sizes = [(n // p) * (rank % 2) for rank in range(p)]
    return [*sizes[:-1], n - sum(sizes[:-1])]


@pytest.mark.parametrize("row", REDUCE_SCATTERS, ids=lambda row: row.function.__name__)
@pytest.mark.parametrize("p", [*range(1, 18), 31, 32])
def test_each_element_of_a_block_holds_each_ranks_contribution_exactly_once(row: Any, p: int) -> None:
    for n in (0, 1, p - 1, 5 * p + 3):
        whole = np.arange(n, dtype=np.int64) << 32 | (1 << p) - 1
        for counts in (None, uneven(n, p)):
            run = ranks.run(
                lambda comm, n=n, counts=counts: row.function(comm, contribution(comm.rank, n), UNION, counts=counts),
                p,
                buffering="none",
            )
            sizes = counts or [len(block) for block in np.array_split(whole, p)]
            assert [len(block) for block in run.results] == sizes
            same(np.concatenate(run.results), whole)


@pytest.mark.parametrize("p", [*range(1, 18), 31, 32])
def test_a_scan_holds_each_rank_up_to_this_one_exactly_once(p: int) -> None:
    first = np.int64(0)
    for row in [*SCANS, *EXSCANS]:
        given = {"first": first} if row in EXSCANS else {}
        run = ranks.run(
            lambda comm, row=row, given=given: row.function(comm, contribution(comm.rank, 3), UNION, **given),
            p,
            buffering="none",
        )
        for rank, result in enumerate(run.results):
            upto = rank + (row in SCANS)
            same(result, np.arange(3) << 32 | (1 << upto) - 1 if upto else np.zeros(3, np.int64))


@pytest.mark.parametrize("p", range(1, 16))
def test_scans_and_the_pairwise_reduce_scatter_take_any_associative_op_in_rank_order(p: int) -> None:
    def digits(first: int, last: int) -> np.uint64:
        return np.uint64(int("".join(f"{rank + 1:x}" for rank in range(first, last)) or "0", 16))

    x = [np.full(p, rank + 1, np.uint64) for rank in range(p)]
    for row in [*SCANS, *EXSCANS]:
        given = {"first": 0} if row in EXSCANS else {}
        run = ranks.run(lambda comm, f=row.function, given=given: f(comm, x[comm.rank], concatenated, **given), p)
        for rank, result in enumerate(run.results):
            same(result, np.full(p, digits(0, rank + (row in SCANS))))
    for row in REDUCE_SCATTERS:
        if not row.commutative:
            for result in ranks.run(lambda comm, f=row.function: f(comm, x[comm.rank], concatenated), p).results:
                same(result, np.full(1, digits(0, p)))


def test_linear_scans_take_an_op_that_is_not_associative() -> None:
    scanned = ranks.run(lambda c: collectives.linear_scan(c, np.array([c.rank + 1]), np.subtract), 4).results
    assert [int(each[0]) for each in scanned] == [1, -1, -4, -8]
    below = ranks.run(lambda c: collectives.linear_exscan(c, np.array([c.rank + 1]), np.subtract, first=7), 4).results
    assert [int(each[0]) for each in below] == [7, 1, -1, -4]


@pytest.mark.parametrize(
    ("op", "dtype", "first"),
    [
        (np.add, "f4", 0), (np.multiply, "i2", 1), (np.bitwise_and, "u1", 255), (np.bitwise_and, "i8", -1),
        (np.logical_and, "?", True), (np.logical_or, "?", False), (np.add, "m8[s]", 0), (np.logaddexp, "f8", -np.inf),
    ],
)  # fmt: skip
def test_rank_0_of_an_exscan_gets_the_identity(op: Any, dtype: str, first: Any) -> None:
    for row in EXSCANS:
        run = ranks.run(lambda comm, f=row.function: f(comm, np.ones(2, dtype), op), 3)
        same(run.results[0], np.array([first, first]).astype(dtype))
        same(op(run.results[0], run.results[1]).astype(dtype), np.ones(2, dtype))


def test_ops_that_do_not_commute_are_refused_where_blocks_are_reordered() -> None:
    for row in REDUCE_SCATTERS:
        if row.commutative:
            for op in (np.subtract, concatenated):
                fails(lambda c, f=row.function, op=op: f(c, X, op), ValueError, f"{row.function.__name__}: got op")


def test_wrong_arguments_of_reduce_scatter_and_scan_say_who_got_what_expected_what_and_what_to_do() -> None:
    for row in REDUCE_SCATTERS:
        f, who = row.function, row.function.__name__
        fails(lambda c, f=f: f(c, [1, 2]), TypeError, f"{who}: got x of type list")
        fails(lambda c, f=f: f(c, X, np.bitwise_or), TypeError, f"{who}: got dtype float64 and op bitwise_or")
        fails(lambda c, f=f: f(c, X, counts=[2, 2, 1]), ValueError, f"{who}: got counts [2, 2, 1]", "adding up to 6")
        fails(lambda c, f=f: f(c, X, counts=[6]), ValueError, "for each of 3 ranks")
        fails(lambda c, f=f: f(c, X, counts=[7, -1, 0]), ValueError, "an integer from 0 up")
        fails(lambda c, f=f: f(c, X, out=np.empty(3)), ValueError, f"{who}: got out with shape (3,)")
    for row in [*SCANS, *EXSCANS]:
        f, who = row.function, row.function.__name__
        fails(lambda c, f=f: f(c, [1, 2]), TypeError, f"{who}: got x of type list")
        fails(lambda c, f=f: f(c, X, np.bitwise_xor), TypeError, f"{who}: got dtype float64 and op bitwise_xor")
        fails(lambda c, f=f: f(c, X, out=np.empty(3)), ValueError, f"{who}: got out with shape (3,)")
    for row in EXSCANS:
        f, who = row.function, row.function.__name__
        fails(lambda c, f=f: f(c, X, np.maximum), ValueError, f"{who}: got first=None and op maximum", "pass first=")
        fails(lambda c, f=f: f(c, X, concatenated), ValueError, "op concatenated", "knows no identity")
        fails(lambda c, f=f: f(c, X.astype(int), first=0.5), ValueError, "got first=0.5", "that int64 can hold")
        fails(lambda c, f=f: f(c, X.astype("u1"), first=300), ValueError, "got first=300", "that uint8 can hold")
        fails(lambda c, f=f: f(c, X, first=X), ValueError, "expected one value")
        fails(lambda c, f=f: f(c, X, first="a"), ValueError, f"{who}: got first='a'")


@pytest.mark.parametrize("row", [*REDUCE_SCATTERS, *SCANS, *EXSCANS], ids=lambda row: row.function.__name__)
def test_ranks_that_differ_in_any_argument_of_a_reduction_of_parts_are_told_so(row: Any) -> None:
    calls = [
        lambda c, odd: row.function(c, np.zeros(6, "f4" if odd else "f8")),
        lambda c, odd: row.function(c, np.zeros((2, 3) if odd else (3, 2))),
        lambda c, odd: row.function(c, X, np.multiply if odd else np.add),
    ]
    if row in REDUCE_SCATTERS:
        calls.append(lambda c, odd: row.function(c, X, counts=[2, 2, 2, 0, 0] if odd else [6, 0, 0, 0, 0]))
    if row in EXSCANS:
        calls.append(lambda c, odd: row.function(c, X, first=1 if odd else 2))
    for call in calls:
        with pytest.raises(ranks.CollectiveMismatchError) as caught:
            ranks.run(lambda comm, call=call: call(comm, comm.rank == 3), 5)
        assert list(caught.value.calls.values()) == [[0, 1, 2, 4], [3]]
