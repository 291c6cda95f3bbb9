"""Claims about how a rank ends: sys.exit ends one rank, and no exception of any class is lost or hides a diagnosis."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from greenlet import GreenletExit

import ranks
from processes import HANG_S
from ways import BUFFERINGS


class Stop(BaseException):
    """A program's own way to get past `except Exception`."""


class Leave(SystemExit):
    """A subclass, as some frameworks have."""


GOOD_ENDS = [SystemExit, SystemExit(), SystemExit(0), SystemExit(None), Leave, Leave(0)]
CODES = [1, 2, -1, 255, "usage: program [options]", "", [3], 2.5]
OTHERS = [Stop, GeneratorExit, asyncio.CancelledError]


def ring(comm: ranks.Comm) -> Any:
    return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size, source=(comm.rank - 1) % comm.size)


# -- sys.exit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", GOOD_ENDS, ids=repr)
@pytest.mark.parametrize("leaving", [0, 2])
def test_an_exit_without_a_code_ends_that_rank_and_no_other(leaving: int, end: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        got = ring(comm)
        if comm.rank == leaving:
            raise end
        others = [r for r in range(3) if r != leaving]
        other = others[1 - others.index(comm.rank)]
        return got, comm.sendrecv("on", other, source=other)

    expected: list[Any] = [((rank - 1) % 3, "on") for rank in range(3)]
    expected[leaving] = None
    for buffering in BUFFERINGS:
        for check in (False, True):
            assert ranks.run(program, 3, buffering=buffering, check=check).results == expected
    found = ranks.explore(program, 3)
    assert found.verdict == "holds"
    assert [outcome.results for outcome in found.outcomes] == [expected]


def test_all_ranks_may_exit_and_the_caller_goes_on() -> None:
    run = ranks.run(lambda comm: sys.exit(), 4)
    assert run.results == [None] * 4
    assert run.time_ps == 0


def test_an_exit_from_deep_inside_runs_finally_blocks_which_may_communicate() -> None:
    def program(comm: ranks.Comm) -> Any:
        try:
            if comm.rank == 0:
                sys.exit(0)
        finally:
            comm.send("bye", 1 - comm.rank)
            got.append(comm.recv())
        return "returned"

    got: list[str] = []
    assert ranks.run(program, 2).results == [None, "returned"]
    assert got == ["bye", "bye"]


def test_what_an_exited_rank_left_open_is_an_error_as_if_it_had_returned() -> None:
    def waits(comm: ranks.Comm) -> None:
        comm.recv(source=0) if comm.rank else sys.exit(0)

    with pytest.raises(ranks.DeadlockError, match="rank 0, which has returned"):
        ranks.run(waits, 2)
    with pytest.raises(ranks.UnreceivedMessageError):
        ranks.run(lambda comm: (comm.send(1, 0), sys.exit(0)), 1)
    with pytest.raises(ranks.UnfinishedRequestError):
        ranks.run(lambda comm: (comm.irecv(), sys.exit(0)), 1)


@pytest.mark.parametrize("code", CODES, ids=repr)
@pytest.mark.parametrize("leaving", [0, 2])
def test_an_exit_with_a_code_is_an_error_that_names_rank_and_code(leaving: int, code: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        ring(comm)
        if comm.rank == leaving:
            sys.exit(code)
        comm.recv(source=leaving)

    for arguments in ({}, {"check": True}, {"buffering": "none"}, {"trace": True}):
        with pytest.raises(ranks.RankExitError) as caught:
            ranks.run(program, 3, **arguments)
        assert isinstance(caught.value, ranks.RanksError)
        assert (caught.value.rank, caught.value.code) == (leaving, code)
        assert f"rank {leaving}" in str(caught.value)
        assert repr(code) in str(caught.value)
    found = ranks.explore(program, 3)
    assert found.verdict == "fails"
    assert {type(outcome.failure) for outcome in found.outcomes} == {ranks.RankExitError}


def test_an_exit_with_a_code_in_a_nested_run_can_be_caught_by_the_outer_rank() -> None:
    def program(comm: ranks.Comm) -> Any:
        try:
            ranks.run(lambda inner: sys.exit(3), 2)
        except ranks.RankExitError as problem:
            return problem.rank, problem.code

    assert ranks.run(program, 2).results == [(0, 3)] * 2


@pytest.mark.parametrize("end", [SystemExit(0), SystemExit(5)], ids=repr)
def test_an_exit_of_a_rank_that_is_being_ended_does_not_hide_why(end: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 2:
            comm.recv(source=0)
            raise ZeroDivisionError
        try:
            comm.send(None, 2) if comm.rank == 0 else None
            comm.recv(source=2)
        finally:
            raise end

    with pytest.raises(ZeroDivisionError):
        ranks.run(program, 3)


def test_a_script_goes_on_after_a_run_whose_ranks_exit_and_ends_with_status_1_if_one_has_a_code() -> None:
    for code, output, status in ((0, "[None, None]\n", 0), (4, "", 1)):
        script = f"import sys, ranks\nprint(ranks.run(lambda comm: sys.exit({code}), 2).results)"
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        assert (done.stdout, done.returncode) == (output, status)
        assert ("RankExitError" in done.stderr) == bool(code)


# -- other exceptions that are no Exception ---------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [*OTHERS, KeyboardInterrupt])
@pytest.mark.parametrize("raising", [0, 2])
def test_any_other_exception_reaches_the_caller_as_itself_with_the_rank(raising: int, problem: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        try:
            ring(comm)
            if comm.rank == raising:
                raise problem("why")
            comm.recv(source=raising)
        finally:
            ended.append(comm.rank)

    for buffering in BUFFERINGS:
        ended: list[int] = []
        with pytest.raises(problem, match="why") as caught:
            ranks.run(program, 3, buffering=buffering)
        assert type(caught.value) is problem
        assert f"raised on rank {raising} of 3" in "".join(caught.value.__notes__)
        assert sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize("raising", [0, 2])
@pytest.mark.parametrize("problem", [GreenletExit, GreenletExit("why")], ids=repr)
def test_a_greenlet_exit_of_the_program_is_an_error_and_no_return(problem: Any, raising: int) -> None:
    def program(comm: ranks.Comm) -> None:
        ring(comm)
        if comm.rank == raising:
            raise problem

    with pytest.raises(ranks.RanksError, match="GreenletExit") as caught:
        ranks.run(program, 3)
    assert caught.value.rank == raising


# -- diagnoses --------------------------------------------------------------------------------------------------------

UNSEEN = [SystemExit(0), SystemExit(3), Leave, Stop, GeneratorExit, GreenletExit, asyncio.CancelledError, ValueError]


@pytest.mark.parametrize("end", UNSEEN, ids=repr)
def test_what_a_program_raises_when_it_is_run_again_does_not_hide_its_deadlock(end: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        comm.Send(np.zeros(1), 1 - comm.rank)
        comm.Recv(np.zeros(1), 1 - comm.rank)
        raise end

    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, 2, buffering="none")
    ends_well = end is Leave or (isinstance(end, SystemExit) and not end.code)
    assert (caught.value.passes_with is not None) == ends_well


def again(error: BaseException) -> list[str]:
    """Return the notes of an error that say that the program was run again."""
    return [note for note in getattr(error, "__notes__", ()) if "again" in note]


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("passes", [False, True])
def test_a_report_says_how_many_times_the_program_was_run_again(passes: bool, buffering: str) -> None:
    n, starts = (1 if buffering == "none" else 20_000), []

    def program(comm: ranks.Comm) -> None:
        starts.append(comm.rank)
        if passes and buffering != "infinite":
            comm.Send(np.zeros(n), 1 - comm.rank)
        comm.Recv(np.zeros(n), 1 - comm.rank)

    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, 2, buffering=buffering)
    n_again = starts.count(0) - 1
    assert n_again >= 0
    lines = again(caught.value)
    assert len(lines) == (n_again > 0)
    words = {1: "once", 2: "twice"}
    assert not n_again or re.search(rf"\b({n_again}|{words.get(n_again)})\b", lines[0])


def test_a_report_of_a_replay_which_runs_nothing_again_says_nothing_of_it() -> None:
    found = ranks.explore(lambda comm: comm.recv(), 2)
    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(lambda comm: comm.recv(), 2, replay=found.outcomes[0].replay)
    assert again(str(caught.value)) == []
