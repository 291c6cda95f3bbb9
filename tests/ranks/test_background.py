"""Claims about operations in the background, `ranks.start`: same results, order of waits free, overlap, errors."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectives
import ranks
from claims import OPS, Case, same, values
from collectives.reduction import is_commutative
from in_background import ALGORITHMS, claim, polled_for, waited_for
from inside import background
from test_collective_costs import MIXED, ROWS, call
from test_collectives import NETWORKS, cases

BUFFERINGS = ["none", "eager", "infinite"]
ALPHA_BETA = ranks.presets["alpha-beta"]  # 1 µs and 10 GB/s, nothing else


@settings(max_examples=20)
@given(
    case=cases, p=st.sampled_from([1, 2, 3, 4, 5, 8]), network=st.sampled_from([*NETWORKS, MIXED]),
    buffering=st.sampled_from(BUFFERINGS), way=st.sampled_from([waited_for, polled_for]),
    names=st.lists(st.sampled_from(sorted(ALGORITHMS)), min_size=4, max_size=4),
)  # fmt: skip
def test_what_holds_of_a_collective_holds_in_the_background(
    case: Case, p: int, network: Any, buffering: str, way: Any, names: list[str]
) -> None:
    def program(comm: Any) -> None:
        for name in names:
            claim(comm, case, name, way)

    ranks.run(program, p, network=network, buffering=buffering)


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("p", [1, 2, 5, 8])
def test_starting_and_waiting_at_once_costs_what_the_blocking_call_costs(p: int, buffering: str) -> None:
    for name in ROWS:
        program = call(name, 1000)
        # Where nothing or everything is buffered, an eager limit changes nothing.
        for network in (ranks.presets["infiniband"], MIXED)[: 1 + (buffering == "eager")]:
            one = ranks.run(program, p, network=network, buffering=buffering)
            other = ranks.run(waited_for(program), p, network=network, buffering=buffering)
            assert (one.times_ps, one.sends, one.bytes_sent) == (other.times_ps, other.sends, other.bytes_sent), name


OPERATIONS = [
    collectives.ring_allreduce, collectives.naive_allreduce, collectives.ring_allgather,
    collectives.ring_allreduce, collectives.ring_reduce_scatter,
]  # fmt: skip


def several_at_once(comm: Any, orders: list[list[int]]) -> None:
    """Start all operations, some twice and on a second communicator, and wait in this rank's own order."""
    other = comm.Dup()
    begun = []
    for index, operation in enumerate(OPERATIONS):
        for turn, where in enumerate((comm, other)):
            x = np.arange(6) + 100 * index + 10 * turn + comm.rank
            begun.append((operation, x, ranks.start(operation, where, x)))
    collectives.dissemination_barrier(other)
    expected = [operation(comm, x) for operation, x, _ in begun]
    for index in orders[comm.rank % len(orders)]:
        same(begun[index][2].wait(), expected[index])


@settings(max_examples=30)
@given(
    p=st.sampled_from([1, 2, 3, 4, 6]), buffering=st.sampled_from(BUFFERINGS),
    orders=st.lists(st.permutations(range(2 * len(OPERATIONS))), min_size=6, max_size=6),
)  # fmt: skip
def test_several_under_way_do_not_mix_and_may_be_waited_for_in_any_order(
    p: int, buffering: str, orders: list[list[int]]
) -> None:
    ranks.run(several_at_once, p, orders, buffering=buffering)


def two_steps(comm: Any, n: int, mark: int) -> int:
    """Exchange n elements one way and one the other way, then return the other rank's mark."""
    sizes, other, got = [1, n], 1 - comm.rank, np.zeros(1, int)
    comm.Sendrecv(np.zeros(sizes[other]), other, 1, np.zeros(sizes[comm.rank]), other, 1)
    ranks.announce(comm, "second step", mark=mark)  # in another order on each rank, and still no disagreement
    comm.Sendrecv(np.array([mark]), other, 2, got, other, 2)
    return int(got[0])


