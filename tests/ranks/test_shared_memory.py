"""Shared memory of one node: the claims on simulated ranks, costs, provenance, and the proof that nothing races."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectives
import collectives.shared
import collectives.staging_buffer
import ranks
from claims import DTYPES, LAYOUTS, OPS, OUTS, Case, claim_allreduce, fixed_cases, rank_order, same, values
from claims import claim_barriers_leave_nothing_behind as claim_barriers
from watched import Watch, Watched, watched, watched_shared_array

# Everything in these times can be told apart, and a node has room for all.
NODE = ranks.Network(
    name="node", inter=ranks.Link.of(5e-6, 1e9), intra=ranks.Link.of(1e-6, 7e9), ranks_per_node=64,
    overhead_ps=1234, reduce_fs_per_byte=77, eager_limit=24,
)  # fmt: skip
SIZES = [1, 2, 3, 4, 5, 7, 8, 13, 17]
BUFFERINGS = ["none", "eager", "infinite"]


@pytest.fixture
def small_stage(monkeypatch: Any) -> None:
    """Let pieces be so small that a test's arrays have many of them, of both kinds."""
    monkeypatch.setattr(collectives.staging_buffer, "slot_size", lambda p: 4096)
    monkeypatch.setattr(collectives.staging_buffer, "_WHOLE", 4096)
    monkeypatch.setattr(collectives.shared, "_IN_CACHE", 2048)


