"""Claims about faults: what breaks is named, nothing hangs, no wrong result is returned, and all of it comes again."""

from __future__ import annotations

import inspect
from random import Random
from typing import Any

import numpy as np
import pytest

import ranks
from claims import CLAIMS, Case
from inside import BUFFERINGS
from ranks import Crash, Delay, Drop, Duplicate, Partition, SlowLink, Straggler

US = 1_000_000
FREE = ranks.Network(name="free", inter=ranks.Link(1000, 1000), ports=False, overhead_ps=10, eager_limit=64)
NAMED = (ranks.DeadlockError, ranks.MessageLostError, ranks.DuplicateMessageError)


def around(comm: Any) -> list[int]:
    """Pass each rank's number around the ring."""
    seen = [comm.rank]
    for _ in range(comm.size - 1):
        seen.append(comm.sendrecv(seen[-1], (comm.rank + 1) % comm.size))
    return seen


def stream(comm: Any, n: int = 5, call: str = "send") -> Any:
    """Send n numbered messages from rank 0 to rank 1."""
    if comm.rank == 0:
        return [getattr(comm, call)(k, 1) for k in range(n)] and None
    return [comm.recv(source=0) for _ in range(n)]


def fails_with(kind: type[Exception], program: Any, size: int, *faults: Any, args: Any = (), **options: Any) -> Any:
    with pytest.raises(kind) as caught:
        ranks.run(program, size, *args, faults=faults, **options)
    assert type(caught.value) is kind
    return caught.value


# -- any faults --------------------------------------------------------------------------------------------------


def some_faults(draw: Random, p: int) -> list[Any]:
    rank, other = draw.randrange(p), draw.randrange(p)
    kinds = [
        lambda: Crash(rank=rank, send=draw.randint(1, 6)),
        lambda: Crash(rank=rank, time_ps=draw.randint(0, 20 * US)),
        lambda: Delay(source=rank, by_ps=draw.randint(0, 50 * US), probability=0.5),
        lambda: Drop(source=rank, dest=other, nth=draw.randint(1, 4)),
        lambda: Drop(probability=0.1),
        lambda: Duplicate(source=rank, nth=draw.randint(1, 4)),
        lambda: Duplicate(probability=0.1),
        lambda: Straggler(rank=rank, factor=3.5),
        lambda: SlowLink(source=rank, factor=7),
        lambda: Partition(ranks=[rank], start_ps=draw.randint(0, 9 * US), end_ps=30 * US),
        lambda: Partition(ranks=[rank], start_ps=draw.randint(0, 9 * US)),
    ]
    return [draw.choice(kinds)() for _ in range(draw.randint(1, 2))]


def ending(program: Any, p: int, *args: Any, **options: Any) -> Any:
    """Return how a run ends, and when; what it returned is checked by the program."""
    try:
        run = ranks.run(program, p, *args, **options)
    except NAMED as problem:
        return str(problem)
    return run.times_ps, run.sends


@pytest.mark.parametrize("claim", ["ring_allreduce", "naive_allreduce", "ring_allgather", "dissemination_barrier"])
def test_a_collective_under_any_faults_ends_right_or_with_an_error_that_names_them(claim: str, seeds: Any) -> None:
    """The claims check each result themselves: a wrong one would be an AssertionError."""
    ends = []
    for seed in seeds(60):
        draw = Random(f"{claim} {seed}")
        p = draw.choice([2, 3, 4, 5])
        options: Any = {"faults": some_faults(draw, p), "buffering": draw.choice(BUFFERINGS), "seed": seed}
        case = Case((draw.choice([0, 1, 9]),), "<i8", "add", seed=seed)
        ends.append(ending(CLAIMS[claim], p, case, **options))
        assert ends[-1] == ending(CLAIMS[claim], p, case, **options), "it does not come again"
    assert {type(end) for end in ends} == {str, tuple}, "all of these faults had the same effect"


# -- ranks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("send", [1, 2, 3])
def test_a_crash_is_named_with_its_call_and_those_who_wait(send: int, buffering: str) -> None:
    error = fails_with(ranks.RankFailedError, around, 4, Crash(rank=2, send=send), buffering=buffering)
    line = inspect.getsourcelines(around)[1] + 4
    how = f"crashed in its send number {send}, in sendrecv(dest=3, sendtag=0, source=ANY_SOURCE, recvtag=ANY_TAG, int)"
    assert error.failed == {2: f"{how} at test_faults.py:{line}"}
    assert "rank 2 has crashed, and rank" in str(error)
    assert {each.rank for each in error.blocked} <= {0, 1, 3} != set()
    assert f"  rank 2 {how}" in str(error)
    assert error.replay.endswith(f"faults=[ranks.Crash(rank=2, send={send})])")
    with pytest.raises(ranks.RankFailedError) as again:
        eval(error.replay)
    assert str(again.value) == str(error)


