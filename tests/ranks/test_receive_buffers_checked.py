"""Claims about check=True: who touches the buffer of an open receive, or opens a second one on it, is told where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from ways import BUFFERINGS, COMPLETIONS, NETWORKS, POSTS, call_on, complete, holds, line_of


def sends_to(comm: ranks.Comm, n: int = 4) -> None:
    """Let rank 0 send n numbers to rank 1, with tag 5."""
    comm.Send(np.full(n, 7.0), 1, 5)


# -- written before the request is complete ---------------------------------------------------------------------------


def writes_early(comm: ranks.Comm, name: str, write: Any, when: str) -> None:
    if comm.rank == 0:
        ranks.spend(comm, 10**8)
        sends_to(comm)
        return comm.send("it is there", 1, 6)
    x = np.full(6, 3.0)
    request = comm.Irecv(x, 0, 5)  # the receive
    call = call_on(name, request)
    if when == "at once":
        write(x)
    comm.recv(source=0, tag=6)
    if when == "when the message is there":
        write(x)
    return call()  # its end


WRITES = {
    "all": lambda x: x.fill(1),
    "one element": lambda x: x.__setitem__(2, 1),
    "the tail": lambda x: x.__setitem__(5, 1),
    "through another view": lambda x: x.view("u1").reshape(6, 8).__setitem__((0, 3), 1),
    "what the message holds": lambda x: x.__setitem__(slice(0, 4), 7.0),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("when", ["at once", "when the message is there"])
def test_a_write_to_the_buffer_of_an_open_receive_names_the_receive_and_its_end(when: str, write: str) -> None:
    for name in ("Wait", "wait", "Test", "Waitall", "Testany", "Waitsome"):
        with pytest.raises(ranks.ReceiveBufferError) as caught:
            ranks.run(writes_early, 2, name, WRITES[write], when, check=True)
        assert line_of(writes_early, "the receive") in str(caught.value), name
        assert caught.value.rank == 1
        assert line_of(writes_early, "its end") in str(caught.value), name


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.__name__)
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_a_write_is_found_however_the_receive_was_posted(buffering: str, post: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            return sends_to(comm)
        x = np.zeros(4)
        request = post(comm, x, 0)
        x[1] = 5
        return complete("Wait", request)

    for network in NETWORKS:
        with pytest.raises(ranks.ReceiveBufferError, match="remedy: "):
            ranks.run(program, 2, check=True, buffering=buffering, network=network)


# -- read before the request is complete ------------------------------------------------------------------------------


def reads_early(comm: ranks.Comm, read: Any, dtype: str) -> Any:
    if comm.rank == 0:
        return comm.Send(np.ones(4, dtype), 1, 5), comm.recv(source=1)
    x = np.zeros(4, dtype)
    request = comm.Irecv(x, 0, 5)  # the receive
    seen = read(comm, x)
    request.Wait()
    comm.send(seen, 0)
    return seen


READS = {
    "one": lambda comm, x: x[0],
    "the last": lambda comm, x: x[-1].item(),
    "a copy": lambda comm, x: x.copy(),
    "a sum": lambda comm, x: x.sum(),
    "whether any": lambda comm, x: bool(x.any()),
    "bytes": lambda comm, x: x.tobytes(),
    "its time": lambda comm, x: ranks.spend(comm, 10**6 if x[0] == 0 else 10**7),
    "an error": lambda comm, x: x.any() and 1 / 0,
}


@pytest.mark.parametrize("dtype", "?bBhHiIlLqQefdgFDG")
def test_a_read_of_any_dtype_before_the_end_is_found(dtype: str) -> None:
    with pytest.raises(ranks.ReceiveBufferError) as caught:
        ranks.run(reads_early, 2, READS["a copy"], dtype, check=True)
    assert line_of(reads_early, "the receive") in str(caught.value)
    assert caught.value.rank == 1


@pytest.mark.parametrize("read", READS)
def test_a_read_that_shows_in_results_time_or_errors_is_found(read: str) -> None:
    with pytest.raises(ranks.ReceiveBufferError, match="remedy: "):
        ranks.run(reads_early, 2, READS[read], "d", check=True)


def test_without_check_a_read_sees_what_the_buffer_held() -> None:
    for name in ("one", "the last", "a copy", "a sum", "whether any", "bytes"):
        assert not np.any(
            np.frombuffer(np.asarray(ranks.run(reads_early, 2, READS[name], "d").results[1]).tobytes(), "u1")
        )


def test_a_read_by_another_rank_is_found_too() -> None:
    def program(comm: ranks.Comm, x: Any) -> Any:
        if comm.rank == 0:
            comm.recv(source=1, tag=1)
            seen = x[0]
            comm.Send(np.full(2, 7.0), 1)
            return seen
        x[:] = 3
        request = comm.Irecv(x, 0)
        comm.send("open", 0, 1)
        request.Wait()
        return x.tolist()

    assert ranks.run(program, 2, np.zeros(2)).results == [3, [7, 7]]
    with pytest.raises(ranks.ReceiveBufferError):
        ranks.run(program, 2, np.zeros(2), check=True)


# -- programs that are right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.__name__)
@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_program_that_keeps_off_open_buffers_gives_the_same_with_check(name: str, post: Any) -> None:
    """Also what a short message leaves of the buffer, which is read afterwards."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return sends_to(comm), sends_to(comm, 0), sends_to(comm, 6)
        x, out = np.arange(12.0).reshape(2, 6), []
        for _ in range(3):
            request = post(comm, x[0], 0)
            ranks.spend(comm, 10**7)
            complete(name, request)
            out.append(x.tolist())
        return out

    runs = [ranks.run(program, 2, check=check) for check in (False, True)]
    assert runs[0].results == runs[1].results
    assert runs[0].times_ps == runs[1].times_ps
    first, second, third = runs[1].results[1]
    assert first == second == [[7, 7, 7, 7, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert third[0] == [7] * 6


def test_a_cancelled_receive_gives_its_buffer_back_under_check() -> None:
    def program(comm: ranks.Comm) -> Any:
        x = np.arange(3.0)
        for request in (comm.Irecv(x, 0), comm.Irecv(x[:0])):
            request.Cancel()
            request.Wait()
        x[1] = 9
        second = comm.Irecv(x, comm.rank)
        comm.Bsend(np.ones(2), comm.rank)
        second.Wait()
        return x.tolist()

    assert ranks.run(program, 2, check=True).results == [[1, 1, 2]] * 2


def test_a_receive_that_ends_in_an_error_leaves_its_buffer_alone_under_check() -> None:
    seen = np.arange(2.0)

    def program(comm: ranks.Comm) -> None:
        comm.Send(np.ones(3), 1) if comm.rank == 0 else comm.Irecv(seen, 0).Wait()

    for check in (False, True):
        with pytest.raises(ranks.TruncationError):
            ranks.run(program, 2, check=check)
        assert seen.tolist() == [0, 1]


def test_a_hang_with_an_open_receive_is_reported_as_such_and_its_buffer_is_given_back() -> None:
    seen = np.arange(2.0)

    def program(comm: ranks.Comm) -> None:
        if comm.rank:
            comm.Irecv(seen, 0).Wait()

    with pytest.raises(ranks.DeadlockError):
        ranks.run(program, 2, check=True)
    assert holds(seen, [0, 1])