def in_shared_memory(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Return shared_allreduce of a copy of x, as an all-reduce of the usual kind."""
    shared = ranks.shared_array(comm, x.shape, x.dtype)
    shared.local[...] = x
    result = collectives.shared_allreduce(shared, op)
    assert result is shared.local
    if out is None:
        return result
    out[...] = result
    return out


ALLREDUCES = [collectives.staged_allreduce, in_shared_memory]
cases = st.builds(
    Case,
    shape=st.one_of(
        st.tuples(st.integers(0, 40)), st.lists(st.integers(0, 5), max_size=3).map(tuple), st.just((3000,))
    ),
    dtype=st.sampled_from(DTYPES),
    op=st.sampled_from(sorted(OPS)),
    layout=st.sampled_from(LAYOUTS),
    out=st.sampled_from(OUTS),
    seed=st.integers(0, 2**32),
).filter(Case.makes_sense)


@pytest.mark.parametrize("allreduce", ALLREDUCES, ids=lambda f: f.__name__)
@settings(max_examples=60)
@given(case=cases, p=st.sampled_from(SIZES), buffering=st.sampled_from(BUFFERINGS))
def test_claim_holds_on_simulated_ranks(allreduce: Any, case: Case, p: int, buffering: str) -> None:
    ranks.run(claim_allreduce, p, case, allreduce, rank_order, network=NODE, buffering=buffering)


@pytest.mark.usefixtures("small_stage")
@pytest.mark.parametrize("p", [2, 3, 5])
@pytest.mark.parametrize("allreduce", ALLREDUCES, ids=lambda f: f.__name__)
def test_claim_holds_in_many_pieces_one_call_after_the_other(allreduce: Any, p: int) -> None:
    def program(comm: Any) -> None:
        for case in fixed_cases():
            if np.prod(case.shape) <= 1000:
                claim_allreduce(comm, case, allreduce, rank_order)

    ranks.run(program, p, network=NODE)


@pytest.mark.parametrize("p", [*range(1, 18), 31, 64])
@pytest.mark.parametrize("n", [0, 1, 5, 17, 1000])
@pytest.mark.usefixtures("small_stage")
def test_each_element_holds_each_ranks_contribution_exactly_once(p: int, n: int) -> None:
    def disjoint_union(a: Any, b: Any) -> Any:
        assert not np.any(a & b), "a rank's contribution was counted twice"
        return a | b

    for allreduce in ALLREDUCES:
        run = ranks.run(
            lambda comm, f=allreduce: f(comm, np.full(n, 1 << comm.rank, np.uint64), disjoint_union), p, network=NODE
        )
        for result in run.results:
            same(result, np.full(n, (1 << p) - 1, np.uint64))


@pytest.mark.usefixtures("small_stage")
@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_ranks_are_reduced_in_order_even_by_an_op_that_is_not_associative(p: int) -> None:
    def mix(a: Any, b: Any) -> Any:
        return 31 * a + b

    for n in (1, 200, 3000):
        parts = [np.arange(n) + rank for rank in range(p)]
        for allreduce in ALLREDUCES:
            run = ranks.run(lambda comm, f=allreduce, x=parts: f(comm, x[comm.rank], mix), p, network=NODE)
            for result in run.results:
                same(result, np.asarray(reduce(mix, parts)))


@pytest.mark.usefixtures("small_stage")
@pytest.mark.parametrize("shift", [-700, -1, 0, 1, 700])
def test_out_may_overlap_x_in_any_way(shift: int) -> None:
    n = 2000

    def program(comm: Any) -> Any:
        memory = np.zeros(n + 1400, np.int64)
        x, out = memory[700 : 700 + n], memory[700 + shift : 700 + shift + n]
        x[...] = values(Case((n,), "i8", "add"), comm.rank)
        return collectives.staged_allreduce(comm, x, out=out)

    for p in (2, 3, 5):
        expected = rank_order([values(Case((n,), "i8", "add"), rank) for rank in range(p)], np.add)
        for result in ranks.run(program, p, network=NODE).results:
            same(np.array(result), expected)


# -- costs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("p", [*range(1, 9), 13, 16, 17])
def test_time_sends_and_rounds_equal_their_formulas(p: int, buffering: str) -> None:
    machine = collectives.Machine.of(NODE, p, buffering)
    programs = {
        "staged": lambda comm, n: collectives.staged_allreduce(comm, np.zeros(n)),
        "shared": lambda comm, n: collectives.shared_allreduce(ranks.shared_array(comm, n)),
        "flag": lambda comm, n: collectives.flag_barrier(comm),
    }
    formulas = {
        "staged": collectives.shared.staged_allreduce_cost,
        "shared": collectives.shared.shared_allreduce_cost,
        "flag": collectives.shared.flag_barrier_cost,
    }
    # The longest arrays with one way of buffering for each p: only the few messages that set up shared memory see it.
    for n in (0, 1, p, 5 * p + 3, 20_000, *[150_001] * (BUFFERINGS[p % 3] == buffering)):
        for name, program in programs.items():
            run = ranks.run(program, p, n, network=NODE, buffering=buffering, trace=p < 9)
            predicted = formulas[name](machine, n, 8)
            counted = run.trace.longest_chain() if p < 9 else predicted.rounds
            assert (run.time_ps, run.sends, run.bytes_sent, counted) == (
                predicted.time_ps, predicted.sends, predicted.bytes_sent, predicted.rounds,
            ), (name, n)  # fmt: skip


def test_a_sync_costs_what_the_docstring_says() -> None:
    for p in (2, 3, 8, 17):
        o, latency = NODE.overhead_ps, NODE.intra.latency_ps
        assert ranks.run(collectives.flag_barrier, p, network=NODE).time_ps == max(2 * (p - 1) * o, latency + p * o)


# -- barrier and races -----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(p=st.sampled_from(SIZES), delays=st.lists(st.integers(0, 10**7), min_size=17, max_size=17))
def test_no_rank_leaves_the_flag_barrier_before_every_rank_has_entered(p: int, delays: list[int]) -> None:
    def program(comm: Any) -> None:
        for turn in range(3):
            ranks.spend(comm, delays[(comm.rank + turn) % 17])
            with ranks.region(comm, "barrier"):
                collectives.flag_barrier(comm)

    assert ranks.run(program, p, network=NODE, trace=True).trace.left_before_entered("barrier") == []
    ranks.run(claim_barriers, p, Case((1,), "i8", "add"), collectives.flag_barrier, network=NODE)


def races(monkeypatch: Any, p: int, program: Any) -> list[tuple[int, int]]:
    """Return the races of `program(comm, watch)`, in which all shared memory and all results are watched."""
    watch = Watch(p)
    output = collectives.shared.output

    def watched_output(*arguments: Any) -> Any:
        result, whole = output(*arguments)
        return result, watched(whole, watch)

    monkeypatch.setattr(collectives.staging_buffer, "shared_array", watched_shared_array(watch))
    monkeypatch.setattr(collectives.shared, "output", watched_output)
    ranks.run(program, p, watch, network=NODE)
    assert any(write for *_, write in watch.accesses), "nothing was watched"
    return watch.races()


def several_staged(comm: Any, watch: Watch) -> None:
    for n in (10, 700, 1500, 3, 100, 2):
        collectives.staged_allreduce(comm, np.arange(n))
    collectives.flag_barrier(comm)
    collectives.staged_allreduce(comm, np.arange(600))


def several_shared(comm: Any, watch: Watch) -> None:
    shared = collectives.staging_buffer.shared_array(comm, 1000, np.int64)
    for _ in range(3):
        watch.rank = comm.rank
        shared.local[...] = np.ones(1000, np.int64)
        collectives.shared_allreduce(shared)


@pytest.mark.usefixtures("small_stage")
@pytest.mark.parametrize("p", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("program", [several_staged, several_shared], ids=lambda f: f.__name__)
def test_no_rank_touches_what_another_may_be_writing(monkeypatch: Any, p: int, program: Any) -> None:
    assert races(monkeypatch, p, program) == []


@pytest.mark.usefixtures("small_stage")
@pytest.mark.parametrize("fault", ["no first sync", "no second sync", "one slot"])
def test_a_missing_sync_or_slot_is_a_race(monkeypatch: Any, fault: str) -> None:
    def faulty(comm: Any, watch: Watch) -> None:
        stage = collectives.staging_buffer.StagingBuffer(comm, "faulty")
        real_sync = stage.shared.sync
        skipped = {"no first sync": 0, "no second sync": 1}.get(fault)
        count = iter(range(100))
        stage.shared.sync = lambda: None if next(count) % 2 == skipped else real_sync()
        x = np.arange(200)
        for _ in range(2):
            if fault == "one slot":
                stage.turn = 0
                stage.reduce_whole(x[:50], watched(x.copy(), watch)[:50], np.add)
            else:
                stage.reduce_blocks(x, watched(x.copy(), watch), np.add)

    assert races(monkeypatch, 3, faulty) != []


# -- wrong calls -----------------------------------------------------------------------------------------------


def fails(call: Any, kind: type[Exception], *texts: str, p: int = 3, network: Any = NODE) -> None:
    with pytest.raises(kind) as caught:
        ranks.run(call, p, network=network)
    for text in texts:
        assert text in str(caught.value)


def test_wrong_calls_say_what_to_do() -> None:
    x = np.arange(6.0)
    far = {"network": "ethernet"}
    fails(lambda c: ranks.shared_array(c, 3), ValueError, "not all on one node", "Split_type", **far)
    fails(lambda c: collectives.staged_allreduce(c, x), ValueError, "staged_allreduce: got a communicator of 3", **far)
    fails(collectives.flag_barrier, ValueError, "flag_barrier: got", "an algorithm that sends messages", **far)
    shared = lambda c: collectives.shared_allreduce(ranks.shared_array(c, 3), None)  # noqa: E731
    fails(shared, TypeError, "shared_allreduce: got op None", "expected")
    fails(lambda c: ranks.shared_array(c, 3, object), TypeError, "dtype object", "Python's references")
    fails(lambda c: ranks.shared_array(c, 3 + c.rank), ranks.CollectiveMismatchError, "shape=(4,)")
    fails(lambda c: collectives.staged_allreduce(c, [1]), TypeError, "staged_allreduce: got x of type list")
    fails(lambda c: collectives.staged_allreduce(c, x, np.sqrt), TypeError, "op sqrt")
    fails(lambda c: collectives.staged_allreduce(c, x, out=np.empty(5)), ValueError, "out with shape (5,)")
    fails(lambda c: collectives.staged_allreduce(c, x[: c.rank + 1]), ranks.CollectiveMismatchError, "shape=(2,)")
    giant = np.zeros(1, "V3000000")
    fails(lambda c: collectives.staged_allreduce(c, giant, lambda a, b: a), ValueError, "items of 3000000 bytes")
    fails(lambda c: collectives.shared_allreduce(ranks.shared_array(c, 3), np.bitwise_or), TypeError, "bitwise_or")
    fails(
        lambda c: collectives.shared_allreduce(ranks.shared_array(c, 3), np.maximum if c.rank else np.add),
        ranks.CollectiveMismatchError, "op=maximum",
    )  # fmt: skip


def test_a_rank_that_never_syncs_is_named() -> None:
    def program(comm: Any) -> None:
        if comm.rank != 1:
            collectives.flag_barrier(comm)

    with pytest.raises(ranks.DeadlockError, match="waits for rank 1, which has returned"):
        ranks.run(program, 3, network=NODE)


def test_another_op_gets_another_plan() -> None:
    def program(comm: Any) -> Any:
        shared = ranks.shared_array(comm, 2, int)
        shared.local[...] = comm.rank + 2
        collectives.shared_allreduce(shared, np.multiply)
        return collectives.shared_allreduce(shared, np.add).copy()

    for result in ranks.run(program, 2, network=NODE).results:
        same(result, np.array([12, 12]))


def test_a_watched_array_is_watched() -> None:
    watch = Watch(2)
    a = watched(np.zeros(4), watch)
    np.add(a[:2], 1.0, out=a[2:])
    a[:1] = a[3:]
    assert isinstance(a[1:], Watched)
    assert [(end - begin, write) for _, _, begin, end, write in watch.accesses] == [
        (16, False), (16, True), (8, True), (8, False),
    ]  # fmt: skip


def test_syncs_of_two_arrays_do_not_take_each_other_s_signals() -> None:
    """The ranks sync them in different orders, which hangs on real MPI too."""

    def program(comm: Any) -> None:
        arrays = [ranks.shared_array(comm, 1) for _ in range(2)]
        for array in arrays if comm.rank else arrays[::-1]:
            array.sync()

    with pytest.raises(ranks.DeadlockError):
        ranks.run(program, 2, network="nvlink")
