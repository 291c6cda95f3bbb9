"""Claims about requests that real MPI cannot be asked for, because they are about time, leaks or determinism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from inside import backlog, now_ps
from ranks import Request

US = 10**6


def test_waitany_takes_the_request_that_is_complete_first_not_the_first_in_the_list() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, (4 - comm.rank) * 10 * US)
            return comm.send(comm.rank, 0)
        requests = [comm.irecv(source=source) for source in (1, 2, 3)]
        return [Request.waitany(requests) for _ in range(3)]

    assert ranks.run(program, 4).results[0] == [(2, 3), (1, 2), (0, 1)]


def test_waitany_leaves_the_clock_at_the_first_completion() -> None:
    network = ranks.Network(name="x", inter=ranks.Link(10, 0), overhead_ps=1)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 100 * comm.rank)
            return comm.send(None, 0)
        requests = [comm.irecv(source=2), comm.irecv(source=1)]
        first = Request.waitany(requests)[0], now_ps(comm)
        return first, Request.waitany(requests)[0], now_ps(comm)

    assert ranks.run(program, 3, network=network).results[0] == ((1, 112), 0, 212)


def test_waitany_called_late_takes_the_one_that_was_complete_first() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 30 * US // comm.rank)
            return comm.send(comm.rank, 0)
        requests = [comm.irecv(source=1), comm.irecv(source=2)]
        ranks.spend(comm, 100 * US)
        return Request.waitany(requests), Request.waitany(requests)

    assert ranks.run(program, 3).results[0] == ((1, 2), (0, 1))


def test_requests_cost_their_overhead_in_order_of_completion() -> None:
    network = ranks.Network(name="x", inter=ranks.Link(0, 0), overhead_ps=100)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 2000 // comm.rank)
            return comm.send(None, 0)
        Request.waitall([comm.irecv(source=1), comm.irecv(source=2)])
        return now_ps(comm)

    assert ranks.run(program, 3, network=network).results[0] == 2000 + 100 + 100


def test_waitsome_and_testsome_take_all_that_are_complete_in_order_of_completion() -> None:
    def program(comm: ranks.Comm, name: str) -> Any:
        if comm.rank:
            ranks.spend(comm, [0, 30, 0, 500, 10][comm.rank] * US)
            return comm.send(comm.rank, 0)
        requests = [comm.irecv(source=source) for source in range(1, 5)]
        ranks.spend(comm, 100 * US)
        first = getattr(Request, name)(requests)
        return sorted(first[0]), sorted(first[1]), requests[2].wait()

    for name in ("waitsome", "testsome"):
        assert ranks.run(program, 5, name).results[0] == ([0, 1, 3], [1, 2, 4], 3)


def test_testall_finishes_none_while_one_is_missing() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 50 * US * comm.rank)
            return comm.send(comm.rank, 0)
        requests = [comm.irecv(source=1), comm.irecv(source=2)]
        ranks.spend(comm, 80 * US)
        early = Request.testall(requests), [bool(r) for r in requests], requests[0].Get_status()
        ranks.spend(comm, 80 * US)
        return early, Request.testall(requests)

    assert ranks.run(program, 3).results[0] == (((False, None), [True, True], True), (True, [1, 2]))


def test_objects_of_waitall_stay_in_the_order_of_the_requests() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, (5 - comm.rank) * US)
            return comm.send(comm.rank, 0)
        return Request.waitall([comm.irecv(source=source) for source in (3, 1, 4, 2)])

    assert ranks.run(program, 5).results[0] == [3, 1, 4, 2]


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_a_synchronous_send_is_complete_only_when_it_is_received(buffering: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 100 * US)
            return comm.recv(source=0)
        request = comm.issend("x", 1)
        early = request.Test()
        ranks.spend(comm, 200 * US)
        return early, request.Test()

    assert ranks.run(program, 2, buffering=buffering).results[0] == (False, True)


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_a_buffered_send_is_complete_at_once(buffering: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 100 * US)
            return comm.recv(source=0)
        return comm.ibsend("x", 1).Test()

    assert ranks.run(program, 2, buffering=buffering).results[0]


def test_a_cancelled_synchronous_send_is_never_received_and_holds_up_no_later_one() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            comm.recv(source=0, tag=1)
            return comm.recv(source=0, tag=0)
        request, status = comm.issend("first", 1), ranks.Status()
        request.Cancel()
        request.Wait(status)
        comm.send("it is gone", 1, tag=1)
        comm.send("second", 1)
        return status.Is_cancelled(), backlog(comm)

    assert ranks.run(program, 2).results == [(True, 0), "second"]


def test_a_synchronous_message_to_oneself_holds_up_no_later_one() -> None:
    def program(comm: ranks.Comm) -> Any:
        request = comm.issend("me", comm.rank)
        return comm.recv(source=comm.rank), request.wait(), backlog(comm)

    assert ranks.run(program, 1).results == [("me", None, 0)]


def test_what_is_complete_or_matched_cannot_be_cancelled() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 100 * US)
            return comm.recv(source=0), comm.send("back", 0)
        send, receive, status = comm.isend("x", 1), comm.irecv(source=1), ranks.Status()
        send.Cancel()
        send.Wait(status)
        ranks.spend(comm, 500 * US)
        receive.Cancel()
        return status.Is_cancelled(), receive.wait(status), status.Is_cancelled()

    assert ranks.run(program, 2).results[0] == (False, "back", False)


def test_a_cancelled_wildcard_gives_the_message_on_its_way_to_the_next_receive() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return comm.send("x", 1)
        wild, specific = comm.irecv(), comm.irecv(source=0)
        wild.Cancel()
        wild.Wait()
        return specific.wait()

    for name in ("alpha-beta", "infiniband"):
        assert ranks.run(program, 2, network=name).results[1] == "x"


def test_a_freed_request_is_no_leak_and_its_message_arrives() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            return comm.recv(source=0)
        request = comm.isend("x", 1)
        request.Free()
        return bool(request)

    assert ranks.run(program, 2).results == [False, "x"]


def test_a_persistent_send_takes_what_its_buffer_holds_at_start() -> None:
    def program(comm: ranks.Comm) -> Any:
        x = np.zeros((2, 2), order="F")
        if comm.rank:
            request = comm.Recv_init(x, 0)
            return [(request.Start(), request.Wait(), x.tolist())[2] for _ in range(3)]
        request = comm.Send_init(x, 1)
        for n in range(3):
            x[:] = n
            request.Start()
            request.Wait()
        return None

    assert ranks.run(program, 2).results[1] == [[[n, n], [n, n]] for n in range(3)]


def test_an_active_persistent_request_is_a_leak_an_inactive_one_is_none() -> None:
    ranks.run(lambda comm: comm.Recv_init(np.zeros(1), 0) and None, 2)
    with pytest.raises(ranks.UnfinishedRequestError, match="nonblocking receive from rank 0"):
        ranks.run(lambda comm: comm.Recv_init(np.zeros(1), 0).Start(), 2)


def test_requests_are_equal_when_both_are_null() -> None:
    def program(comm: ranks.Comm) -> Any:
        one, two = comm.isend(1, comm.rank), comm.irecv(source=comm.rank)
        open_ones = one == two, one == one, one == ranks.REQUEST_NULL, one == 0
        two.wait(), one.wait()
        return open_ones, one == two, one == ranks.REQUEST_NULL

    assert ranks.run(program, 1).results[0] == ((False, True, False, False), True, True)


@pytest.mark.parametrize("call", ["isend", "irecv"])
def test_a_request_to_nobody_must_be_completed_too(call: str) -> None:
    def program(comm: ranks.Comm, waits: bool) -> None:
        arguments = (None, ranks.PROC_NULL)
        request = getattr(comm, call)(*arguments)
        if waits:
            request.wait()

    ranks.run(program, 1, True)
    with pytest.raises(ranks.UnfinishedRequestError):
        ranks.run(program, 1, False)
