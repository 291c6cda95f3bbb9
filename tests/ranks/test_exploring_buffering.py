"""Claims about exploring the ways in which sends may be buffered: all alike, or each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from explored import MODES, fails_only_buffered_by_a_wildcard

LARGE = 100_000  # bytes, above the eager limit


def test_an_unsafe_send_fails_where_it_is_not_buffered() -> None:
    def program(comm: Any) -> Any:
        comm.Send(np.zeros(LARGE, np.uint8), 1 - comm.rank)
        return comm.Recv(np.zeros(LARGE, np.uint8), 1 - comm.rank)

    found = ranks.explore(program, 2)
    assert found.verdict == "fails"
    assert found.failures[0].runs == {"none": 1, "eager": 1, "each": 1}


def test_some_programs_fail_only_when_sends_are_buffered() -> None:
    assert ranks.explore(fails_only_buffered_by_a_wildcard, 3, modes=["none"]).verdict == "holds"
    found = ranks.explore(fails_only_buffered_by_a_wildcard, 3)
    assert found.verdict == "fails"
    assert all("none" not in failure.runs for failure in found.failures)


def fails_only_when_one_send_is_buffered_and_others_are_not(comm: Any) -> None:
    """Rank 2's message comes first only if 'A' is buffered; then 'x' and 'y' wait for each other if they are not."""
    if comm.rank == 0:
        status = ranks.Status()
        comm.recv(status=status)
        first = status.source
        comm.recv(source=3 - first)
        comm.send("swap" if first == 2 else "no", 2, tag=1)
        if first == 2:
            comm.send("x", 2, tag=2)
            comm.recv(source=2, tag=2)
    elif comm.rank == 1:
        comm.send("A", 0)
        comm.send("go", 2)
    else:
        comm.recv(source=1)
        comm.send("B", 0)
        if comm.recv(source=0, tag=1) == "swap":
            comm.send("y", 0, tag=2)
            comm.recv(source=0, tag=2)


def test_a_program_that_fails_only_when_one_send_is_buffered_and_another_is_not_is_found() -> None:
    program = fails_only_when_one_send_is_buffered_and_others_are_not
    assert ranks.explore(program, 3, modes=MODES[:-1]).verdict == "holds"
    found = ranks.explore(program, 3)
    (failure,) = found.failures
    assert (found.verdict, list(failure.runs)) == ("fails", ["each"])
    assert failure.critical is not None
    assert "is not buffered; it could still end well if it is buffered" in failure.critical
    with pytest.raises(ranks.DeadlockError, match="ranks 0 and 2 wait for each other") as caught:
        ranks.run(program, 3, replay=failure.replay)
    with pytest.raises(ranks.DeadlockError):
        eval(caught.value.replay, {"ranks": ranks, program.__name__: program})


def test_a_send_that_is_not_buffered_may_still_be_received() -> None:
    """What is critical is the wildcard: after it was said that 'A' is not buffered, there are good ends too."""

    def program(comm: Any) -> Any:
        if comm.rank == 0:
            first = comm.recv()
            return comm.recv(source=2) if first == "A" else comm.recv(source=3)
        if comm.rank == 1:
            comm.ssend("go", 2)
            return comm.send("A", 0)
        if comm.rank == 2:
            comm.recv(source=1)
            return comm.send("B", 0)
        return None

    found = ranks.explore(program, 4, modes="each")
    assert found.verdict == "fails"
    assert all(failure.critical is None or "gets the message of" in failure.critical for failure in found.failures)


def test_a_nonblocking_send_completes_when_it_is_buffered_or_received() -> None:
    def program(comm: Any) -> Any:
        if comm.rank == 0:
            x = np.full(3, 7)
            request = comm.Isend(x, 1)
            request.Wait()
            x[:] = 0  # of a send that was buffered, the message is a copy
            comm.send("sent", 2)
            return comm.recv(source=1)
        if comm.rank == 1:
            y = np.zeros(3, int)
            first = comm.recv(source=2)
            comm.Recv(y, 0)
            comm.send(first, 0)
            return y.tolist()
        return comm.send(comm.recv(), 1)

    found = ranks.explore(program, 3, modes="each")
    assert [outcome.failure is None for outcome in found.outcomes] == [False, True]
    assert found.outcomes[1].results == ["sent", [7, 7, 7], None]


def test_the_data_of_a_blocking_send_that_is_buffered_are_what_was_sent() -> None:
    def program(comm: Any) -> Any:
        x = np.full(3, comm.rank)
        comm.Send(x, 1 - comm.rank)
        x[:] = 9
        y = np.zeros(3, int)
        comm.Recv(y, 1 - comm.rank)
        return y.tolist()

    found = ranks.explore(program, 2, modes="each")
    assert [outcome.results for outcome in found.outcomes] == [None, [[1] * 3, [0] * 3]]


def test_a_buffered_send_cannot_be_cancelled_and_another_one_can() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            comm.recv(source=0, tag=1)
            return comm.recv(source=0) if comm.iprobe(source=0) else None
        request, status = comm.isend("x", 1), ranks.Status()
        request.Cancel()
        request.wait(status)
        comm.send("go", 1, tag=1)
        return status.Is_cancelled()

    found = ranks.explore(program, 2, modes="each")
    ends = {tuple(outcome.results) for outcome in found.outcomes if outcome.results}
    assert ends == {(True, None), (False, "x")}


def test_synchronous_sends_are_never_buffered_and_buffered_ones_always_are() -> None:
    def program(comm: Any, send: str) -> None:
        getattr(comm, send)("x", 1 - comm.rank)
        comm.recv(source=1 - comm.rank)

    verdicts = {send: ranks.explore(program, 2, send, modes="each").verdict for send in ("ssend", "bsend", "send")}
    assert verdicts == {"ssend": "fails", "bsend": "holds", "send": "fails"}