def test_operations_whose_steps_end_in_another_order_on_each_rank_need_tags_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def program(comm: Any) -> list[int]:
        # Rank 0 is done with the first step of the first one first, rank 1 with that of the second one.
        requests = [ranks.start(two_steps, comm, 100_000, 1), ranks.start(two_steps, comm, 1, 2)]
        return [request.wait() for request in requests]

    class SameForAll(int):
        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    run = ranks.run(program, 2, network=ALPHA_BETA, buffering="infinite")
    assert run.results == [[1, 2], [1, 2]]
    monkeypatch.setattr(background, "tag_block", lambda comm, number: SameForAll(32_768))
    mixed = ranks.run(program, 2, network=ALPHA_BETA, buffering="infinite")
    assert mixed.results == [[2, 1], [2, 1]]


# -- front doors ---------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    case=cases, p=st.sampled_from([1, 2, 3, 5, 8, 9]), network=st.sampled_from(NETWORKS),
    algorithm=st.sampled_from(["auto", "ring"]), way=st.sampled_from([waited_for, polled_for]),
)  # fmt: skip
def test_front_doors_give_what_their_blocking_namesakes_give(
    case: Case, p: int, network: Any, algorithm: str, way: Any
) -> None:
    def done(request: Any) -> Any:
        while way is polled_for and not request.Test():
            pass
        return request.wait() if way is waited_for else None

    def program(comm: Any) -> None:
        op, x, root = OPS[case.op], values(case, comm.rank), case.seed % comm.size
        kept, out, rows = x.copy(), np.empty_like(x), collectives.CATALOGUE["allreduce"]
        # In the background "auto" takes the fastest that shares no memory.
        ranked = [name for name, _ in collectives.explain(comm, "allreduce", x, op).candidates]
        picked = next(name for name in ranked if not rows[name].one_node)
        chosen = picked if algorithm == "auto" or not is_commutative(op) else algorithm
        done(collectives.iallreduce(comm, x, op, algorithm="auto" if chosen == picked else chosen, out=out))
        same(out, rows[chosen].function(comm, x, op))
        done(collectives.ibroadcast(comm, x, root=root, out=out))
        same(out, collectives.broadcast(comm, x, root=root))
        blocks = np.stack([x] * comm.size)
        target = np.empty_like(blocks)
        done(collectives.ialltoall(comm, blocks, out=target))
        same(target, collectives.alltoall(comm, blocks))
        same(x, kept)

    ranks.run(program, p, network=network)


# -- overlap ---------------------------------------------------------------------------------------------------

US = 1_000_000  # picoseconds


