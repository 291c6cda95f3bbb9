"""Claims about replays, and about what exploring refuses: programs that are not the same each time, and arguments."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

import ranks
from explored import gathers


def test_every_outcome_is_shown_again_by_its_replay() -> None:
    for outcome in ranks.explore(mixed, 3).outcomes:
        if outcome.failure is None:
            assert ranks.run(mixed, 3, replay=outcome.replay, check=True).results == outcome.results
        else:
            with pytest.raises(type(outcome.failure)):
                ranks.run(mixed, 3, replay=outcome.replay)


def mixed(comm: Any) -> Any:
    """Wildcards, probes and polls of all kinds, in two communicators."""
    other = comm.Dup()
    if comm.rank:
        other.isend(comm.rank, 0, tag=1).wait()
        return comm.send(comm.rank, 0)
    first, second = other.irecv(), other.irecv()
    polls = []
    while True:
        index, flag, _ = ranks.Request.testany([first, second])
        polls.append(index if flag else None)
        if flag:
            break
    message = comm.mprobe()
    got = message.recv()
    status = ranks.Status()
    seen = comm.improbe(status=status)
    got2 = seen.recv() if seen else comm.recv()
    return polls, got, got2, ranks.Request.waitsome([first, second])[0]


def test_a_replay_carries_the_bound_on_polls() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        seen = [comm.iprobe() for _ in range(4)]
        return seen, comm.recv()

    replays = {}
    for polls in range(4):
        for outcome in ranks.explore(program, 2, modes="eager", polls=polls).outcomes:
            assert ranks.run(program, 2, replay=outcome.replay).results == outcome.results
            replays[polls] = outcome.replay
    assert [replays[polls].partition(":")[0] for polls in range(4)] == [
        "eager/polls=0", "eager", "eager/polls=2", "eager/polls=3",
    ]  # fmt: skip


# -- programs that are not the same each time --------------------------------------------------------------------


def test_a_program_that_takes_something_from_outside_is_found() -> None:
    turns = []

    def program(comm: Any) -> Any:
        turns.append(comm.rank)
        return gathers(comm) if len(turns) < 10 else None

    with pytest.raises(ranks.NondeterminismError, match="remedy: use the same program"):
        ranks.explore(program, 4)


def test_a_program_whose_options_differ_between_runs_is_found() -> None:
    turns = [0]

    def program(comm: Any) -> Any:
        if comm.rank == 0:
            turns[0] += 1
            return sorted([comm.recv(), comm.recv()])
        if comm.rank == 1:
            for _ in range(turns[0] > 2):
                comm.recv(source=2)
            return comm.send(1, 0)
        for _ in range(turns[0] > 2):
            comm.send("extra", 1)
        return comm.send(2, 0)

    with pytest.raises(ranks.NondeterminismError, match="got 2 other options than before"):
        ranks.explore(program, 3, modes=["infinite"])


@pytest.mark.parametrize("p", [1, 2, 4])
def test_a_program_with_another_result_for_the_same_schedule_is_no_program_with_two_schedules(p: int) -> None:
    turns = count()

    def program(comm: Any) -> Any:
        return gathers(comm), next(turns) if comm.rank == 0 else None

    with pytest.raises(ranks.NondeterminismError, match=r"with replay='none:.*', expected results .*, as before"):
        ranks.explore(program, p)


def test_a_program_that_fails_the_first_time_only_is_found() -> None:
    turns = count()

    def program(comm: Any) -> None:
        if next(turns) == 0:
            raise ValueError("bad luck")

    with pytest.raises(ranks.NondeterminismError, match=r"got results .*, expected ValueError: bad luck, as before"):
        ranks.explore(program, 1)


def test_results_and_errors_that_differ_only_by_an_address_are_the_same() -> None:
    found = ranks.explore(lambda comm: (gathers(comm), lambda: None, object()) if comm.rank == 0 else gathers(comm), 3)
    assert len(found.outcomes) == 2

    def program(comm: Any) -> None:
        raise ValueError(f"{object()} is no good")

    assert len(ranks.explore(program, 1).outcomes) == 1


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "replay",
    [
        "", "none", "0,1", "some:0", "none:0,", "none:0,,1", "none:-1", "none:a", "none:\u0663", "none:0\n",
        "none/polls=:0", "none/polls=-1:0", "none/2:0", 3,
    ],
)  # fmt: skip
def test_a_replay_that_is_none_is_refused(replay: Any) -> None:
    with pytest.raises(ValueError, match=r"remedy: take it from an outcome of ranks\.explore"):
        ranks.run(gathers, 3, replay=replay)


@pytest.mark.parametrize("options", [{"buffering": "infinite"}, {"faults": [ranks.Crash(rank=0, send=1)]}])
def test_a_replay_does_not_go_with_another_buffering_or_faults(options: Any) -> None:
    with pytest.raises(ValueError, match="remedy: leave them out"):
        ranks.run(gathers, 3, replay="none:0", **options)
    assert ranks.run(gathers, 3, replay="none:0", buffering="none").results[0] == [1, 2]


def test_a_replay_of_another_program_is_refused() -> None:
    with pytest.raises(ranks.NondeterminismError, match="2 options where choice 7 is to be made"):
        ranks.run(gathers, 3, replay="none:7")


@pytest.mark.parametrize("check", [False, True])
def test_a_replay_with_choices_left_over_is_refused(check: bool) -> None:
    assert ranks.run(gathers, 3, replay="none:1", check=check).results[0] == [2, 1]
    with pytest.raises(ranks.NondeterminismError, match="got an end after 1 of the 3 choices of the replay"):
        ranks.run(gathers, 3, replay="none:1,0,0", check=check)


def test_arguments_that_make_no_sense_are_refused() -> None:
    modes: list[Any] = [["some"], [], [["none"]], "some", "", "none,each"]
    for options in ({"max_runs": 0}, {"polls": -1}, *({"modes": each} for each in modes)):
        with pytest.raises(ValueError, match="remedy"):
            ranks.explore(gathers, 2, **options)
    with pytest.raises(TypeError, match="remedy"):
        ranks.explore(None, 2)
    with pytest.raises(ValueError, match="remedy"):
        ranks.explore(gathers, 0)


def test_modes_may_be_one_name_and_are_explored_once_each() -> None:
    assert ranks.explore(gathers, 3, modes="eager").runs == {"eager": 2}
    found = ranks.explore(gathers, 3, modes=["eager", "each", "eager"])
    assert found.runs == {"eager": 2, "each": 2}
    assert [outcome.runs for outcome in found.outcomes] == [{"eager": 1, "each": 1}] * 2
    with pytest.raises(ValueError, match=r"got modes=\[\], expected some of none, eager, infinite, each"):
        ranks.explore(gathers, 3, modes=[])
