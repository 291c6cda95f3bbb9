"""Claims about what exploring tells its user: the report, critical choices, and progress on a terminal."""

from __future__ import annotations

import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

import ranks
from explored import gathers, steals
from inside import last_good, progress


def test_a_failure_has_a_replay_and_a_critical_choice() -> None:
    found = ranks.explore(steals, 3, modes=["eager"])
    assert (found.verdict, found.runs, len(found.outcomes)) == ("fails", {"eager": 2}, 2)
    (failure,) = found.failures
    lines, first = inspect.getsourcelines(steals)
    line = first + next(i for i, text in enumerate(lines) if "# critical" in text)
    call = f"rank 0's recv(source=ANY_SOURCE, tag=ANY_TAG) at explored.py:{line} gets the message of rank"
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


def test_a_report_says_verdict_results_runs_outcomes_and_replay() -> None:
    assert str(ranks.explore(gathers, 3)) == (
        "holds, with 2 different results, after 8 runs (none: 2, eager: 2, infinite: 2, each: 2)\n"
        "  results [[1, 2], None, None]  in 4 runs (none, eager, infinite, each)  replay='none:0'\n"
        "  results [[2, 1], None, None]  in 4 runs (none, eager, infinite, each)  replay='none:1'"
    )
    text = str(ranks.explore(steals, 3, modes=["eager"])).splitlines()
    assert text[:3] == [
        "fails, with 1 failure and 1 result, after 2 runs (eager: 2)",
        "  every schedule was explored: there are no other outcomes",
        "  DeadlockError: rank 0 hangs  in 1 run (eager)  replay='eager:1'",
    ]


def test_an_undecided_report_has_one_example_and_says_how_to_decide() -> None:
    assert str(ranks.explore(gathers, 4, modes=["eager"], max_runs=3)).splitlines() == [
        "undecided, with 3 different results, after 3 runs (eager: 3)",
        "  cut off: eager after 3 runs; there may be other outcomes; remedy: raise max_runs, name fewer modes, or "
        "explore fewer ranks",
        "  results [[1, 2, 3], None, None, None]  in 1 run (eager)  replay='eager:0,0'",
        "  and 2 more outcomes",
    ]


def test_a_long_report_is_shortened() -> None:
    lines = str(ranks.explore(gathers, 5, modes=["eager"])).splitlines()
    assert lines[0] == "holds, with 24 different results, after 24 runs (eager: 24)"
    assert len(lines) == 12
    assert lines[-1] == "  and 14 more outcomes"
    found = ranks.explore(lambda comm: "x" * 1000, 1)
    assert max(map(len, str(found).splitlines())) < 300
    assert found.outcomes[0].results == ["x" * 1000]


def test_the_exploration_in_the_guide_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    shown = re.search(r"```python\n([^`]*ranks\.explore[^`]*)```\n\n```\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    exec(compile(shown[1], "steals.py", "exec"), {"ranks": ranks})
    assert capsys.readouterr().out == shown[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, program: Any, p: int) -> str:
    """Return what exploring writes to standard error."""
    monkeypatch.setattr("sys.stderr", stream)
    ranks.explore(program, p, modes=["eager"])
    return stream.getvalue()


def takes_all(comm: Any) -> None:
    gathers(comm)


def takes_all_but_not_the_last_rank_first(comm: Any) -> None:
    got = gathers(comm)
    assert comm.rank or got[0] < comm.size - 1


def test_a_long_exploration_shows_its_progress_on_a_terminal_and_nowhere_else(monkeypatch: Any) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 20)
    assert shown(monkeypatch, Terminal(), takes_all, 4) == ""
    assert "exploring eager" in shown(monkeypatch, Terminal(), takes_all, 5)
    assert shown(monkeypatch, io.StringIO(), takes_all, 5) == ""


def test_progress_is_shown_while_critical_choices_are_looked_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 10)
    text = shown(monkeypatch, Terminal(), takes_all_but_not_the_last_rank_first, 5)
    assert "exploring eager" in text
    assert "looking for critical choices" in text