def test_a_crash_that_nobody_waits_for_is_an_error_too() -> None:
    error = fails_with(ranks.RankFailedError, lambda comm: comm.rank, 3, Crash(rank=1, time_ps=0))
    assert "rank 1 has crashed, all others have returned" in str(error)
    assert (error.core, error.blocked) == ([], [])


def test_a_crash_at_a_time_comes_in_the_first_call_at_or_after_it() -> None:
    def program(comm: Any) -> None:
        for n in range(5):
            if comm.rank:
                ranks.spend(comm, 10 * US)
                comm.send(n, 0)
            else:
                comm.recv(source=1)
                got.append(n)

    for time_ps, arrived in ((0, 0), (10 * US, 0), (10 * US + 1, 1), (30 * US, 2), (45 * US, 4)):
        got: list[int] = []
        error = fails_with(ranks.RankFailedError, program, 2, Crash(rank=1, time_ps=time_ps), network=FREE)
        assert len(got) == arrived
        assert "waits for rank 1, which has crashed, to send" in str(error)


def test_a_rank_crashes_in_a_receive_like_one_that_it_has_made_before() -> None:
    def program(comm: Any) -> None:
        b = np.zeros(1)
        if comm.rank:
            return comm.Send(b, 0)
        comm.Recv(b, 1)
        ranks.spend(comm, 5 * US)
        comm.Recv(b, 1)

    error = fails_with(ranks.RankFailedError, program, 2, Crash(rank=0, time_ps=4 * US))
    assert "rank 0 has crashed" in str(error)


def test_a_crashed_rank_neither_sends_nor_receives_in_its_finally_blocks() -> None:
    def program(comm: Any) -> Any:
        try:
            return comm.sendrecv(comm.rank, 1 - comm.rank)
        finally:
            heard.append((comm.rank, comm.recv(source=1 - comm.rank)))
            comm.send("last words", 1 - comm.rank)

    heard: list[Any] = []
    error = fails_with(ranks.RankFailedError, program, 2, Crash(rank=0, send=1))
    assert list(error.failed) == [0]
    assert [each.rank for each in error.blocked] == [1]
    assert heard == []


def test_a_send_to_a_rank_that_crashed_after_it_had_posted_its_receive_never_returns() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            comm.irecv(source=1)
            comm.send("never", 1)
        else:
            ranks.spend(comm, US)
            comm.ssend("into the void", 0)
            raise AssertionError("the send has returned")

    error = fails_with(ranks.RankFailedError, program, 2, Crash(rank=0, send=1))
    assert [each.rank for each in error.blocked] == [1]


def test_what_a_crashed_rank_offered_unbuffered_is_gone_and_what_was_buffered_arrives() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            requests = [comm.isend(n, 1) for n in range(2)]
            comm.send("never", 2)
            ranks.Request.waitall(requests)
        elif comm.rank == 1:
            ranks.spend(comm, 100 * US)
            got.append(comm.recv())

    for buffering, arrived in (("none", 0), ("infinite", 1)):
        got: list[int] = []
        fails_with(ranks.RankFailedError, program, 3, Crash(rank=0, send=3), buffering=buffering)
        assert len(got) == arrived


@pytest.mark.parametrize("factor", [1, 1.5, 10])
def test_a_straggler_is_slower_at_its_work_and_its_side_of_messages_only(factor: float) -> None:
    def program(comm: Any) -> None:
        ranks.spend(comm, 1000)
        stream(comm, 1)

    plain = ranks.run(program, 2, network=FREE).times_ps
    sender = ranks.run(program, 2, network=FREE, faults=[Straggler(rank=0, factor=factor)]).times_ps
    receiver = ranks.run(program, 2, network=FREE, faults=[Straggler(rank=1, factor=factor)]).times_ps
    late = round((factor - 1) * 1010)
    assert sender == [plain[0] + late, plain[1] + late]
    assert receiver[0] == plain[0]
    # The receiver's work overlaps with the message's way; only what is longer than that shows, and its own overhead.
    arrival = plain[1] - 10
    assert receiver[1] == max(arrival, round(1000 * factor)) + round(10 * factor)


