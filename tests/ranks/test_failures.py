"""Claims about runs in which a rank raises, is interrupted, aborts, or disagrees with the others: all others end."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time

import pytest

import ranks
from inside import abandoned
from processes import HANG_S, Started


class Stop(BaseException):
    """What a program may raise to get past `except Exception`."""


def boom(comm: ranks.Comm) -> None:
    ranks.spend(comm, 5_000_000)
    raise ZeroDivisionError("boom")


@pytest.mark.parametrize("raising", [0, 1, 3])
def test_one_rank_raises_and_the_run_ends_with_its_traceback_and_rank(raising: int) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == raising:
            comm.recv(source=(comm.rank + 1) % 4, tag=1)
            boom(comm)
        comm.send(None, raising, tag=1)
        comm.recv(source=raising, tag=2)

    with pytest.raises(ZeroDivisionError, match="boom") as caught:
        ranks.run(program, 4)
    assert [entry.name for entry in caught.traceback][-2:] == ["program", "boom"]
    note = caught.value.__notes__[0]
    assert note.startswith(f"raised on rank {raising} of 4 at t=")


def test_finally_blocks_of_the_other_ranks_run_and_may_fail_or_communicate() -> None:
    seen = []

    def program(comm: ranks.Comm) -> None:
        if comm.rank == 2:
            comm.recv(source=0)
            raise ZeroDivisionError
        try:
            if comm.rank == 0:
                comm.send(None, 2)
            comm.recv(source=2)
        finally:
            seen.append(comm.rank)
            if comm.rank == 0:
                raise ValueError("in finally")
            comm.recv(source=2)
            seen.append("never")

    with pytest.raises(ZeroDivisionError):
        ranks.run(program, 4)
    assert sorted(seen) == [0, 1, 3]


def test_ranks_that_swallow_every_exception_do_not_hang_the_run() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 1:
            comm.recv(source=0)
            raise ZeroDivisionError
        comm.send(None, 1)
        while True:
            try:
                comm.Probe(1)
            except BaseException:
                continue

    before = len(abandoned())
    with pytest.raises(ZeroDivisionError):
        ranks.run(program, 2)
    assert len(abandoned()) == before + 1


@pytest.mark.parametrize("problem", [KeyboardInterrupt, Stop])
def test_an_interrupt_ends_the_run_as_itself_even_when_collectives_disagree(problem: type[BaseException]) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank < 2:
            ranks.announce(comm, "barrier", root=comm.rank)
        raise problem

    with pytest.raises(problem):
        ranks.run(program, 3)


@pytest.mark.parametrize("problem", [KeyboardInterrupt, Stop])
def test_an_interrupt_of_a_rank_that_is_being_ended_is_not_lost(problem: type[BaseException]) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 2:
            boom(comm)
        try:
            comm.recv(source=2)
        finally:
            if comm.rank == 0:
                raise problem

    with pytest.raises(problem):
        ranks.run(program, 3)


def test_a_real_interrupt_ends_a_run_that_never_ends() -> None:
    code = """
import ranks
def program(comm):
    print("up", flush=True) if comm.rank == 0 else None
    while True:
        comm.sendrecv(1, 1 - comm.rank)
ranks.run(program, 2)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Started([sys.executable, "-c", code], env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.05)  # into the loop; whenever it comes, the claim is the same
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == -signal.SIGINT
    assert stderr.count("KeyboardInterrupt") == 1


def test_abort_cannot_be_caught_and_carries_its_code() -> None:
    def program(comm: ranks.Comm) -> None:
        try:
            if comm.rank == 1:
                comm.Abort(7)
            comm.recv(source=1)
        except Exception:
            raise AssertionError("caught an abort") from None

    with pytest.raises(ranks.AbortError) as caught:
        ranks.run(program, 3)
    assert caught.value.errorcode == 7


# -- collectives that disagree ---------------------------------------------------------------------------------


def test_the_majority_and_the_outliers_of_a_disagreement_are_named_whoever_comes_first() -> None:
    def program(comm: ranks.Comm) -> None:
        ranks.announce(comm, "reduce", root=1 if comm.rank in (0, 3) else 0, n=5)

    line = inspect.getsourcelines(program)[1] + 1
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(program, 6)
    assert str(caught.value) == (
        "ranks of one communicator disagree on their collective\n"
        f"  majority  ranks 1-2, 4-5: reduce(root=0, n=5) at test_failures.py:{line}\n"
        f"  outlier   ranks 0, 3: reduce(root=1, n=5) at test_failures.py:{line}\n"
        "  remedy: let all ranks of the communicator make the same call with the same arguments"
    )
    assert caught.value.calls == {"reduce(root=0, n=5)": [1, 2, 4, 5], "reduce(root=1, n=5)": [0, 3]}
    assert caught.value.missing == []


def test_a_disagreement_is_reported_before_the_errors_and_hangs_that_it_causes() -> None:
    def program(comm: ranks.Comm, then: str) -> None:
        if comm.rank != 2:
            ranks.announce(comm, "broadcast" if comm.rank else "barrier")
        if comm.rank == 2 and then == "raise":
            raise ValueError
        comm.recv()

    for then in ("raise", "hang"):
        with pytest.raises(ranks.CollectiveMismatchError) as caught:
            ranks.run(program, 3, then)
        assert caught.value.missing == [2]
        assert "one side  rank 0: barrier()" in str(caught.value)
        assert "missing   rank 2: called no collective here" in str(caught.value)


def test_collectives_of_different_communicators_do_not_meet() -> None:
    def program(comm: ranks.Comm) -> None:
        half = comm.Split(comm.rank % 2)
        ranks.announce(half, "broadcast", root=comm.rank % 2)
        ranks.announce(comm, "barrier")
        ranks.announce(half, "reduce")

    ranks.run(program, 5)
    ranks.announce(object(), "anything")
