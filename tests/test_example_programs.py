"""Every program of examples/ is short, opens with its question, and prints what it says it prints."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import run

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
TESTS = EXAMPLES / "test_on_simulated_ranks.py"
SORT = EXAMPLES / "distributed_sort.py"


def docstring(program: Path) -> str:
    text = ast.get_docstring(ast.parse(program.read_text()))
    assert text is not None
    return text


def shown(program: Path, command: str) -> str:
    """Return what the docstring shows below a command."""
    found = re.search(rf"^    \$ {re.escape(command)}\n((?:    .*\n?)+)", docstring(program), re.MULTILINE)
    assert found is not None
    return re.sub("^    ", "", found[1], flags=re.MULTILINE).rstrip() + "\n"


def start(program: Path, monkeypatch: Any, *arguments: str) -> None:
    """Run a program as `python program` does, in this process."""
    monkeypatch.setattr(sys, "argv", [str(program), *arguments])
    runpy.run_path(str(program), run_name="__main__")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_is_short_and_opens_with_the_question_that_the_list_names(program: Path) -> None:
    question = docstring(program).partition("\n")[0]
    assert question.endswith("?")
    assert len(program.read_text().splitlines()) < 60
    assert f"| [{program.name}]({program.name}) | {question} |" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("program", [each for each in PROGRAMS if each != TESTS], ids=lambda program: program.name)
def test_a_program_prints_what_it_shows(program: Path, monkeypatch: Any, capsys: Any) -> None:
    start(program, monkeypatch)
    assert capsys.readouterr().out == shown(program, f"python examples/{program.name}")


def test_the_sort_starts_processes_of_real_mpi(monkeypatch: Any, capfd: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        start(SORT, monkeypatch, "--launch")
    assert (caught.value.code, capfd.readouterr().out) == (
        0,
        shown(SORT, "mpiexec -n 2 python -m mpi4py examples/distributed_sort.py"),
    )


def test_the_tests_pass_where_they_are_copied_to_and_fail_for_a_mistake(tmp_path: Path) -> None:
    text = TESTS.read_text()
    mistakes = {
        "test_equals_what_one_rank_computes": ("x.sum()", "x.size"),
        "test_a_rank_that_leaves_early_is_named": ("if comm.rank != 1:", "if True:"),
        "test_sends_little": ("x.size, x.sum()", "*[x.size] * 200, x.sum()"),
    }
    (tmp_path / TESTS.name).write_text(text)
    for name, (right, wrong) in mistakes.items():
        assert right in text
        (tmp_path / f"{name}.py").write_text(text.replace(right, wrong, 1))
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path)
    failed = re.findall(r"^FAILED (\w+)\.py::(\w+)", done.stdout, re.MULTILINE)
    assert {(name, name) for name in mistakes} <= {*failed}, done.stdout
    assert TESTS.stem not in {file for file, _ in failed}, done.stdout