@pytest.mark.parametrize("factor", [1, 2.5])
def test_a_straggler_is_slower_at_reductions(factor: float) -> None:
    network = ranks.Network(name="reduces", inter=ranks.Link(1000, 1000), ports=False, reduce_fs_per_byte=500_000)

    def program(comm: Any) -> None:
        charge = ranks.reduction_clock(comm)
        assert charge is not None
        charge(80)

    times = ranks.run(program, 2, network=network, faults=[Straggler(rank=1, factor=factor)]).times_ps
    assert times == [40_000, round(40_000 * factor)]


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_delay_is_added_to_the_time_and_order_is_kept() -> None:
    plain = ranks.run(stream, 2, network=FREE)
    late = ranks.run(stream, 2, network=FREE, faults=[Delay(source=0, nth=2, by_ps=US)])
    assert late.results == plain.results
    # All five leave within 50 ps and the second is the last to come: three more receives follow it.
    assert late.time_ps == 10 + 10 + 1005 + US + 4 * 10
    for fault in (Delay(source=1, by_ps=US), Delay(dest=0, by_ps=US), Delay(tag=3, by_ps=US), Delay(nth=9, by_ps=US)):
        assert ranks.run(stream, 2, network=FREE, faults=[fault]).times_ps == plain.times_ps


def test_a_slow_link_takes_its_factor_times_latency_and_bandwidth_one_way_only() -> None:
    def program(comm: Any) -> None:
        comm.Sendrecv(np.zeros(2), 1 - comm.rank, 0, np.zeros(2), 1 - comm.rank)

    fault = SlowLink(source=0, dest=1, factor=3)
    assert ranks.run(program, 2, network=FREE).times_ps == [1036, 1036]  # 10 + 1000 + 16 + 10
    assert ranks.run(program, 2, network=FREE, faults=[fault]).times_ps == [1036, 10 + 3 * 1016 + 10]


@pytest.mark.parametrize("network", [FREE, None])
def test_a_partition_holds_messages_until_it_heals(network: Any) -> None:
    def program(comm: Any) -> Any:
        ranks.spend(comm, 10 * US)
        return around(comm)

    plain = ranks.run(program, 4, network=network)
    healed = ranks.run(program, 4, network=network, faults=[Partition(ranks=[0, 1], start_ps=0, end_ps=50 * US)])
    assert healed.results == plain.results
    assert 50 * US < healed.time_ps <= plain.time_ps + 40 * US
    for over in ([0, 5 * US], [10**9, 10**10]):
        fault = Partition(ranks=[0, 1], start_ps=over[0], end_ps=over[1])
        assert ranks.run(program, 4, network=network, faults=[fault]).times_ps == plain.times_ps


@pytest.mark.parametrize("fault", [Drop(source=0, nth=5), Partition(ranks=[1], start_ps=0)])
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_a_lost_message_that_is_waited_for_is_named(fault: Any, buffering: str) -> None:
    error = fails_with(ranks.DeadlockError, stream, 2, fault, buffering=buffering)
    assert error.lost
    assert error.lost[0].startswith("lost: 5 B from rank 0 to rank 1, tag 0, sent at t=")
    assert error.lost[0].endswith(repr(fault))
    assert all(f"  {line}" in str(error) for line in error.lost)
    with pytest.raises(ranks.DeadlockError) as again:
        eval(error.replay)
    assert str(again.value) == str(error)


def test_a_message_in_the_place_of_a_lost_one_is_an_error() -> None:
    error = fails_with(ranks.MessageLostError, stream, 2, Drop(source=0, nth=2))
    assert "got message 3 of rank 0 in the place of its message 2, which was lost (Drop(source=0, nth=2))" in str(error)
    assert error.rank == 1


def test_a_lost_message_with_another_tag_is_no_reason_to_refuse_one() -> None:
    def program(comm: Any) -> Any:
        if comm.rank == 0:
            comm.send("lost", 1, tag=1)
            return comm.send("arrived", 1, tag=2)
        got.append(comm.recv(source=0, tag=2))
        return comm.recv(source=0, tag=1)

    got: list[str] = []
    error = fails_with(ranks.DeadlockError, program, 2, Drop(tag=1))
    assert len(error.lost) == 1
    assert got == ["arrived"]


@pytest.mark.parametrize("network", [FREE, None])
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_a_wildcard_does_not_see_a_lost_message(network: Any, buffering: str) -> None:
    def program(comm: Any) -> Any:
        return comm.send("lost", 1) if comm.rank == 0 else comm.recv()

    error = fails_with(ranks.DeadlockError, program, 2, Drop(), network=network, buffering=buffering)
    assert len(error.lost) == 1


def test_a_trace_has_both_copies_of_a_message() -> None:
    def program(comm: Any) -> Any:
        return comm.send("twice", 1) if comm.rank == 0 else [comm.recv(), comm.recv()]

    run = ranks.run(program, 2, trace=True, faults=[Duplicate(tolerated=True)])
    assert run.results[1] == ["twice", "twice"]
    assert run.sends == [2, 0]
    assert [event.kind for event in run.trace.events if event.kind in ("send", "receive")].count("send") == 2
    assert len({event.message for event in run.trace.events if event.message >= 0}) == 2  # others are no messages


