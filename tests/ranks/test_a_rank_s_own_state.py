"""Claims about state that MPI keeps per process: a rank's own where it can be, refused where it is shared unnoticed."""

from __future__ import annotations

import contextlib
import contextvars
import random
from collections.abc import Callable
from random import uniform
from typing import Any

import numpy as np
import pytest

import ranks


def turn(comm: ranks.Comm) -> None:
    """Let all other ranks run."""
    comm.sendrecv(None, (comm.rank + 1) % comm.size)


PYTHON = (lambda seed: random.seed(seed), lambda: random.getstate())
NUMPY = (lambda seed: np.random.seed(seed), lambda: np.random.get_state())
GENERATORS: dict[str, tuple[Callable[[], Any], Callable[[int], Any], Callable[[], Any]]] = {
    "random": (lambda: random.random(), *PYTHON),
    "random.gauss": (lambda: random.gauss(0, 1), *PYTHON),
    "from random import uniform": (lambda: uniform(0, 1), *PYTHON),
    "np.random": (lambda: np.random.random(), *NUMPY),
    "np.random.randn": (lambda: np.random.randn(), *NUMPY),
    "np.random.permutation": (lambda: np.random.permutation(20).tolist(), *NUMPY),
}


def same_state(one: Any, two: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", GENERATORS)
def test_each_rank_draws_its_own_numbers_the_same_in_every_run(name: str) -> None:
    draw, seed_caller, _ = GENERATORS[name]

    def program(comm: ranks.Comm) -> Any:
        drawn = []
        for _ in range(3):
            drawn.append(draw())
            turn(comm)
        return drawn

    seed_caller(1)
    first = ranks.run(program, 4).results
    seed_caller(2)
    draw()
    assert ranks.run(program, 4, check=True).results == first
    assert len({str(drawn) for drawn in first}) == 4
    assert len({str(number) for drawn in first for number in drawn}) == 12
    assert ranks.run(program, 4, buffering="none", network="nvlink").results == first
    other = ranks.run(program, 4, seed=1).results
    assert not {str(drawn) for drawn in first} & {str(drawn) for drawn in other}
    found = ranks.explore(program, 2)
    assert found.verdict == "holds"
    assert len(found.outcomes) == 1


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_set_by_one_rank_does_not_touch_the_others_although_they_take_turns(name: str) -> None:
    draw, seed, _ = GENERATORS[name]

    def program(comm: ranks.Comm) -> Any:
        seed(comm.rank)
        drawn = []
        for _ in range(4):
            turn(comm)
            drawn.append(draw())
        return drawn

    expected = []
    for rank in range(3):
        seed(rank)
        expected.append([draw() for _ in range(4)])
    assert ranks.run(program, 3).results == expected


@pytest.mark.parametrize("ends", ["well", "raise", "hang"])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_caller_s_generator_goes_on_where_it_was(name: str, ends: str) -> None:
    draw, seed, get = GENERATORS[name]

    def program(comm: ranks.Comm) -> None:
        draw()
        turn(comm)
        seed(3)
        if ends == "raise":
            raise ZeroDivisionError
        if ends == "hang":
            comm.recv()

    seed(5)
    draw()
    before = get()
    with contextlib.suppress(ZeroDivisionError, ranks.DeadlockError):
        ranks.run(program, 3)
    assert same_state(get(), before)


def test_a_nested_run_leaves_the_outer_rank_its_generators() -> None:
    def program(comm: ranks.Comm, nested: bool) -> Any:
        drawn = [random.random(), np.random.random()]
        inner = ranks.run(lambda inner: random.random(), 2).results if nested else None
        return [*drawn, random.random(), np.random.random()], inner

    alone, nested = (ranks.run(program, 2, nested).results for nested in (False, True))
    assert [drawn for drawn, _ in alone] == [drawn for drawn, _ in nested]
    assert nested[0][1] == nested[1][1]


# -- context variables and NumPy's error state ------------------------------------------------------------------------

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default="default")


def test_a_context_variable_of_one_rank_is_not_seen_by_others_and_the_caller_s_is_seen_by_all() -> None:
    def program(comm: ranks.Comm) -> Any:
        seen = [VARIABLE.get()]
        if comm.rank != 1:
            VARIABLE.set(comm.rank)
        for _ in range(2):
            turn(comm)
            seen.append(VARIABLE.get())
        return seen

    token = VARIABLE.set("the caller's")
    try:
        got = ranks.run(program, 3).results
        assert VARIABLE.get() == "the caller's"
    finally:
        VARIABLE.reset(token)
    assert got == [["the caller's", 0, 0], ["the caller's"] * 3, ["the caller's", 2, 2]]
    assert ranks.run(lambda comm: VARIABLE.get(), 2).results == ["default"] * 2


def test_a_token_of_a_rank_resets_its_variable() -> None:
    def program(comm: ranks.Comm) -> Any:
        token = VARIABLE.set(comm.rank)
        turn(comm)
        VARIABLE.reset(token)
        turn(comm)
        return VARIABLE.get()

    assert ranks.run(program, 3).results == ["default"] * 3


def test_numpy_s_error_state_is_a_rank_s_own() -> None:
    def program(comm: ranks.Comm) -> Any:
        with np.errstate(divide="raise" if comm.rank == 0 else "ignore"):
            turn(comm)
            try:
                np.ones(1) / 0
            except FloatingPointError:
                return "raised"
            return np.geterr()["divide"]

    before = np.geterr()
    assert ranks.run(program, 3).results == ["raised", "ignore", "ignore"]
    assert np.geterr() == before

    def sets(comm: ranks.Comm) -> Any:
        np.seterr(all="ignore") if comm.rank == 1 else None
        turn(comm)
        return np.geterr()["over"]

    assert ranks.run(sets, 3).results == [before["over"], "ignore", before["over"]]
    assert np.geterr() == before
