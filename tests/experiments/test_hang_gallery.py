"""Claims about the gallery: each case fails as it says, on the ranks and lines to blame, and holds when mended."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import ranks
from experiments import hang_gallery
from experiments.lab.gallery import CASES, Case

ALL = pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def explored_once() -> Iterator[None]:
    """Let several tests look at what a case came to, without exploring it again for each."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Case, "__hash__", object.__hash__)
        for name in ("failure", "verdict_when_mended"):
            patched.setattr(Case, name, cache(getattr(Case, name)))
        yield


def blamed(case: Case, failure: Any) -> list[int]:
    """Return the ranks that a failure is put down to."""
    if isinstance(failure, ranks.RankFailedError):
        return list(failure.failed)
    if isinstance(failure, ranks.DeadlockError):
        return failure.core
    if isinstance(failure, ranks.CollectiveMismatchError):
        return list(failure.calls.values())[-1]
    return [failure.rank]


def named_lines(case: Case, failure: Any) -> set[int]:
    """Return the lines of the case's file that a failure names as those where its ranks are."""
    file = Path(case.program.__code__.co_filename).name
    sites = [failure.site]
    if isinstance(failure, ranks.DeadlockError):
        sites = [
            site for each in failure.blocked for site in (each.call.site, each.call.caller) if each.rank in failure.core
        ]
    return {int(site.partition(":")[2]) for site in sites if site.startswith(file)}


def test_the_gallery_is_large_enough() -> None:
    assert len(CASES) >= 15
    assert {case.explored for case in CASES.values()} == {True, False}


@ALL
def test_case_is_explained_with_the_right_ranks_lines_and_advice(case: Case) -> None:
    failure = case.failure()
    assert type(failure) is case.error
    assert sorted(blamed(case, failure)) == case.culprits
    for part in case.says:
        assert part in str(failure)
    assert len(str(failure).splitlines()[0]) < 250
    if case.marked_lines():
        assert named_lines(case, failure) == case.marked_lines()


@ALL
def test_mended_case_holds_under_every_schedule(case: Case) -> None:
    found = case.verdict_when_mended()
    assert found.verdict == "holds", found


@ALL
def test_what_only_exploring_finds_passes_in_ordinary_runs_and_the_rest_fails_in_them(case: Case) -> None:
    if case.explored:
        for network in ranks.presets:
            ranks.run(case.program, case.size, network=network)
    else:
        with pytest.raises(case.error):
            ranks.run(case.program, case.size, **case.options)


def call(monkeypatch: Any, *argv: object, keys: str = "") -> int:
    monkeypatch.setattr("sys.argv", ["hang_gallery.py", *map(str, argv)])
    monkeypatch.setattr("sys.stdin", io.StringIO(keys))
    return hang_gallery.main()


def test_all_cases_are_shown_in_a_table(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert call(monkeypatch) == 0
    out = capsys.readouterr().out
    for case in CASES.values():
        line = next(line for line in out.splitlines() if line.strip().startswith(case.name))
        assert case.error.__name__ in line
        assert re.search(r"\d runs?$", line)


def test_list_names_each_case_and_what_was_meant(monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, "--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == list(CASES)


@pytest.mark.parametrize("name", ["wildcard_steals", "stale_message"])
def test_a_case_is_told_from_its_code_to_its_repair(name: str, monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    picture = tmp_path / "case.svg"
    assert call(monkeypatch, "--case", name, "--plot", picture) == 0
    out, case = capsys.readouterr().out, CASES[name]
    places = [out.index(part) for part in (f"def {name}(comm", case.says[0], "Mended:", "Explored: holds")]
    assert places == sorted(places)
    assert picture.read_text().startswith("<?xml")


def test_the_quiz_hides_report_and_marks_until_asked(monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, "--quiz", "--case", "wrong_tag", keys="\n\n") == 0
    question = capsys.readouterr().out.partition("Enter shows the report")
    assert "# here" not in question[0]
    assert "DeadlockError" not in question[0]
    assert "DeadlockError" in question[2]


def test_the_quiz_says_how_far_it_is_and_can_be_left(monkeypatch: Any, capsys: Any) -> None:
    for keys in ("\n\n\nq\n", "\n\n"):  # in the second case, and where there is no reader any more
        assert call(monkeypatch, "--quiz", keys=keys) == 0
        out = capsys.readouterr().out
        assert "1 of 21: send_first_ring" in out
        assert "2 of 21: wrong_tag" in out
        assert "3 of 21" not in out
        assert out.endswith("You have seen 1 of 21 to the end.\n")


def test_the_page_has_all_cases_with_code_report_and_repair(monkeypatch: Any, tmp_path: Path) -> None:
    assert call(monkeypatch, "--html", tmp_path / "gallery.html") == 0
    page = (tmp_path / "gallery.html").read_text()
    for case in CASES.values():
        assert page.count(f'<a href="#{case.name}">') == page.count(f'<h2 id="{case.name}">') == 1
        assert page.count(f"def {case.name}(comm") == 2
    assert page.count('<figure class="trace"') == len(CASES)


def test_a_picture_shows_the_run_that_fails() -> None:
    for case in CASES.values():
        failure: Any = case.failure()
        failed = {fate.rank for fate in failure.trace.fates(failure) if fate.role in ("core", "failed")}
        assert failed >= set(case.culprits), case.name


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--case", "nope"], "invalid choice: 'nope'"),
        (["--plot", "x.png"], "remedy: add --case NAME"),
        (["--case", "wrong_tag", "--plot", "x.gif"], "expected a file name that ends in .png or .svg"),
        (["--html", "/nowhere/x.html"], "expected a file that can be written"),
        (["--html", "x.txt"], "expected a file name that ends in .html"),
        (["--quiz", "--list"], "got --list and --quiz, expected one of them"),
        (["--case", "wrong_tag", "--csv", "x.csv"], "keep the table of all cases; remedy: leave out --case"),
        (["--list", "--json", "x.json"], "keep the table of all cases; remedy: leave out --list"),
        (["nonsense"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(argv: list[str], says: str, monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1
