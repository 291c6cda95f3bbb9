"""Claims about polls for what can never come: a loop of them is a livelock at once, a number of them is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranks
from ways import BUFFERINGS, NETWORKS, says_yes

MOST_POLLS = 500


def receive(comm: ranks.Comm) -> Any:
    return comm.Irecv(np.zeros(1), 1, 7)


def of_requests(name: str, others: bool = False) -> Callable[[Any], Callable[[], Any]]:
    """Return how to poll by `name` for a receive; with others, which are complete, beside it."""

    def make(comm: ranks.Comm) -> Callable[[], Any]:
        requests = [receive(comm), ranks.REQUEST_NULL]
        if others:
            requests += [comm.Isend(np.zeros(1), ranks.PROC_NULL), comm.irecv(source=ranks.PROC_NULL)]
        call = getattr(ranks.Request, name)
        return lambda: says_yes(name, call(requests))

    return make


def of_start(comm: ranks.Comm) -> Callable[[], Any]:
    request = comm.Recv_init(np.zeros(1), 1)
    request.Start()
    return request.Test


def of_both(comm: ranks.Comm) -> Callable[[], Any]:
    request = receive(comm)
    return lambda: request.Test() or comm.Iprobe(1, 3)


def of_three(comm: ranks.Comm) -> Callable[[], Any]:
    one, two = receive(comm), comm.irecv()
    return lambda: one.Test() or comm.Improbe(1, 3) or two.Get_status()


def with_work(comm: ranks.Comm) -> Callable[[], Any]:
    return lambda: ranks.spend(comm, 10**6) or comm.Iprobe(1)


def of_any(comm: ranks.Comm) -> Callable[[], Any]:
    request = comm.irecv()
    return lambda: request.test()[0]


POLLS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "Iprobe": lambda comm: lambda: comm.Iprobe(source=1),
    "Iprobe of any": lambda comm: comm.Iprobe,
    "iprobe of a tag": lambda comm: lambda: comm.iprobe(tag=3),
    "Improbe": lambda comm: lambda: comm.Improbe(1),
    "improbe of any": lambda comm: comm.improbe,
    "Iprobe of a duplicate": lambda comm: comm.Dup().Iprobe,
    "Test": lambda comm: receive(comm).Test,
    "test of any": of_any,
    "Test of a send": lambda comm: comm.Issend(np.zeros(1), 1, 99).Test,
    "Get_status": lambda comm: receive(comm).Get_status,
    "Start, Test": of_start,
    **{name: of_requests(name) for name in ("Testall", "testall", "Testany", "testany", "Testsome", "testsome")},
    "Testall beside others": of_requests("Testall", others=True),
    "Test and Iprobe in turn": of_both,
    "three in turn": of_three,
    "Iprobe with work": with_work,
}


def returns(comm: ranks.Comm) -> None:
    return None


def waits_for_rank_0(comm: ranks.Comm) -> None:
    comm.recv(source=0, tag=50)


def works_and_waits(comm: ranks.Comm) -> None:
    ranks.spend(comm, 10**12)
    comm.recv(source=0, tag=50)


def polls_too(comm: ranks.Comm) -> None:
    while not comm.Iprobe(0, 50):
        pass


def sends_to_itself(comm: ranks.Comm) -> None:
    comm.bsend("for me, and never received", comm.rank, 51)
    comm.recv(source=0, tag=50)


OTHERS = [returns, waits_for_rank_0, works_and_waits, polls_too, sends_to_itself]


def polls_for_ever(comm: ranks.Comm, make: Any, other: Any, polls: list[int]) -> None:
    if comm.rank:
        if make is POLLS["Iprobe of a duplicate"]:
            comm.Dup()
        return other(comm)
    poll = make(comm)

    def counted() -> Any:
        polls.append(1)
        return poll()

    while not counted():
        pass


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
@pytest.mark.parametrize("name", POLLS)
def test_a_loop_of_polls_for_what_cannot_come_is_a_livelock_after_few_polls(name: str, other: Any) -> None:
    for network, buffering in zip(NETWORKS, BUFFERINGS, strict=True):
        polls: list[int] = []
        with pytest.raises(ranks.LivelockError) as caught:
            ranks.run(polls_for_ever, 2, POLLS[name], other, polls, network=network, buffering=buffering)
        runs = 4  # the diagnosis may run the program again, once for each other way to buffer
        assert len(polls) <= MOST_POLLS * runs
        assert 0 in {blocked.rank for blocked in caught.value.blocked}


RUNS = [{"check": True}, {"trace": True}, {"faults": [ranks.Straggler(rank=0, factor=3)]}]


@pytest.mark.parametrize("arguments", RUNS)
def test_a_livelock_is_seen_soon_however_the_program_is_run(arguments: Any) -> None:
    for other in (returns, polls_too):
        polls: list[int] = []
        with pytest.raises(ranks.LivelockError):
            ranks.run(polls_for_ever, 2, POLLS["Iprobe"], other, polls, **arguments)
        assert len(polls) <= MOST_POLLS * 4


def test_a_loop_that_sleeps_between_polls_ends_too() -> None:
    def program(comm: ranks.Comm) -> None:
        while comm.rank == 0 and not comm.Iprobe(source=1):
            time.sleep(0.0001)

    with pytest.raises(ranks.LivelockError, match=r"Iprobe\(source=1"):
        ranks.run(program, 2)


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_ranks_that_all_poll_for_each_other_are_in_a_livelock(p: int) -> None:
    def program(comm: ranks.Comm, calls: list[int]) -> None:
        request = comm.irecv(source=(comm.rank + 1) % p)
        while not (request.Test() if comm.rank % 2 else comm.Iprobe((comm.rank + 1) % p, 9)):
            calls.append(comm.rank)

    calls: list[int] = []
    with pytest.raises(ranks.LivelockError):
        ranks.run(program, p, calls)
    assert len(calls) <= MOST_POLLS * p * 4


# -- what is no livelock ----------------------------------------------------------------------------------------------


def a_thousand_polls(comm: ranks.Comm, poll: Callable[[], Any]) -> None:
    for _ in range(1000):
        assert not poll()


def a_thousand_polls_by_while(comm: ranks.Comm, poll: Callable[[], Any]) -> None:
    n = 0
    while n < 1000:
        assert not poll()
        n += 1


def a_thousand_polls_in_a_list(comm: ranks.Comm, poll: Callable[[], Any]) -> None:
    assert not any([poll() for _ in range(1000)])  # noqa: C419


def until_a_deadline(comm: ranks.Comm, poll: Callable[[], Any]) -> None:
    deadline = ranks.Wtime() + 1000 * ranks.presets["infiniband"].poll_ps * 1e-12
    n = 0
    while ranks.Wtime() < deadline - 1e-13:
        assert not poll()
        n += 1
    assert n == 1000


FINITE = [a_thousand_polls, a_thousand_polls_by_while, a_thousand_polls_in_a_list, until_a_deadline]


@pytest.mark.parametrize("finite", FINITE, ids=lambda finite: finite.__name__)
@pytest.mark.parametrize("call", ["Iprobe", "Improbe", "Test", "Testall", "Get_status"])
def test_a_number_of_polls_with_nothing_to_come_ends_and_takes_its_time(call: str, finite: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            return comm.recv(source=0)
        request = comm.irecv(source=1)
        polls = {
            "Iprobe": lambda: comm.Iprobe(1), "Improbe": lambda: comm.Improbe(), "Test": request.Test,
            "Testall": lambda: ranks.Request.Testall([request]), "Get_status": request.Get_status,
        }  # fmt: skip
        finite(comm, polls[call])
        took_ps = round(ranks.Wtime() * 10**12)
        request.Cancel()
        request.Wait()
        return took_ps, comm.send("at last", 1)

    run = ranks.run(program, 2)
    assert run.results[0][0] == 1000 * run.network.poll_ps
    assert run.results[1] == "at last"


@pytest.mark.parametrize("finite", FINITE, ids=lambda finite: finite.__name__)
def test_a_rank_that_polls_without_end_for_one_that_polls_a_number_of_times_gets_its_message(finite: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            finite(comm, lambda: comm.Iprobe(0))
            return comm.send("after all", 0)
        while not comm.Iprobe(1):
            pass
        return comm.recv(source=1)

    assert ranks.run(program, 2).results[0] == "after all"


def test_a_deadline_ends_a_loop_of_polls_at_that_time_whether_a_message_comes_or_not() -> None:
    def program(comm: ranks.Comm, deadline_s: float) -> Any:
        if comm.rank:
            ranks.spend(comm, 300 * 10**6)
            return comm.Send(np.zeros(1), 0)
        polls, there = 0, False
        while not there and ranks.Wtime() < deadline_s:
            there = comm.Iprobe(1)
            polls += 1
        ended_s = ranks.Wtime()
        comm.Recv(np.zeros(1), 1)
        return polls, there, ended_s

    polls, there, ended_s = ranks.run(program, 2, 200e-6).results[0]
    assert (there, polls) == (False, 2000)
    assert ended_s == pytest.approx(200e-6, abs=1e-12)
    polls, there, ended_s = ranks.run(program, 2, 1.0).results[0]
    assert there
    assert 300e-6 < ended_s < 303e-6
    assert polls == round(ended_s * 1e12) // 100_000 + 1
