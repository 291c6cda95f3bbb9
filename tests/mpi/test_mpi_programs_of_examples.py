"""Every program of examples/mpi is short, opens with its question, and prints what it says, on real MPI too."""

import ast
import re
from pathlib import Path

import pytest

from mpi.launch.command import main
from real_mpi import launch

FOLDER = Path(__file__).parents[2] / "examples" / "mpi"
PROGRAMS = sorted(FOLDER.glob("*.py"))
MEASURES = {"latency.py", "bandwidth.py"}  # print times, which real MPI has others of
ON_REAL_MPI = ["task_farm.py", "sample_sort.py", "latency.py"]


def shown(program: Path) -> tuple[list[str], str]:
    """Return the arguments of the command in the docstring, and what it shows."""
    text = ast.get_docstring(ast.parse(program.read_text()))
    found = re.search(r"^    \$ python -m mpi (.*)\n((?:    .*(?:\n|$))+)", text, re.MULTILINE)
    assert found is not None
    assert found[1].endswith(f" examples/mpi/{program.name}")
    return found[1].split(), re.sub("^    ", "", found[2], flags=re.MULTILINE).rstrip("\n") + "\n"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_prints_what_it_shows(program, capsys, monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    arguments, answer = shown(program)
    assert main(arguments) == 0
    assert capsys.readouterr().out == answer


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_is_short_and_opens_with_the_question_that_the_list_names(program):
    question = ast.get_docstring(ast.parse(program.read_text())).partition("\n")[0]
    assert question.endswith("?")
    assert len(program.read_text().splitlines()) < 60
    assert f"| [{program.name}]({program.name}) | {question} |" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", ON_REAL_MPI)
def test_real_mpi_prints_the_same(name):
    (_, n, *_), answer = shown(FOLDER / name)
    done = launch(int(n), [FOLDER / name])
    assert done.returncode == 0, done.stderr
    if name in MEASURES:
        assert [line.split()[0] for line in done.stdout.splitlines()] == [
            line.split()[0] for line in answer.splitlines()
        ]
    else:
        assert done.stdout == answer
