"""Claims about `ranks.explore`: what its verdict means, and which outcomes it finds."""

from __future__ import annotations

from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from explored import MODES, fails_only_buffered_by_a_wildcard, gathers, steals
from inside import ChoosingWorld, Search, carry_out, exploring
from programs_of_calls import NETWORK


@pytest.mark.parametrize("p", [2, 3, 4, 5])
def test_a_fan_in_has_an_outcome_for_each_order(p: int) -> None:
    found = ranks.explore(gathers, p)
    assert found.verdict == "holds"
    assert sorted(o.results[0] for o in found.outcomes) == sorted(map(list, permutations(range(1, p))))
    assert found.runs == dict.fromkeys(MODES, factorial(p - 1))
    assert all(outcome.runs == dict.fromkeys(MODES, 1) for outcome in found.outcomes)


def test_the_search_that_is_cut_off_is_undecided_unless_it_has_found_a_failure() -> None:
    found = ranks.explore(gathers, 5, max_runs=10)
    assert (found.verdict, found.runs) == ("undecided", dict.fromkeys(MODES, 10))
    assert ranks.explore(gathers, 5, max_runs=24).verdict == "holds"
    late = ranks.explore(lambda comm: gathers(comm) if comm.size < 5 or comm.rank else steals(comm), 5, max_runs=10)
    assert late.verdict == "fails"


def test_a_program_that_always_hangs_has_no_critical_choice() -> None:
    found = ranks.explore(lambda comm: comm.recv(source=1 - comm.rank), 2)
    assert (found.verdict, len(found.outcomes)) == ("fails", 1)
    assert found.failures[0].critical is None
    assert found.failures[0].runs == dict.fromkeys(MODES, 1)


def test_runs_with_the_same_outcome_are_counted_by_mode() -> None:
    found = ranks.explore(lambda comm: sorted(gathers(comm)) if comm.rank == 0 else gathers(comm), 4)
    assert [outcome.runs for outcome in found.outcomes] == [dict.fromkeys(MODES, 6)]


def test_a_mode_that_was_cut_off_leaves_the_verdict_open_although_the_next_was_exhausted() -> None:
    found = ranks.explore(fails_only_buffered_by_a_wildcard, 3, modes=["infinite", "none"], max_runs=1)
    assert (found.verdict, found.runs) == ("undecided", {"infinite": 1, "none": 1})


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


def test_a_hang_in_waitany_says_what_it_waits_for() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            ranks.Request.waitany([comm.irecv(source=1), comm.irecv(source=2)])

    (failure,) = ranks.explore(program, 3).failures
    assert "for rank 1, which has returned, to send" in failure.failure.blocked[0].reason
    assert " or for rank 2" in failure.failure.blocked[0].reason


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

    found = ranks.explore(program, 3, max_runs=40)
    assert found.verdict != "fails", found
    assert [outcome.results for outcome in found.outcomes] == [[[3] * 3] * 3]


def test_outcomes_are_known_to_be_complete_or_not_whatever_the_verdict() -> None:
    assert ranks.explore(steals, 3).complete
    assert not ranks.explore(gathers, 5, max_runs=10).complete
    # The second run fails, and it is not known what the others come to.
    cut = ranks.explore(lambda comm: steals(comm) if comm.rank else gathers(comm), 5, max_runs=2)
    assert not cut.complete
    early = ranks.explore(lambda comm: 1 // 0 if gathers(comm) == [1, 3, 2] else None, 4, modes="none", max_runs=2)
    assert (early.verdict, early.complete) == ("fails", False)
    assert str(early).splitlines()[1] == "  cut off: none after 2 runs; there may be other outcomes"


def two_that_overtake(comm: Any) -> Any:
    """Two fan-ins whose choices can be made in several orders: most of these are left out."""
    if comm.rank < 2:
        return comm.recv(), comm.recv()
    ranks.Request.waitall([comm.isend(comm.rank, dest) for dest in range(2)])
    return None


def test_runs_that_are_ended_early_do_not_count_but_do_not_run_away_either(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(lambda choose: carry_out(ChoosingWorld(4, NETWORK, "none", choose), two_that_overtake, (), None))
    assert len(list(search)) == search.n_runs == 4
    assert search.n_pruned > 0
    assert ranks.explore(two_that_overtake, 4, modes="none", max_runs=4).complete
    monkeypatch.setattr(exploring, "_PRUNED_AT_LEAST", 1)
    monkeypatch.setattr(exploring, "_PRUNED", 0)
    cut = ranks.explore(two_that_overtake, 4, modes="none", max_runs=4)
    assert (cut.verdict, cut.complete, cut.cut) == ("undecided", False, {"none": 1})
    assert str(cut).splitlines()[1] == (
        f"  cut off: none after {cut.runs['none']} runs and 1 that were ended early; there may be other outcomes; "
        "remedy: raise max_runs, name fewer modes, or explore fewer ranks"
    )


def test_a_program_without_choices_needs_one_way_of_buffering() -> None:
    def program(comm: Any) -> Any:
        return collectives.ring_allreduce(comm, np.full(4, comm.rank)).tolist()

    found = ranks.explore(program, 3)
    assert (found.verdict, found.runs, found.skipped) == ("holds", {"none": 1}, ("eager", "infinite", "each"))
    assert str(found).splitlines()[:2] == [
        "holds, with 1 result, after 1 run (none: 1)",
        "  no wildcards, probes or polls: eager and infinite and each need no runs of their own",
    ]
    assert ranks.explore(program, 3, modes=["eager"]).runs == {"eager": 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda comm: comm.recv(),
        lambda comm: (comm.probe(), comm.recv(source=1)),
        lambda comm: (comm.iprobe(source=1), comm.recv(source=1)),
        lambda comm: (comm.irecv(source=1).wait(), comm.iprobe(source=1)),
        lambda comm: ranks.Request.waitany([comm.irecv(source=1)]),
        lambda comm: (request := comm.irecv(source=1)).test()[0] or request.wait(),
    ],
)  # fmt: skip
def test_a_program_with_a_choice_is_explored_in_every_way_of_buffering(call: Any) -> None:
    """Even where one way alone shows nothing to choose."""
    found = ranks.explore(lambda comm: comm.send(1, 0) if comm.rank else bool(call(comm)), 2)
    assert (found.verdict, tuple(found.runs), found.skipped) == ("holds", MODES, ())
