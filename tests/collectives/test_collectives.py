"""The claims of `claims.py` on simulated ranks, and what only they can show: provenance, order, cost, time."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectives
import ranks
from claims import CLAIMS, DTYPES, LAYOUTS, OPS, OUTS, Case, fixed_cases, rows, same

SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 17]
REDUCTIONS = [row for operation in ("allreduce", "reduce") for row in rows(operation)]
BARRIERS = [row.function for row in rows("barrier")]
NETWORKS = sorted(ranks.presets)
# No eager limit divides the messages below alike, so that one run mixes buffered and unbuffered ones.
MIXED = ranks.Network(name="mixed", inter=ranks.Link.of(1e-6, 1e9), overhead_ps=1000, eager_limit=24)

cases = st.builds(
    Case,
    shape=st.one_of(
        st.tuples(st.integers(0, 40)), st.lists(st.integers(0, 5), max_size=3).map(tuple), st.just((12_000,))
    ),
    dtype=st.sampled_from(DTYPES),
    op=st.sampled_from(sorted(OPS)),
    layout=st.sampled_from(LAYOUTS),
    out=st.sampled_from(OUTS),
    seed=st.integers(0, 2**32),
).filter(Case.makes_sense)


@pytest.mark.parametrize("claim", CLAIMS)
@settings(max_examples=25)
@given(
    case=cases,
    p=st.sampled_from(SIZES),
    network=st.sampled_from([*NETWORKS, MIXED]),
    buffering=st.sampled_from(["none", "eager", "infinite"]),
)
def test_claim_holds_on_simulated_ranks(claim: str, case: Case, p: int, network: Any, buffering: str) -> None:
    ranks.run(CLAIMS[claim], p, case, network=network, buffering=buffering)


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_holds_for_every_dtype_op_layout_and_out(claim: str) -> None:
    def all_cases(comm: Any) -> None:
        for case in fixed_cases():
            CLAIMS[claim](comm, case)

    ranks.run(all_cases, 3)


# -- provenance: where each result comes from, for all inputs at once ------------------------------------------


def disjoint_union(a: Any, b: Any) -> Any:
    """Join sets of ranks, kept as bits; a rank that is in both was counted twice."""
    assert not np.any(a & b), "a rank's contribution was counted twice"
    return a | b


@pytest.mark.parametrize(
    ("p", "n"),
    [
        *((p, n) for p in range(1, 18) for n in sorted({0, 1, p - 1, p, 5 * p + 3})),
        *product((31, 64), (17, 100)),
    ],
)
def test_each_element_holds_each_ranks_contribution_exactly_once(p: int, n: int) -> None:
    everyone = np.full(n, (1 << p) - 1, np.uint64)
    union = collectives.commutative(disjoint_union)
    for row in REDUCTIONS:
        run = ranks.run(lambda comm, f=row.function: f(comm, np.full(n, 1 << comm.rank, np.uint64), union), p)
        for result in run.results:
            if result is not None:
                same(result, everyone)


def concatenated(a: Any, b: Any) -> Any:
    """Join the ranks in a, then those in b, 4 bits each from 1 up: associative, and in no order but this."""
    shift = np.zeros_like(b)
    for k in range(16):
        shift[b >> np.uint64(4 * k) > 0] = 4 * (k + 1)
    return (a << shift) | b


@pytest.mark.parametrize("p", range(1, 16))
@pytest.mark.parametrize("n", [1, 19])
def test_reductions_that_take_any_op_go_in_rank_order(p: int, n: int) -> None:
    expected = np.full(n, int("".join(f"{rank + 1:x}" for rank in range(p)), 16), np.uint64)
    rooted = [row.function for row in rows("reduce") if not row.commutative]
    for f in [row.function for row in rows("allreduce") if not row.commutative]:
        for result in ranks.run(
            lambda comm, f=f: f(comm, np.full(n, comm.rank + 1, np.uint64), concatenated), p
        ).results:
            same(result, expected)
    for f in rooted:
        for root in {0, p // 2, p - 1}:
            run = ranks.run(
                lambda comm, f=f, r=root: f(comm, np.full(n, comm.rank + 1, np.uint64), concatenated, root=r), p
            )
            same(run.results[root], expected)


@pytest.mark.parametrize("row", [row for row in REDUCTIONS if row.commutative], ids=lambda row: row.function.__name__)
def test_reductions_that_reorder_refuse_other_ops(row: Any) -> None:
    for op in (np.subtract, concatenated):
        fails(lambda c, op=op: row.function(c, X, op), ValueError, f"{row.function.__name__}: got op", "commutative")


@pytest.mark.parametrize("p", [*range(1, 18), 31, 64])
def test_broadcasts_give_everybody_the_roots_tokens(p: int) -> None:
    for row in rows("broadcast"):
        for n, root in ((0, 0), (1, p - 1), (p - 1, p // 2), (5 * p + 3, p // 3)):
            run = ranks.run(lambda comm, f=row.function, n=n, r=root: f(comm, np.arange(n) + n * comm.rank, root=r), p)
            for result in run.results:
                same(result, np.arange(n) + n * root)


@pytest.mark.parametrize("p", range(1, 18))
@pytest.mark.parametrize("n", [0, 1, 5, 17, 40])
def test_allgather_moves_each_token_to_its_place(p: int, n: int) -> None:
    run = ranks.run(lambda comm: collectives.ring_allgather(comm, np.arange(n) + n * comm.rank), p)
    for result in run.results:
        same(result, np.arange(n * p).reshape(p, n))


@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_naive_allreduce_reduces_in_rank_order_even_an_op_that_is_not_associative(p: int) -> None:
    def mix(a: Any, b: Any) -> Any:
        return 31 * a + b

    for root in range(p):
        run = ranks.run(
            lambda comm, root=root: collectives.naive_allreduce(comm, np.array([comm.rank + 1]), mix, root=root), p
        )
        for result in run.results:
            same(result, np.array([reduce(mix, range(1, p + 1))]))


def test_ring_allreduce_is_the_reduce_scatter_followed_by_the_allgather() -> None:
    x = np.random.default_rng(0).standard_normal((5, 23)).astype(np.float32)

    def composed(comm: Any) -> Any:
        mine = collectives.ring_reduce_scatter(comm, x[comm.rank])
        return collectives.ring_allgather(comm, mine, counts=[5, 5, 5, 4, 4])

    whole = ranks.run(lambda comm: collectives.ring_allreduce(comm, x[comm.rank]), 5, trace=True)
    parts = ranks.run(composed, 5, trace=True)
    for one, other in zip(whole.results, parts.results, strict=True):
        same(one, other)
    assert whole.time_ps == parts.time_ps
    messages = [[e[:8] for e in run.trace.events if e.message >= 0] for run in (whole, parts)]
    assert messages[0] == messages[1], "apart from the lines that sent them"


# -- barriers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("barrier", BARRIERS)
@settings(max_examples=40)
@given(
    p=st.sampled_from([*SIZES, 33]),
    delays=st.lists(st.integers(0, 10**7), min_size=33, max_size=33),
    buffering=st.sampled_from(["none", "eager", "infinite"]),
)
def test_no_rank_leaves_a_barrier_before_every_rank_has_entered(
    barrier: Any, p: int, delays: list[int], buffering: str
) -> None:
    def program(comm: Any) -> None:
        for turn in range(2):
            ranks.spend(comm, delays[(comm.rank + turn) % 33])
            with ranks.region(comm, "barrier"):
                barrier(comm)

    run = ranks.run(program, p, buffering=buffering, trace=True)
    assert run.trace.left_before_entered("barrier") == []


@pytest.mark.parametrize("buffering", ["none", "eager"])
def test_no_buffer_is_written_while_it_is_being_sent(buffering: str) -> None:
    network = ranks.Network(name="nodes", inter=ranks.Link.of(1e-6, 1e9), ranks_per_node=3)
    for name, claim in CLAIMS.items():
        if not name.endswith("barrier"):
            for p, n in ((2, 5), (6, 60_000), (7, 40)):  # 80,000 B a rank: more than a segment
                case = Case((n,), "i8", "add", out="itself", seed=1)
                ranks.run(claim, p, case, network=network, buffering=buffering, check=True)


# -- wrong calls -----------------------------------------------------------------------------------------------


def fails(call: Any, kind: type[Exception], *texts: str, p: int = 3) -> None:
    """Assert that `call(comm)` raises `kind` on some rank, with all these texts."""
    with pytest.raises(kind) as caught:
        ranks.run(call, p)
    for text in texts:
        assert text in str(caught.value)


X = np.arange(6.0)


def test_wrong_arguments_say_who_got_what_expected_what_and_what_to_do() -> None:
    ring, naive, gather = collectives.ring_allreduce, collectives.naive_allreduce, collectives.ring_allgather
    fails(lambda c: ring(c, [1, 2]), TypeError, "ring_allreduce: got x of type list", "remedy: pass np.asarray(x)")
    fails(lambda c: ring(c, np.float32(1)), TypeError, "got x of type float32", "remedy: pass np.asarray(x)")
    for thing in ({"a": 1}, "text"):
        fails(
            lambda c, thing=thing: ring(c, thing),
            TypeError,
            type(thing).__name__,
            "remedy: send objects with comm.send",
        )
    fails(lambda c: ring(c, None), TypeError, "got x of type NoneType", "remedy: pass an array on every rank")
    fails(lambda c: ring(c, np.ma.array([1.0], mask=[True])), TypeError, "MaskedArray", "a mask would be lost")
    fails(lambda c: ring(c, np.array([None])), TypeError, "dtype object", "remedy: convert it")
    fails(lambda c: ring(c, X, np.subtract), ValueError, "got op subtract", "use naive_allreduce")
    fails(lambda c: ring(c, X, lambda a, b: a + b), ValueError, "collectives.commutative(op)")
    fails(lambda c: ring(c, X, np.bitwise_or), TypeError, "got dtype float64 and op bitwise_or", "choose another op")
    fails(lambda c: naive(c, X, np.equal), TypeError, "op equal, which makes bool of it")
    fails(lambda c: naive(c, X, np.sqrt), TypeError, "op sqrt")
    fails(lambda c: naive(c, X, 3), TypeError, "got op 3", "remedy: pass np.add")
    fails(lambda c: naive(c, X, lambda a, b: a[:1]), TypeError, "of shape (1,)", "element by element")
    fails(lambda c: naive(c, X, root=3), ValueError, "got root=3, expected 0 to 2")
    fails(lambda c: collectives.central_barrier(c, -1), ValueError, "got root=-1, expected 0 to 2")
    fails(lambda c: ring(c, X, out=np.empty(5)), ValueError, "got out with shape (5,)", "np.empty((6,), 'float64')")
    fails(lambda c: ring(c, X, out=[0]), TypeError, "got out of type list")
    fails(lambda c: ring(c, X, out=np.ma.zeros(6)), TypeError, "ring_allreduce: got out of type MaskedArray")
    fails(lambda c: ring(c, X, out=np.empty(6, "f4")), ValueError, "dtype float32, writable, expected shape (6,)")
    fails(lambda c: ring(c, X, out=np.broadcast_to(0.0, 6)), ValueError, "dtype float64, read-only, expected")
    fails(lambda c: ring(c, X, []), ValueError, "ring_allreduce: got op [], expected a commutative one")
    fails(lambda c: naive(c, X.reshape(3, 2), np.matmul), TypeError, "op matmul")
    fails(lambda c: naive(c, np.arange(6), lambda a, b: a + 0.5), TypeError, "got float64 of shape (6,)")
    fails(lambda c: naive(c, X, lambda a, b: np.add(a, b, out=b)), ValueError, "read-only")
    fails(lambda c: naive(c, X, root=None), ValueError, "got root=None, expected 0 to 2")
    for f in (collectives.binomial_reduce, collectives.rabenseifner_reduce):
        fails(lambda c, f=f: f(c, X, root=3), ValueError, f"{f.__name__}: got root=3, expected 0 to 2")
    fails(lambda c: collectives.bcube_allreduce(c, X, base=0), ValueError, "got base=0, expected a whole number from 1")
    for f in (
        collectives.chain_broadcast, collectives.segmented_ring_allreduce, collectives.double_tree_allreduce
    ):  # fmt: skip
        fails(lambda c, f=f: f(c, X, segment_bytes=0), ValueError, f"{f.__name__}: got segment_bytes=0, expected a")
    fails(lambda c: gather(c, X, counts=2), ValueError, "got counts 2, expected an integer from 0 up")
    fails(lambda c: gather(c, X, counts=[6.0, 6, 6]), ValueError, "ring_allgather: got counts [6.0, 6, 6]")
    fails(lambda c: gather(c, X, counts=[6, 6]), ValueError, "for each of 3 ranks")
    fails(lambda c: gather(c, X, counts=[6, 6, 5]), ValueError, "on rank 2, 6 elements")


@pytest.mark.parametrize("operation", ["allreduce", "reduce", "reduce_scatter", "scan", "exscan"])
@pytest.mark.parametrize(
    ("op", "name", "remedy"),
    [
        (sum, "sum", "add"), (max, "max", "maximum"), (min, "min", "minimum"), (any, "any", "logical_or"),
        (np.sum, "np.sum", "add"), (np.max, "np.max", "maximum"), (np.prod, "np.prod", "multiply"),
        (np.add.reduce, "np.add.reduce", "add"), (np.maximum.accumulate, "np.maximum.accumulate", "maximum"),
        (np.mean, "np.mean", "add, and divide by the number of ranks"),
    ],
)  # fmt: skip
def test_functions_that_reduce_one_array_are_refused_as_ops(operation: str, op: Any, name: str, remedy: str) -> None:
    """sum(a, b) is an array like a, with a wrong value."""
    text = f": got op {name}, which works on one array, expected a NumPy ufunc or a function of two arrays; remedy: "
    ways = [getattr(collectives, operation), *(row.function for row in rows(operation))]
    for f in ways + [collectives.iallreduce] * (operation == "allreduce"):
        for p in (1, 3):
            fails(lambda c, f=f: f(c, X, op), TypeError, text + f"pass np.{remedy}", p=p)
    with pytest.raises(TypeError, match="commutative: got op"):
        collectives.commutative(op)


def test_an_op_that_fails_is_named_with_what_it_was_given() -> None:
    with pytest.raises(ValueError, match="ambiguous") as caught:
        ranks.run(lambda c: collectives.naive_allreduce(c, X, lambda a, b: max(a, b)), 2)
    assert any("naive_allreduce: op <lambda> of test_collectives.py:" in note for note in caught.value.__notes__)
    for result in ranks.run(lambda c: collectives.naive_allreduce(c, X, np.add.__call__), 2).results:
        same(result, 2 * X)


@pytest.mark.parametrize(
    "call",
    [
        lambda c, odd: collectives.ring_reduce_scatter(c, np.zeros(6, "f4" if odd else "f8")),
        lambda c, odd: collectives.ring_reduce_scatter(c, np.zeros((2, 3) if odd else (3, 2))),
        lambda c, odd: collectives.ring_reduce_scatter(c, X, np.maximum if odd else np.add),
        lambda c, odd: collectives.ring_allgather(c, np.zeros((2, 3) if odd else (3, 2))),
        lambda c, odd: collectives.ring_allgather(c, np.zeros(6, "i8" if odd else "f8")),
        lambda c, odd: collectives.ring_allreduce(c, np.zeros(6, "i8" if odd else "f8")),
        lambda c, odd: collectives.naive_allreduce(c, X, root=1 if odd else 2),
        *(
            lambda c, odd, f=row.function: f(c, X, root=1 if odd else 2)
            for operation in ("reduce", "broadcast")
            for row in rows(operation)
        ),
        *(
            lambda c, odd, f=row.function, kind=kind: f(c, np.zeros(7 if odd == kind else 6, "f4" if odd else "f8"))
            for operation in ("allreduce", "reduce", "broadcast")
            for row in rows(operation)
            for kind in (True, "no")
        ),
        lambda c, odd: collectives.naive_allreduce(c, X, (lambda a, b: a) if odd else np.add),
        lambda c, odd: collectives.central_barrier(c, 1 if odd else 2),
        *(
            lambda c, odd, f=f, other=other: (f if odd else other)(c)
            for f, other in pairwise([row.function for row in rows("barrier")])
        ),
    ],
)
def test_ranks_that_differ_in_any_argument_are_told_so(call: Any) -> None:
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(lambda comm: call(comm, comm.rank == 3), 5)
    assert list(caught.value.calls.values()) == [[0, 1, 2, 4], [3]]


def test_an_op_that_cannot_take_nothing_is_not_asked_to() -> None:
    op = collectives.commutative(lambda a, b: np.array([max(u, v) for u, v in zip(a, b, strict=True)]))
    for n in (0, 2):
        for result in ranks.run(lambda comm, n=n: collectives.ring_allreduce(comm, np.arange(n), op), 5).results:
            same(result, np.arange(n))


def test_ranks_that_disagree_are_told_who_is_the_outlier() -> None:
    def different_sizes(comm: Any) -> Any:
        return collectives.ring_allreduce(comm, np.zeros(8 if comm.rank == 2 else 6))

    def different_collectives(comm: Any) -> Any:
        if comm.rank == 0:
            return collectives.dissemination_barrier(comm)
        return collectives.ring_allreduce(comm, np.zeros(6))

    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(different_sizes, 4)
    assert list(caught.value.calls.values()) == [[0, 1, 3], [2]]
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(different_collectives, 4)
    assert list(caught.value.calls.values()) == [[1, 2, 3], [0]]
    assert "outlier   rank 0: dissemination_barrier()" in str(caught.value)