def test_messages_travel_while_the_rank_computes_and_each_wait_or_test_starts_the_next_step() -> None:
    x = np.zeros(10_000)  # 80,000 B; a step of the ring of 2 ranks sends half: 1 + 4 µs
    step = 5 * US

    def blocking(comm: Any) -> None:
        collectives.ring_allreduce(comm, x)
        ranks.spend(comm, 10 * US)

    def overlapped(comm: Any, tests: int) -> None:
        request = ranks.start(collectives.ring_allreduce, comm, x)
        for _ in range(tests):
            ranks.spend(comm, 10 * US // (tests + 1))
            request.Test()
        ranks.spend(comm, 10 * US // (tests + 1))
        request.Wait()

    network = ALPHA_BETA
    assert ranks.run(blocking, 2, network=network).time_ps == 2 * step + 10 * US
    assert ranks.run(overlapped, 2, 0, network=network).time_ps == 10 * US + step  # the first step is hidden
    assert ranks.run(overlapped, 2, 1, network=network).time_ps == 10 * US + network.poll_ps  # both; Test looks again


def test_start_sends_all_that_is_buffered_and_receives_nothing_without_a_test() -> None:
    def two_sends(comm: Any) -> None:
        for dest in (1, 2) if comm.rank == 0 else ():
            comm.Send(np.zeros(1), dest, 0)
        if comm.rank:
            comm.Recv(np.zeros(1), 0, 0)

    def early(comm: Any) -> None:
        request = ranks.start(two_sends, comm)
        ranks.spend(comm, 50 * US if comm.rank == 0 else 0)
        request.Wait()

    network = ranks.Network(name="alpha", inter=ranks.Link(US, 0), intra=ranks.Link(US, 0), ports=False)
    assert ranks.run(early, 3, network=network).times_ps == [50 * US, US, US]

    def answer(comm: Any) -> None:
        if comm.rank:
            comm.Recv(np.zeros(1), 0, 0)
        comm.Send(np.zeros(1), 1 - comm.rank, 0)
        if not comm.rank:
            comm.Recv(np.zeros(1), 1, 0)

    def late(comm: Any) -> None:
        ranks.spend(comm, 10 * US * comm.rank)
        request = ranks.start(answer, comm)  # on rank 1 the message is there already
        ranks.spend(comm, 10 * US * comm.rank)
        request.Wait()

    assert ranks.run(late, 2, network=network).times_ps == [21 * US, 20 * US]


def test_a_test_that_finds_nothing_takes_the_time_of_a_poll() -> None:
    def program(comm: Any) -> int:
        request = ranks.start(collectives.ring_allreduce, comm, np.zeros(2))
        polls = 1
        while not request.Test():
            polls += 1
        return polls

    run = ranks.run(program, 2, network=ALPHA_BETA)
    assert run.results[0] > 2
    assert run.time_ps >= 2 * US


# -- what may go wrong -----------------------------------------------------------------------------------------


def fails(program: Any, kind: type[Exception], *texts: str, p: int = 3) -> Exception:
    with pytest.raises(kind) as caught:
        ranks.run(program, p)
    for text in texts:
        assert text in str(caught.value)
    return caught.value


def test_a_request_that_nobody_waited_for_is_reported_by_the_line_that_started_it() -> None:
    def program(comm: Any) -> None:
        request = ranks.start(collectives.naive_allreduce, comm, np.zeros(3))
        if comm.rank != 1:
            request.Wait()
        else:
            request.Test()

    line = inspect.getsourcelines(program)[1] + 1
    error = fails(
        program, ranks.UnfinishedRequestError, "start(naive_allreduce)", "keep the request and Wait for it", p=2
    )
    assert (error.rank, error.site) == (1, f"test_background.py:{line}")
    # Alone an operation ends at once; it has to be waited for all the same.
    fails(lambda c: ranks.start(collectives.ring_allreduce, c, np.zeros(3)), ranks.UnfinishedRequestError, p=1)


def test_a_wrong_argument_is_an_error_of_start_and_what_fails_later_is_one_of_wait() -> None:
    def program(comm: Any) -> None:
        with pytest.raises(TypeError, match="ring_allreduce: got x of type list"):
            ranks.start(collectives.ring_allreduce, comm, [1])
        later = collectives.commutative(lambda a, b: 1 / 0)
        request = ranks.start(collectives.ring_allreduce, comm, np.ones(3), later)
        good = ranks.start(collectives.ring_allreduce, comm, np.ones(3))
        same(good.wait(), np.full(3, 3.0))
        assert request
        with pytest.raises(ZeroDivisionError):
            request.Wait()
        assert not request
        assert request.wait() is None

    ranks.run(program, 3)


def test_a_complete_request_is_false_and_gives_its_result_once() -> None:
    def program(comm: Any) -> None:
        request = ranks.start(collectives.ring_allreduce, comm, np.ones(1))
        assert request
        assert repr(request) == "<active request of ring_allreduce>"
        same(request.wait(), np.full(1, float(comm.size)))
        assert not request
        assert repr(request) == "<complete request of ring_allreduce>"
        assert request.wait() is None
        assert request.test() == (True, None)
        assert request.Test() is True
        assert request.Wait() is True

    ranks.run(program, 3)


def test_only_who_started_it_may_wait() -> None:
    shared: dict[int, Any] = {}

    def program(comm: Any) -> None:
        shared[comm.rank] = ranks.start(collectives.ring_allreduce, comm, np.ones(1))
        collectives.dissemination_barrier(comm)
        shared[1 - comm.rank].Wait()

    fails(program, ranks.InvalidHandleError, "another rank or thread has started", "remedy: wait where", p=2)


def test_what_cannot_run_in_the_background_is_refused() -> None:
    x = np.zeros(2)
    fails(lambda c: ranks.start(3, c), TypeError, "start: got operation=3, expected a function of comm")
    fails(
        lambda c: ranks.start(lambda c: c.Split(0), c),
        TypeError,
        "Split: got a call by an operation",
        "Issend or Irecv",
    )
    fails(lambda c: ranks.start(lambda c: c.send(1, 0), c), TypeError, "send: got a call by an operation")
    fails(lambda c: ranks.start(lambda c: c.Irecv(x, 0, 0).Test(), c), TypeError, "Test: got a call by an operation")
    fails(lambda c: ranks.start(lambda c: c.Recv(x, 0), c), ranks.InvalidTagError, "tag=None", "name the tag")
    fails(lambda c: ranks.start(lambda c: c.Recv(x, 0, 32_768), c), ranks.InvalidTagError, "a tag from 0 to 32767")
    foreign = ranks.Status()
    fails(lambda c: ranks.start(lambda c: c.Recv(x, 0, 1, foreign), c), TypeError, "expected mpi_of(comm).Status()")
    fails(
        lambda c: ranks.start(lambda c: ranks.start(collectives.ring_allreduce, c, x), c), TypeError,
        "start: got a call in the background",
    )  # fmt: skip
    fails(lambda c: ranks.start(lambda c: c.Isend(x, 7), c), ranks.InvalidRankError, "got dest=7, expected 0 to 2")


def test_all_calls_that_are_offered_work_in_the_background() -> None:
    def operation(comm: Any) -> Any:
        names, left, right = ranks.mpi_of(comm), (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
        assert (comm.Get_rank(), comm.Get_size()) == (comm.rank, comm.size)
        x, came = np.array([comm.rank]), [np.full(1, -1) for _ in range(5)]
        comm.Sendrecv(x, right, 1, came[0], left, 1)
        requests = [comm.Irecv(came[1], left, 2), comm.Irecv(came[2], left, 3), comm.Issend(x, right, 3)]
        assert all(requests)
        requests.append(comm.Isend(x, right, 2))
        names.Request.Waitall(requests)
        names.Request.Waitall([])
        assert not any(requests)
        request = comm.Irecv(came[3], names.ANY_SOURCE, 4)
        comm.Ssend(x, right, 4) if comm.size > 1 else comm.Send(x, right, 4)
        request.Wait()
        comm.Send(x, names.PROC_NULL, 5)
        if comm.rank:
            comm.Recv(came[4], tag=6)
        else:
            for other in range(1, comm.size):
                comm.Send(x, other, 6)
        return [int(each[0]) for each in came]

    for p in (2, 3):
        run = ranks.run(lambda comm: ranks.start(operation, comm).wait(), p)
        assert run.results == [[(r - 1) % p] * 4 + [0 if r else -1] for r in range(p)]


def test_statuses_in_the_background_are_those_of_the_operation() -> None:
    def operation(comm: Any) -> list[tuple[int, int, int]]:
        names, other, came = ranks.mpi_of(comm), 1 - comm.rank, np.zeros(9)
        one, two, three, four = (names.Status() for _ in range(4))
        comm.Sendrecv(np.zeros(3), other, 1, came, other, 1, one)
        sending = comm.Isend(np.zeros(4), other, 2)
        comm.Recv(came, names.ANY_SOURCE, 2, two)
        requests = [comm.Irecv(came, other, 3), comm.Issend(np.zeros(5), other, 3), sending]
        names.Request.Waitall(requests, [three])
        request = comm.Irecv(came, other, 4)
        comm.Send(np.zeros(6), other, 4)
        request.Wait(four)
        return [(s.Get_count(names.DOUBLE), s.Get_source(), s.tag) for s in (one, two, three, four)]

    def program(comm: Any) -> Any:
        requests = [ranks.start(operation, comm) for _ in range(2)]
        return [request.wait() for request in (requests[:: -1 if comm.rank else 1])]

    for way in (program, lambda comm: [polled_for(operation)(comm)]):
        for rank, results in enumerate(ranks.run(way, 2).results):
            for result in results:
                assert result == [(3 + i, 1 - rank, 1 + i) for i in range(4)]


def keeps(comm: Any, mark: int) -> list[int]:
    """Receive a neighbour's mark into memory that is kept for the next call on this communicator."""
    scratch = ranks.kept(comm, keeps, lambda: np.zeros(1, int))
    comm.Sendrecv(np.array([mark]), (comm.rank + 1) % comm.size, 1, scratch, (comm.rank - 1) % comm.size, 1)
    return [mark, int(scratch[0])]


def test_what_is_kept_for_a_communicator_is_not_shared_by_operations_under_way() -> None:
    def program(comm: Any) -> list[list[int]]:
        keeps(comm, 0)
        requests = [ranks.start(keeps, comm, mark) for mark in (1, 2)]
        return [request.wait() for request in requests]

    assert ranks.run(program, 2).results == [[[1, 1], [2, 2]]] * 2


def test_more_operations_than_tags_can_tell_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "tag_block", lambda comm, number: 32_768 * (1 + number % 3))

    def program(comm: Any, n: int) -> None:
        for _ in range(5):
            requests = [ranks.start(collectives.ring_allreduce, comm, np.ones(1)) for _ in range(n)]
            for request in requests:
                request.Wait()

    ranks.run(program, 2, 3)
    with pytest.raises(RuntimeError, match="got 3 operations under way, expected fewer, so that their tags"):
        ranks.run(program, 2, 4)


# -- agreement -------------------------------------------------------------------------------------------------


def test_ranks_that_start_different_things_or_in_another_order_are_told_so() -> None:
    def sizes(comm: Any) -> None:
        ranks.start(collectives.ring_allreduce, comm, np.ones(4 if comm.rank == 1 else 3)).Wait()

    def orders(comm: Any) -> None:
        both = [collectives.ring_allreduce, collectives.naive_allreduce]
        for operation in both[::-1] if comm.rank == 2 else both:
            ranks.start(operation, comm, np.ones(1))

    def blocking(comm: Any) -> None:
        if comm.rank:
            ranks.start(collectives.dissemination_barrier, comm).Wait()
        else:
            collectives.dissemination_barrier(comm)

    for program, outlier in ((sizes, 1), (orders, 2), (blocking, 0)):
        with pytest.raises(ranks.CollectiveMismatchError) as caught:
            ranks.run(program, 4)
        assert list(caught.value.calls.values()) == [[r for r in range(4) if r != outlier], [outlier]]
        assert "test_background.py:" in str(caught.value)


def test_a_deadlock_in_the_background_names_the_wait() -> None:
    def lonely(comm: Any) -> None:
        comm.Recv(np.zeros(1), (comm.rank + 1) % comm.size, 0)

    def program(comm: Any) -> None:
        ranks.start(lonely, comm).Wait()  # here

    line = inspect.getsourcelines(program)[1] + 1
    error = fails(program, ranks.DeadlockError, "Wait()", f"test_background.py:{line}", "wait for each other", p=2)
    assert error.core == [0, 1]


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_waitall_takes_messages_and_what_was_started_together(buffering: str) -> None:
    """The message comes only after the other rank's part of the operation, and the other way round."""

    def program(comm: ranks.Comm) -> Any:
        other, x, status = 1 - comm.rank, np.zeros(2), [ranks.Status() for _ in range(4)]
        if comm.rank == 0:
            requests = [comm.Irecv(x, 1, 3), ranks.start(collectives.ring_allreduce, comm, np.array([1]))]
            requests += [comm.isend("late", 1, 4), ranks.REQUEST_NULL]
            objects = ranks.Request.waitall(requests, status)
            return objects[1].tolist(), x.tolist(), status[0].Get_tag(), any(requests)
        total = ranks.start(collectives.ring_allreduce, comm, np.array([2])).wait()
        comm.Send(np.full(2, 7.0), other, 3)
        return total.tolist(), comm.recv(source=0, tag=4)

    results = ranks.run(program, 2, buffering=buffering).results
    assert results == [([3], [7, 7], 3, False), ([3], "late")]
    assert ranks.explore(program, 2, max_runs=200).verdict != "fails"
