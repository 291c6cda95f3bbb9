"""Claims about state that all ranks share since it is one process's: a change that others could see is refused."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from typing import Any

import pytest

import ranks


def turn(comm: ranks.Comm) -> None:
    """Let all other ranks run."""
    comm.sendrecv(None, (comm.rank + 1) % comm.size)


class Streams:
    """How a rank redirects standard output or error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def change(self) -> None:
        setattr(sys, self.name, io.StringIO())

    def look(self) -> Any:
        return getattr(sys, self.name)


class Folder:
    name = "folder"

    def change(self) -> None:
        os.chdir(os.path.dirname(os.getcwd()) or "/")

    def look(self) -> Any:
        return os.getcwd()


class Filters:
    name = "warning"

    def change(self) -> None:
        warnings.simplefilter("ignore", UserWarning)

    def look(self) -> Any:
        return list(warnings.filters)


SHARED = [Streams("stdout"), Streams("stderr"), Folder(), Filters()]


@pytest.fixture(autouse=True)
def put_back() -> Any:
    """What a run leaves changed must not reach other tests."""
    out, err, folder, filters = sys.stdout, sys.stderr, os.getcwd(), warnings.filters[:]
    yield
    sys.stdout, sys.stderr = out, err
    os.chdir(folder)
    warnings.filters[:] = filters


@pytest.mark.parametrize("shared", SHARED, ids=lambda shared: shared.name)
@pytest.mark.parametrize("how", ["while others run", "left so at the end", "before it raises"])
@pytest.mark.parametrize("changing", [0, 2])
def test_a_change_of_what_all_ranks_share_is_refused_and_put_back(changing: int, how: str, shared: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        turn(comm)
        if comm.rank == changing:
            shared.change()
            if how == "before it raises":
                raise ZeroDivisionError
        if how == "while others run":
            turn(comm)

    before = shared.look()
    with pytest.raises(ZeroDivisionError if how == "before it raises" else ranks.SharedStateError) as caught:
        ranks.run(program, 3)
    assert shared.look() == before
    if how != "before it raises":
        assert isinstance(caught.value, ranks.RanksError)
        assert caught.value.rank == changing
        assert f"rank {changing}" in str(caught.value)
        assert shared.name in str(caught.value)
        assert caught.value.remedy


def test_a_redirect_by_contextlib_across_a_call_is_refused_and_one_between_two_calls_is_fine() -> None:
    def within(comm: ranks.Comm) -> Any:
        turn(comm)
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            print("mine", comm.rank)
        with contextlib.chdir("/"):
            folder = os.getcwd()
        turn(comm)
        return text.getvalue(), folder

    def across(comm: ranks.Comm) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            turn(comm)

    assert ranks.run(within, 3).results == [(f"mine {rank}\n", "/") for rank in range(3)]
    before = sys.stdout
    with pytest.raises(ranks.SharedStateError, match="stdout"):
        ranks.run(across, 3)
    assert sys.stdout is before


def test_what_the_caller_redirects_around_a_run_is_no_change(tmp_path: Any) -> None:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.chdir(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranks.run(lambda comm: (turn(comm), print("rank", comm.rank)), 2)
    assert sorted(text.getvalue().splitlines()) == ["rank 0", "rank 1"]


def test_a_single_rank_that_never_waits_for_another_may_redirect_as_long_as_it_puts_it_back() -> None:
    def program(comm: ranks.Comm) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            comm.sendrecv(1, 0, source=0)
            print("alone")
        return text.getvalue()

    assert ranks.run(program, 1).results == ["alone\n"]
