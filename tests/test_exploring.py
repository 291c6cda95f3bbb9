"""Claims about `ranks.explore`: it finds every outcome that a program can have, no other, and how to see each again."""

from __future__ import annotations

import inspect
import io
import re
import sys
from dataclasses import replace
from functools import cache
from itertools import permutations
from math import factorial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from interleaver import ANY, NETWORK, Op, Program, outcomes, play, random_program
from ranks.choosing import ChoosingWorld
from ranks.running import BUFFERINGS, carry_out
from ranks.schedules import Search, last_good

LARGE = 100_000  # bytes, above the eager limit
MANY = 9  # polls in a row that may say no: more than any of the random programs makes


def ending(program: Program, log: list[list[Any]], failure: Exception | None) -> Any:
    """Return how a run ended in the words of the interleaver."""
    saw = tuple(map(tuple, log))
    if isinstance(failure, ranks.DeadlockError):
        return saw, frozenset(each.rank for each in failure.blocked), frozenset(), frozenset()
    assert failure is None or isinstance(failure, (ranks.UnfinishedRequestError, ranks.UnreceivedMessageError))
    return saw, frozenset(), type(failure)


def model_ending(result: Any) -> Any:
    """Say of an outcome of the interleaver what a run can say: the first leak that is found."""
    saw, stuck, left, still_open = result
    if stuck:
        return result
    leak = ranks.UnfinishedRequestError if still_open else ranks.UnreceivedMessageError if left else type(None)
    return saw, stuck, leak


def explored(program: Program, mode: str, *, polls: int = MANY, reduction: bool = True) -> tuple[set[Any], int]:
    """Return the endings of all runs that exploring makes, and how many runs."""
    log: list[list[Any]] = []

    def attempt(choose: Any) -> Any:
        log[:] = [[] for _ in program]
        world = ChoosingWorld(len(program), NETWORK, mode, choose, polls=polls)
        try:
            carry_out(world, play, (program, log), None)
        except (ranks.DeadlockError, ranks.UnfinishedRequestError, ranks.UnreceivedMessageError) as problem:
            return ending(program, log, problem)
        return ending(program, log, None)

    search = Search(attempt, reduction=reduction)
    return set(search), search.n_runs


@cache
def drawn(seed: int) -> Program:
    """Return the random program of this number: 2 to 4 ranks, up to 5 messages, up to 3 polls and probes."""
    draw = Random(f"size {seed}")
    n_ranks = draw.choice([2, 2, 3, 3, 4])
    return random_program(seed, n_ranks, draw.randint(1, 5 if n_ranks < 4 else 4), draw.choice([0, 0, 1, 2, 3]))


@cache
def possible(seed: int, mode: str) -> frozenset[Any]:
    """Return the endings that the interleaver finds for the program of this number."""
    return frozenset(model_ending(result) for result in outcomes(drawn(seed), mode))


