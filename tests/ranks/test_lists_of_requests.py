"""Claims about calls on several requests: statuses follow the indices, reports name only what is missing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

import ranks
from ways import BUFFERINGS

US = 10**6
SOME = ["Waitsome", "waitsome", "Testsome", "testsome"]


@pytest.mark.parametrize("n_statuses", [0, 2, 4, 6])
@pytest.mark.parametrize("name", SOME)
def test_statuses_and_objects_follow_the_indices_in_whatever_order_messages_come(name: str, n_statuses: int) -> None:
    """Sender r sends r objects of its own size with tag 10 r, so that no two statuses are alike."""

    def program(comm: ranks.Comm, order: tuple[int, ...], wait_ps: int) -> Any:
        if comm.rank:
            ranks.spend(comm, order.index(comm.rank) * 4 * US)
            if name.islower():
                return comm.send("x" * comm.rank, 0, 10 * comm.rank)
            return comm.Send(np.zeros(comm.rank, np.uint8), 0, 10 * comm.rank)
        requests = [
            comm.irecv(source=r, tag=10 * r) if name.islower() else comm.Irecv(bytearray(9), r) for r in range(1, 5)
        ]
        statuses, rounds = [ranks.Status() for _ in range(n_statuses)], 0
        ranks.spend(comm, wait_ps)
        while any(requests):
            answer = getattr(ranks.Request, name)(requests, statuses)
            indices, objects = answer if name.islower() else (answer, [None] * len(answer))
            rounds += len(indices) > 0
            for place, (index, thing) in enumerate(zip(indices, objects, strict=True)):
                status = statuses[place]
                assert not requests[index]
                assert (status.source, status.tag) == (index + 1, 10 * (index + 1))
                if name.islower():
                    assert thing == "x" * (index + 1)
                else:
                    assert status.count == index + 1
        return rounds, len(statuses)

    for order in permutations((1, 2, 3, 4)):
        for wait_ps, rounds in ((0, 4), (8 * US, 3), (10**9, 1)):
            run = ranks.run(program, 4 + 1, order, wait_ps)
            assert run.results[0] == (rounds, max(n_statuses, 5 - rounds)), (order, wait_ps)


@pytest.mark.parametrize("name", ["Waitall", "waitall", "Testall", "testall"])
def test_statuses_of_all_requests_follow_the_list_and_those_not_open_are_emptied(name: str) -> None:
    def program(comm: ranks.Comm, order: tuple[int, ...]) -> Any:
        if comm.rank:
            ranks.spend(comm, order.index(comm.rank) * 20 * US)
            return comm.send("x", 0, 10 * comm.rank)
        inactive = comm.Recv_init(bytearray(1), 1)
        requests = [comm.irecv(source=1), ranks.REQUEST_NULL, comm.irecv(source=2), inactive, comm.irecv(source=3)]
        statuses = [used() for _ in range(5)]
        while getattr(ranks.Request, name)(requests, statuses) in (False, (False, None)):
            assert [status.tag for status in statuses] == [77] * 5
        return [(status.source, status.tag, status.count > 0) for status in statuses]

    empty = ranks.ANY_SOURCE, ranks.ANY_TAG, False
    expected = [(1, 10, True), empty, (2, 20, True), empty, (3, 30, True)]
    for order in permutations((1, 2, 3)):
        assert ranks.run(program, 4, order).results[0] == expected


def used() -> ranks.Status:
    status = ranks.Status()
    status.fill(5, 77, 12)
    return status


# -- reports ----------------------------------------------------------------------------------------------------------

MISSING = [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("missing", MISSING, ids=str)
@pytest.mark.parametrize("name", ["Waitall", "waitall"])
def test_the_report_on_requests_that_are_partly_complete_names_only_what_is_missing(
    name: str, missing: tuple[int, ...], buffering: str
) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            receives = [comm.irecv(source=rank, tag=10 * rank) for rank in (1, 2, 3)]
            sends = [comm.isend("x", rank, 70 + rank) for rank in (1, 2, 3)]
            getattr(ranks.Request, name)([*receives, *sends, ranks.REQUEST_NULL])
        else:
            comm.recv(source=0)
            if comm.rank not in missing:
                comm.send("x", 0, 10 * comm.rank)

    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, 4, buffering=buffering)
    (blocked,) = caught.value.blocked
    for rank in (1, 2, 3):
        assert (f"rank {rank}" in blocked.reason) == (rank in missing), blocked.reason
        assert (f"tag={10 * rank}" in blocked.reason) == (rank in missing), blocked.reason
        assert f"tag={70 + rank}" not in blocked.reason


def test_the_report_on_sends_that_are_partly_received_names_only_those_that_are_not() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            ranks.Request.Waitall([comm.issend("x", rank, 10 * rank) for rank in (1, 2, 3)])
        elif comm.rank != 2:
            comm.recv(source=0)

    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, 4)
    (blocked,) = caught.value.blocked
    assert [rank for rank in (1, 2, 3) if f"rank {rank}" in blocked.reason] == [2]


# -- polls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("n_bytes", [8, 10**7])
def test_polling_for_a_receive_that_is_matched_and_long_on_its_way_ends_when_it_is_there(
    n_bytes: int, buffering: str
) -> None:
    """The message is known and takes 25 ms: no other thing happens in that time."""
    network = ranks.Network(name="slow", inter=ranks.Link(25 * 10**9, 0), poll_ps=10**5)
    polls: list[int] = []

    def program(comm: ranks.Comm, make: Callable[[Any, Any], Any]) -> Any:
        if comm.rank == 0:
            return comm.Send(np.zeros(n_bytes, np.uint8), 1)
        test = make(comm, bytearray(n_bytes))
        while not test():
            polls.append(1)
        return ranks.Wtime()

    ways: list[Callable[[Any, Any], Any]] = [
        lambda comm, x: comm.Irecv(x, 0).Test, lambda comm, x: comm.Irecv(x).Test,
        lambda comm, x: comm.Mprobe(0).Irecv(x).Test,
    ]  # fmt: skip
    for make in ways:
        run = ranks.run(program, 2, make, network=network, buffering=buffering)
        assert run.results[1] == pytest.approx(0.025, abs=1e-7)
    assert len(polls) < 200 * len(ways)
