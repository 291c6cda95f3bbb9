"""Programs that several tests explore, and the endings of all runs that exploring a program of calls makes."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import ranks
from inside import ChoosingWorld, Search, carry_out
from interleaver import outcomes
from programs_of_calls import NETWORK, Program, play, random_program

MODES = ("none", "eager", "infinite", "each")
MANY = 9  # polls in a row that may say no: more than any of the random programs makes
PROBLEMS = (ranks.DeadlockError, ranks.UnfinishedRequestError, ranks.UnreceivedMessageError)


# -- programs that tests explore -------------------------------------------------------------------------------


def gathers(comm: Any) -> Any:
    """Take one message from each of the others, in any order."""
    if comm.rank == 0:
        return [comm.recv() for _ in range(1, comm.size)]
    return comm.send(comm.rank, 0)


def steals(comm: Any) -> Any:
    """A wildcard may have the message that the next receive is for."""
    if comm.rank == 0:
        return comm.recv(), comm.recv(source=2)  # critical
    return comm.send(comm.rank, 0)


def fails_only_buffered_by_a_wildcard(comm: Any) -> None:
    """Rank 1 goes on only when its message was received: if it is buffered, rank 2's may come first."""
    if comm.rank == 0:
        comm.recv()
        comm.recv(source=2)
    elif comm.rank == 1:
        comm.send("first", 0)
        comm.send("go", 2)
    else:
        comm.recv(source=1)
        comm.send("second", 0)


# -- programs of calls -----------------------------------------------------------------------------------------


@cache
def drawn(seed: int, kind: str = "") -> Program:
    """Return the random program of this number: 2 to 4 ranks, up to 5 messages, up to 3 polls and probes.

    kind: "polls" for programs with more polls and fewer messages.
    """
    draw = Random(f"size {kind} {seed}")
    if kind == "polls":
        return random_program(seed, draw.choice([2, 2, 3]), draw.randint(1, 3), draw.randint(2, 5))
    n_ranks = draw.choice([2, 2, 3, 3, 4])
    return random_program(seed, n_ranks, draw.randint(1, 5 if n_ranks < 4 else 4), draw.choice([0, 0, 1, 2, 3]))


@cache
def possible(seed: int, mode: str, kind: str = "") -> frozenset[Any]:
    """Return the endings that the interleaver finds for the program of this number."""
    return frozenset(model_ending(result) for result in outcomes(drawn(seed, kind), mode))


def model_ending(result: Any) -> Any:
    """Say of an outcome of the interleaver what a run can say: the first leak that is found."""
    saw, stuck, left, still_open = result
    if stuck:
        return result
    leak = ranks.UnfinishedRequestError if still_open else ranks.UnreceivedMessageError if left else type(None)
    return saw, stuck, leak


def ending(log: list[list[Any]], failure: Exception | None) -> Any:
    """Return how a run ended in the words of the interleaver."""
    saw = tuple(map(tuple, log))
    if isinstance(failure, ranks.DeadlockError):
        return saw, frozenset(each.rank for each in failure.blocked), frozenset(), frozenset()
    return saw, frozenset(), type(failure)


def explored(
    program: Program, mode: str, *, polls: int = MANY, reduction: bool = True, narrows: bool = False
) -> tuple[dict[Any, str], Search[Any]]:
    """Return the endings of all runs that exploring makes, each with a replay, and the search."""
    log: list[list[Any]] = []
    replays: dict[Any, str] = {}

    def attempt(choose: Any) -> Any:
        log[:] = [[] for _ in program]
        world = ChoosingWorld(len(program), NETWORK, mode, choose, polls=polls)
        failure = None
        try:
            carry_out(world, play, (program, log), None)
        except PROBLEMS as problem:
            failure = problem
        replays.setdefault(ending(log, failure), world.made_text())

    search = Search(attempt, reduction=reduction, narrows=narrows)
    for _ in search:
        pass
    return replays, search


@cache
def all_found(seed: int, mode: str) -> tuple[frozenset[Any], int]:
    """Return the endings that exploring the program of this number finds, and after how many runs."""
    replays, search = explored(drawn(seed), mode)
    return frozenset(replays), search.n_runs


def run_once(program: Program, **options: Any) -> tuple[Any, Exception | None]:
    """Return how one run of a program of calls ended, and its failure."""
    log: list[list[Any]] = [[] for _ in program]
    failure = None
    try:
        ranks.run(play, len(program), program, log, **{"network": NETWORK, **options})
    except PROBLEMS as problem:
        failure = problem
    return ending(log, failure), failure