@pytest.mark.parametrize("block", range(5))
def test_exploring_random_programs_finds_all_outcomes_and_no_others(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        for mode in BUFFERINGS:
            found, _ = explored(drawn(seed), mode)
            assert found == possible(seed, mode), (seed, mode)


def test_sleep_sets_lose_no_outcome_and_save_most_runs() -> None:
    fan_ins = [[Op("Recv", source, ANY) for source in (ANY, ANY)] for _ in range(2)]
    both = [Op("Isend", 0, 0), Op("Isend", 1, 0), Op("Waitall", which=(0, 1))]
    programs = [*map(drawn, range(60)), [*fan_ins, both, both]]
    needed = []
    for program in programs:
        reduced, few = explored(program, "infinite", polls=1)
        full, many = explored(program, "infinite", polls=1, reduction=False)
        assert reduced == full
        needed.append((few, many))
    few, many = map(sum, zip(*needed, strict=True))
    assert few < 0.6 * many
    # Two fan-ins of two have 2 x 2 outcomes; their choices can be made in several orders.
    assert needed[-1][0] == 4 < needed[-1][1]


def test_fewer_polls_that_say_no_find_no_outcome_that_is_none() -> None:
    for seed in range(100):
        for mode in BUFFERINGS:
            assert explored(drawn(seed), mode, polls=1)[0] <= possible(seed, mode)


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("name", ["limit 64", "without ports", "slow and jittery"])
def test_what_the_clock_chooses_is_among_what_is_explored(buffering: str, name: str) -> None:
    network = {
        "limit 64": NETWORK,
        "without ports": replace(NETWORK, ports=False),
        "slow and jittery": replace(NETWORK, jitter_ps=100_000, overhead_ps=30, ranks_per_node=2),
    }[name]
    for seed in range(150):
        program, log = drawn(seed), [[] for _ in drawn(seed)]
        failure = None
        try:
            ranks.run(play, len(program), program, log, network=network, buffering=buffering, seed=seed)
        except (ranks.DeadlockError, ranks.UnfinishedRequestError, ranks.UnreceivedMessageError) as problem:
            failure = problem
            if isinstance(problem, ranks.DeadlockError):  # looking for advice has run the program again
                continue
        assert ending(program, log, failure) in possible(seed, buffering), seed


# -- the verdict -------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("p", [2, 3, 4, 5])
def test_a_fan_in_has_an_outcome_for_each_order(p: int) -> None:
    found = ranks.explore(gathers, p)
    assert found.verdict == "holds"
    assert sorted(o.results[0] for o in found.outcomes) == sorted(map(list, permutations(range(1, p))))
    assert found.runs == dict.fromkeys(BUFFERINGS, factorial(p - 1))
    assert all(outcome.runs == dict.fromkeys(BUFFERINGS, 1) for outcome in found.outcomes)


def test_a_failure_has_a_replay_and_a_critical_choice() -> None:
    found = ranks.explore(steals, 3, modes=["eager"])
    assert (found.verdict, found.runs, len(found.outcomes)) == ("fails", {"eager": 2}, 2)
    (failure,) = found.failures
    lines, first = inspect.getsourcelines(steals)
    line = first + next(i for i, text in enumerate(lines) if "# critical" in text)
    call = f"rank 0's recv(source=ANY_SOURCE, tag=ANY_TAG) at test_exploring.py:{line} gets the message of rank"
    assert failure.critical == (
        f"critical is choice 1 of 1: {call} 2 with tag 0; "
        "it could still end well if it gets the message of rank 1 with tag 0"
    )
    with pytest.raises(ranks.DeadlockError, match=r"replay='eager:1'\)") as caught:
        ranks.run(steals, 3, replay=failure.replay)
    assert [each.rank for each in caught.value.blocked] == [0]
    with pytest.raises(ranks.DeadlockError) as again:
        eval(caught.value.replay)
    assert str(again.value) == str(caught.value)


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


def test_the_search_that_is_cut_off_is_undecided_unless_it_has_found_a_failure() -> None:
    found = ranks.explore(gathers, 5, max_runs=10)
    assert (found.verdict, found.runs) == ("undecided", dict.fromkeys(BUFFERINGS, 10))
    assert ranks.explore(gathers, 5, max_runs=24).verdict == "holds"
    late = ranks.explore(lambda comm: gathers(comm) if comm.size < 5 or comm.rank else steals(comm), 5, max_runs=10)
    assert late.verdict == "fails"


def test_a_program_that_always_hangs_has_no_critical_choice() -> None:
    found = ranks.explore(lambda comm: comm.recv(source=1 - comm.rank), 2)
    assert (found.verdict, len(found.outcomes)) == ("fails", 1)
    assert found.failures[0].critical is None
    assert found.failures[0].runs == dict.fromkeys(BUFFERINGS, 1)


def test_an_unsafe_send_fails_where_it_is_not_buffered() -> None:
    def program(comm: Any) -> Any:
        comm.Send(np.zeros(LARGE, np.uint8), 1 - comm.rank)
        return comm.Recv(np.zeros(LARGE, np.uint8), 1 - comm.rank)

    found = ranks.explore(program, 2)
    assert found.verdict == "fails"
    assert found.failures[0].runs == {"none": 1, "eager": 1}


def test_some_programs_fail_only_when_sends_are_buffered() -> None:
    assert ranks.explore(fails_only_buffered_by_a_wildcard, 3, modes=["none"]).verdict == "holds"
    found = ranks.explore(fails_only_buffered_by_a_wildcard, 3)
    assert found.verdict == "fails"
    assert all("none" not in failure.runs for failure in found.failures)


def test_a_loop_of_polls_is_explored_to_its_end() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        polls = 0
        while not comm.iprobe():
            polls += 1
        return polls, comm.recv()

    for polls in range(4):
        found = ranks.explore(program, 2, modes=["eager"], polls=polls)
        assert sorted(outcome.results[0][0] for outcome in found.outcomes) == list(range(polls + 1))


def test_polls_for_something_that_never_comes_are_a_livelock() -> None:
    def program(comm: Any) -> None:
        while comm.rank == 0 and not comm.iprobe():
            pass

    (failure,) = ranks.explore(program, 2).failures
    assert isinstance(failure.failure, ranks.LivelockError)
    assert failure.failure.core == [0]


def test_a_cancel_may_come_before_or_after_the_message_is_had() -> None:
    def program(comm: Any) -> Any:
        if comm.rank == 0:
            request = comm.irecv()
            request.Cancel()
            status = ranks.Status()
            request.wait(status)
            return (status.Is_cancelled(), comm.recv() if status.Is_cancelled() else None)
        return comm.send("x", 0)

    found = ranks.explore(program, 2)
    assert found.verdict == "holds"
    assert sorted(outcome.results[0] for outcome in found.outcomes) == [(False, None), (True, "x")]


def test_the_cancel_of_a_send_may_come_before_or_after_a_wildcard_has_its_message() -> None:
    """The two do not commute: a search that takes them to would miss that the message was had first."""

    def program(comm: Any) -> Any:
        if comm.rank == 0:
            first = comm.recv()
            return [first, comm.recv(source=2)] if first == 1 else [first]
        if comm.rank == 1:
            request, status = comm.issend(1, 0), ranks.Status()
            request.Cancel()
            request.wait(status)
            return status.Is_cancelled()
        return comm.send(2, 0)

    found = ranks.explore(program, 3)
    assert found.verdict == "holds", found
    assert sorted((o.results[0], o.results[1]) for o in found.outcomes) == [([1, 2], False), ([2], True)]


def test_a_poll_may_say_no_again_after_its_rank_has_done_something_else() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            comm.send("x", 0)
            return comm.recv()
        first = comm.iprobe()
        comm.send("y", 1)
        second = comm.iprobe()
        return first, second, comm.recv()

    found = ranks.explore(program, 2, modes=["eager"])
    assert (False, False) in {outcome.results[0][:2] for outcome in found.outcomes}


def test_a_poll_may_say_no_once_before_and_once_after_something_new_has_come() -> None:
    """Only if noes are tried first does the search come to both: what else could happen goes to sleep otherwise."""

    def program(comm: Any) -> Any:
        noes = 0
        if comm.rank == 0:
            while not comm.iprobe(tag=5):
                noes += 1
            return noes, sorted([comm.recv(tag=5), comm.recv(tag=5)])
        if comm.rank == 3:
            got = [comm.recv()]
            comm.send(3, 0, tag=5)
            return sorted([*got, comm.recv()])
        if comm.rank == 1:
            comm.send(1, 0, tag=5)
        return comm.send(comm.rank, 3)

    found = ranks.explore(program, 4, modes=["infinite"])
    assert found.verdict == "holds"
    assert {outcome.results[0][0] for outcome in found.outcomes} == {0, 1, 2}


def test_failed_polls_take_time_so_that_waiting_for_a_time_ends() -> None:
    def program(comm: Any) -> int:
        polls, end = 0, ranks.Wtime() + 5e-6
        while ranks.Wtime() < end:
            polls += 1
            comm.iprobe()
        return polls

    found = ranks.explore(program, 1, network="infiniband")
    assert [outcome.results for outcome in found.outcomes] == [[50]]


def test_polls_between_which_messages_travel_are_no_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranks.choosing.IDLE_ROUNDS", 10)

    def program(comm: Any) -> None:
        for n in range(40):
            if comm.rank == 0:
                comm.send(n, 1)
                comm.iprobe(tag=9)
            else:
                comm.recv(source=0)

    for polls in (0, 1):
        assert ranks.explore(program, 2, polls=polls).verdict == "holds"


def test_a_hang_in_waitany_says_what_it_waits_for() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            ranks.Request.waitany([comm.irecv(source=1), comm.irecv(source=2)])

    (failure,) = ranks.explore(program, 3).failures
    assert "for rank 1, which has returned, to send" in failure.failure.blocked[0].reason
    assert " or for rank 2" in failure.failure.blocked[0].reason


def test_runs_with_the_same_outcome_are_counted_by_mode() -> None:
    found = ranks.explore(lambda comm: sorted(gathers(comm)) if comm.rank == 0 else gathers(comm), 4)
    assert [outcome.runs for outcome in found.outcomes] == [dict.fromkeys(BUFFERINGS, 6)]


def test_a_mode_that_was_cut_off_leaves_the_verdict_open_although_the_next_was_exhausted() -> None:
    found = ranks.explore(fails_only_buffered_by_a_wildcard, 3, modes=["infinite", "none"], max_runs=1)
    assert (found.verdict, found.runs) == ("undecided", {"infinite": 1, "none": 1})


@pytest.mark.parametrize("n", range(1, 12))
def test_the_critical_choice_is_the_last_before_which_a_good_end_was_in_reach(n: int) -> None:
    for good in range(n):
        assert last_good(lambda first, good=good: len(first) <= good, range(n)) == good
        assert last_good(lambda first, good=good: len(first) <= good or None, range(n)) in (None, good)
    assert last_good(lambda first: False, range(n)) is None


def test_a_critical_choice_in_the_middle_is_found() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        order = [comm.recv() for _ in range(1, comm.size)]
        return comm.recv() if order[1] == 3 else None

    found = ranks.explore(program, 5, modes=["eager"])
    for failure in found.failures:
        assert failure.critical is not None
        assert failure.critical.startswith("critical is choice 2 of 3: rank 0's recv(source=ANY_SOURCE")
        assert "gets the message of rank 3 with tag 0; it could still end well if it gets the message of rank" in (
            failure.critical
        )


def test_what_could_still_end_well_names_no_choice_that_could_not() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        order = [comm.recv() for _ in range(1, comm.size)]
        return comm.recv() if order[0] > 1 else None

    for failure in ranks.explore(program, 4, modes=["eager"]).failures:
        assert failure.critical is not None
        assert failure.critical.startswith("critical is choice 1 of 2: ")
        assert failure.critical.endswith("it could still end well if it gets the message of rank 1 with tag 0")


def test_ranks_that_disagree_on_a_collective_are_found() -> None:
    def program(comm: Any) -> None:
        root = comm.recv() if comm.rank == 0 else comm.send(comm.rank, 0)
        root = comm.recv(source=3 - root) if comm.rank == 0 else root
        ranks.announce(comm, "bcast", root=root if comm.rank == 0 else 1 if comm.rank else None)

    assert isinstance(ranks.explore(program, 3).failures[0].failure, ranks.CollectiveMismatchError)


def test_an_error_of_the_program_is_a_failure_with_its_schedule() -> None:
    def program(comm: Any) -> Any:
        if comm.rank == 0:
            first, second = comm.recv(), comm.recv()
            return second // (first - 2)
        return comm.send(comm.rank, 0)

    found = ranks.explore(program, 3, modes=["eager"])
    (failure,) = found.failures
    assert isinstance(failure.failure, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        ranks.run(program, 3, replay=failure.replay)


def test_what_the_program_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    ranks.explore(lambda comm: print(comm.rank), 2)
    assert capsys.readouterr() == ("", "")


def test_a_report_says_verdict_runs_outcomes_and_replay() -> None:
    assert str(ranks.explore(gathers, 3)) == (
        "holds after 6 runs (none: 2, eager: 2, infinite: 2)\n"
        "  results [[1, 2], None, None]  in 3 runs (none, eager, infinite)  replay='none:0'\n"
        "  results [[2, 1], None, None]  in 3 runs (none, eager, infinite)  replay='none:1'"
    )
    text = str(ranks.explore(steals, 3, modes=["eager"])).splitlines()
    assert text[:2] == [
        "fails after 2 runs (eager: 2)",
        "  DeadlockError: rank 0 hangs  in 1 run (eager)  replay='eager:1'",
    ]


def test_the_exploration_in_the_guide_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "guide.md").read_text()
    shown = re.search(r"```python\n([^`]*ranks\.explore[^`]*)```\n\n```\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    exec(compile(shown[1], "steals.py", "exec"), {"ranks": ranks})
    assert capsys.readouterr().out == shown[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_exploration_shows_its_progress_on_a_terminal_and_leaves_nothing(monkeypatch: Any) -> None:
    shown = []
    for p in (3, 7):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        assert ranks.explore(gathers, p, modes=["eager"]).verdict == "holds"
        shown.append(terminal.getvalue())
    assert shown[0] == ""
    assert "exploring eager" in shown[1]
    monkeypatch.setattr("sys.stderr", io.StringIO())
    ranks.explore(gathers, 7, modes=["eager"])
    assert sys.stderr.getvalue() == ""


def test_the_fraction_done_grows_to_one() -> None:
    search = Search(lambda choose: carry_out(ChoosingWorld(5, NETWORK, "none", choose), gathers, (), None))
    fractions = [search.fraction() for _ in search]
    assert fractions == sorted(fractions)
    assert fractions[11] == pytest.approx(12 / 24)
    assert fractions[-1] == 1


def test_what_was_started_in_the_background_is_explored_too() -> None:
    def program(comm: Any) -> Any:
        first = ranks.start(collectives.ring_allreduce, comm, np.full(3, comm.rank))
        second = ranks.start(collectives.dissemination_barrier, comm)
        second.wait()
        return first.wait().tolist()

    found = ranks.explore(program, 3, max_runs=200)
    assert found.verdict != "fails", found
    assert [outcome.results for outcome in found.outcomes] == [[[3] * 3] * 3]


# -- what is refused ---------------------------------------------------------------------------------------------


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
            return [comm.recv(), comm.recv()]
        if comm.rank == 1:
            for _ in range(turns[0] % 2):
                comm.recv(source=2)
            return comm.send(1, 0)
        for _ in range(turns[0] % 2):
            comm.send("extra", 1)
        return comm.send(2, 0)

    with pytest.raises(ranks.NondeterminismError, match="got 2 other options than before"):
        ranks.explore(program, 3, modes=["infinite"])


@pytest.mark.parametrize("replay", ["", "none", "0,1", "some:0", "none:0,", "none:-1", "none:a", 3])
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


def test_arguments_that_make_no_sense_are_refused() -> None:
    for options in ({"modes": ["some"]}, {"max_runs": 0}, {"polls": -1}):
        with pytest.raises(ValueError, match="remedy"):
            ranks.explore(gathers, 2, **options)
    with pytest.raises(TypeError, match="remedy"):
        ranks.explore(None, 2)
    with pytest.raises(ValueError, match="remedy"):
        ranks.explore(gathers, 0)