def test_a_message_that_is_lost_does_not_come_twice() -> None:
    faults = Duplicate(nth=1, tolerated=True), Drop(nth=1, tolerated=True)
    error = fails_with(ranks.DeadlockError, stream, 2, *faults, args=(1,))
    assert len(error.lost) == 1
    assert [each.rank for each in error.blocked] == [1]


def test_a_lost_message_that_nobody_waits_for_is_an_error() -> None:
    def program(comm: Any) -> Any:
        return comm.send(1, 1) if comm.rank == 0 else comm.iprobe()

    error = fails_with(ranks.MessageLostError, program, 2, Drop(source=0))
    assert "1 lost messages that nobody waited for, the first from rank 0, tag 0" in str(error)


@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_a_second_copy_is_an_error_when_it_is_received_and_when_it_is_left_over(buffering: str) -> None:
    error = fails_with(ranks.DuplicateMessageError, stream, 2, Duplicate(nth=2), buffering=buffering)
    assert "got a second copy of message 2 of rank 0 (Duplicate(nth=2))" in str(error)
    error = fails_with(ranks.DuplicateMessageError, stream, 2, Duplicate(nth=5), buffering=buffering)
    assert "got a second copy of message 5 of rank 0, tag 0, that nobody had received (Duplicate(nth=5))" in str(error)


def test_a_program_made_for_it_gets_right_results_on_a_bad_network() -> None:
    """Stop and wait: number each message, send it until it is acknowledged, and drop what was seen."""

    def program(comm: Any, n: int) -> Any:
        other = 1 - comm.rank
        if comm.rank == 0:
            for k in range(n):
                acknowledged = False
                while not acknowledged:
                    comm.send(k, other, tag=1)
                    for _ in range(200):
                        if comm.iprobe(source=other, tag=2):
                            acknowledged = comm.recv(source=other, tag=2) == k
                            break
            for _ in range(50):  # the other may have missed that it is over
                comm.send(None, other, tag=1)
            while comm.iprobe(source=other, tag=2):
                comm.recv(source=other, tag=2)
            return None
        got: list[int] = []
        while (k := comm.recv(source=other, tag=1)) is not None:
            if k == len(got):
                got.append(k)
            comm.send(k, other, tag=2)
        ranks.spend(comm, 10**9)
        while comm.iprobe(source=other, tag=1):
            comm.recv(source=other, tag=1)
        return got

    losses = 0
    for seed in range(10):
        faults = [Drop(probability=0.3, tolerated=True), Duplicate(probability=0.2, tolerated=True)]
        run = ranks.run(program, 2, 8, faults=faults, seed=seed)
        assert run.results[1] == list(range(8))
        losses += run.sends[0] - 58
    assert losses > 20


def test_probability_and_seed_decide_what_is_struck() -> None:
    def n_lost(seed: int, probability: float) -> int:
        with pytest.raises(ranks.DeadlockError) as caught:
            ranks.run(stream, 2, 300, faults=[Drop(probability=probability, tolerated=True)], seed=seed)
        return len(caught.value.lost) - 1 + int(caught.value.lost[-1].split()[1]) if probability < 1 else 300

    counts = [n_lost(seed, 0.3) for seed in range(8)]
    assert counts == [n_lost(seed, 0.3) for seed in range(8)]
    assert len(set(counts)) > 2
    # Mean 90, standard deviation 8: five of these either way.
    assert all(50 < count < 130 for count in counts)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Crash(rank=0), lambda: Crash(rank=0, send=1, time_ps=1), lambda: Crash(rank=0, send=0),
        lambda: Crash(rank=0, time_ps=-1), lambda: Delay(by_ps=-1), lambda: Drop(probability=1.5),
        lambda: Drop(nth=0), lambda: Straggler(rank=0, factor=0.5), lambda: SlowLink(factor=0),
        lambda: Partition(ranks=[0], start_ps=5, end_ps=4),
    ],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^\w+: got \w+\(.*\), expected .*; remedy: "):
        make()


@pytest.mark.parametrize(
    "fault", [Crash(rank=2, send=1), Drop(source=5), SlowLink(dest=-1, factor=2), Partition(ranks=[7])]
)
def test_a_fault_of_a_rank_that_is_none_is_refused(fault: Any) -> None:
    with pytest.raises(ValueError, match="expected ranks from 0 to 1; remedy: name ranks of the world"):
        ranks.run(around, 2, faults=[fault])
    with pytest.raises(TypeError, match="remedy: make one"):
        ranks.run(around, 2, faults=["crash"])
