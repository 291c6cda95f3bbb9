"""Every example of README, guide, tutorial and docstrings gives the answer that stands beside it."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import linecache
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collectives
import loggp
import mpi
import parallel
import ranks
import sorting
import training
from example_paragraphs import code_of, is_python, paragraphs
from processes import HANG_S

ROOT = Path(__file__).parents[1]
README, GUIDE, TUTORIAL = ((ROOT / name).read_text() for name in ("README.md", "docs/guide.md", "docs/tutorial.md"))


def shown_answers(block: str) -> list[tuple[str, str]]:
    """Return (expression, answer) for each expression with a comment behind it, or on the next line."""
    pairs = re.findall(r"^([A-Za-z_]\w*[.(][^\n]*?)(?:  +|\n *)# (.+)$", block, re.MULTILINE)
    return [(code.strip(), answer) for code, answer in pairs]


def agrees(value: Any, answer: str) -> bool:
    """Return whether the answer begins with the value's repr, blanks and what follows a colon aside."""
    return answer.replace(" ", "").startswith(re.sub(r"\s", "", repr(value)))


def docstrings() -> list[tuple[str, str]]:
    """Return (name, docstring) of all modules, functions and classes of the packages."""
    found: dict[str, str] = {}
    for package in (ranks, loggp, collectives, parallel, training, sorting, mpi):
        names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        for module in map(importlib.import_module, [package.__name__, *names]):
            found[f"{module.__name__}."] = inspect.getdoc(module) or ""
            for name, thing in vars(module).items():
                is_own = getattr(thing, "__module__", None) == module.__name__
                if is_own and (inspect.isroutine(thing) or inspect.isclass(thing)):
                    found[f"{module.__name__}.{name}"] = inspect.getdoc(thing) or ""
    return sorted(found.items())


def example_lines(text: str) -> list[str]:
    """Return the lines of the paragraphs of a docstring that are indented, or have an answer on each line.

    An indented table is none: it has no answer, and is no Python.
    """
    codes = filter(None, map(code_of, paragraphs(text.splitlines())))
    return [line for code in codes if "# " in code or is_python(code) for line in code.splitlines()]


# Examples that start processes or need some.
NEED_MPI = {"ranks.both.calibrate.calibrate", "ranks.real.processes.launch"}
EXAMPLES = [
    (name, text)
    for name, text in docstrings()
    if name not in NEED_MPI and re.search(r"# ['\[\d\-{(aTFNL]", "\n".join(example_lines(text)))
]


def namespace() -> dict[str, Any]:
    packages = (ranks, loggp, collectives, parallel, training, sorting)
    names: dict[str, Any] = {"np": np, **{package.__name__: package for package in packages}}
    for package in packages:
        names |= {name: getattr(package, name) for name in package.__all__}
    helpers = ("ranks.words.datatypes", "ranks.hangs.cores", "collectives.arrays", "loggp.machine", "loggp.patterns")
    for module in (
        *helpers,
        "parallel.costs",
        "parallel.attention.heads",
        "parallel.layers",
        "parallel.sequence.shards",
        "sorting.blocks",
        "training.pipeline",
        "training.pipeline.costs",
    ):
        names |= {n: v for n, v in vars(importlib.import_module(module)).items() if not n.startswith("_")}
    return names


def check(code: str, names: dict[str, Any], file: str = "example.py") -> int:
    """Run an example, compare each answer shown with the real one, and return how many there were."""
    answers = shown_answers(code)
    for expression, _ in answers:
        ast.parse(expression, mode="eval")
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    exec(compile(code, file, "exec"), names)
    for expression, answer in answers:
        value = eval(expression, names)
        assert agrees(value, answer), f"{expression} is {value!r}, and the text says {answer}"
    return len(answers)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (code, output) of each block of Python on a page; the output is in the block that follows, if any."""
    return re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", page, re.DOTALL)


def run_page(page: str) -> int:
    """Run a page's blocks from top to bottom, as its reader would; return how many answers and outputs it shows."""
    names: dict[str, Any] = {}
    n_shown = 0
    for code, output in blocks(page):
        if "def test_" in code or re.match(r"# \w+\.py\n", code):
            continue  # a file of its own, which has a test of its own
        file = re.search(r"\w+\.py(?=:\d)", output)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                n_shown += check(code, names, file[0] if file else "example.py")
        except ranks.RanksError as error:
            print(error, *getattr(error, "__notes__", ()), sep="\n", file=said)
        assert said.getvalue().strip() == output.strip()
        n_shown += output != ""
    return n_shown


def test_the_readme_shows_a_program_whose_answers_are_true() -> None:
    assert run_page(README) == 3


def test_all_code_of_the_guide_gives_what_is_shown() -> None:
    assert run_page(GUIDE) == 19


def test_all_code_of_the_tutorial_gives_what_is_shown() -> None:
    assert run_page(TUTORIAL) == 17


def test_every_call_that_the_guide_lists_is_there() -> None:
    table = GUIDE.partition("## The communicator's calls")[2].partition("Collectives are functions")[0]
    names = re.findall(r"`(\w+)`", table)
    assert len(names) > 40
    assert [name for name in names if not any(hasattr(each, name) for each in (ranks.Comm, ranks.Prequest))] == []


@pytest.mark.parametrize(
    ("page", "right", "wrong"),
    [
        (GUIDE, "# 20640000", "# 20640001"),
        (GUIDE, "import collectives\n", ""),
        (GUIDE, "after 2 runs", "after 3 runs"),
        (TUTORIAL, "for rank 1 to receive", "for rank 1 to send"),
        (TUTORIAL, "# 26400000", "# 26400001"),
    ],
    ids=range(5),
)
def test_a_page_that_shows_something_else_is_found(page: str, right: str, wrong: str) -> None:
    assert right in page
    with pytest.raises((AssertionError, NameError)):
        run_page(page.replace(right, wrong, 1))


def test_the_program_for_both_worlds_prints_in_each_what_the_tutorial_shows(tmp_path: Path) -> None:
    [code] = [code for code, _ in blocks(TUTORIAL) if code.startswith("# both.py\n")]
    (tmp_path / "both.py").write_text(code)
    [shown] = re.findall(r"```console\n(\$ python both.py\n.*?)```", TUTORIAL, re.DOTALL)
    simulated, real = (part.split("\n", 1) for part in shown.split("$ ")[1:])
    assert (simulated[0], real[0]) == ("python both.py", "mpiexec -n 2 python -m mpi4py both.py")
    run = subprocess.run([sys.executable, "both.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == simulated[1]
    assert ranks.real.launch(2, [str(tmp_path / "both.py")]).stdout == real[1]


def test_the_tests_in_the_tutorial_pass_and_report_a_mistake_as_shown(tmp_path: Path) -> None:
    [code] = [code for code, _ in blocks(TUTORIAL) if "def test_" in code]
    report = re.search(r"divided by `(.*?)`, the report would say:\n\n```\n(.*?)```", TUTORIAL, re.DOTALL)
    assert report is not None
    printed = []
    for text in (code, code.replace("comm.size", report[1], 1)):
        (tmp_path / "test_mean.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mean.py"]
        printed.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S).stdout)
    assert "6 passed" in printed[0]
    found = iter(printed[1].splitlines())
    for line in report[2].splitlines():
        assert line in found, line  # in this order, which `in` sees to: it goes on from where it was


def test_the_demo_prints_what_the_readme_shows() -> None:
    script = ROOT / "experiments" / "ring_allreduce.py"
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"}
    )
    printed = "\n".join(line.rstrip() for line in run.stdout.strip().splitlines())
    shown = re.search(r"\$ make demo[^\n]*\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert f"\n{shown[1]}" in printed


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_examples_in_docstrings_give_the_answers_shown(name: str, text: str) -> None:
    code = "\n".join(example_lines(text))
    own = vars(importlib.import_module(name.rpartition(".")[0]))
    assert check(code, namespace() | own) > 0


def test_help_on_an_algorithm_shows_a_call_of_it_its_shapes_and_its_errors() -> None:
    """Also where these are those of its operation, written once."""
    for operation, rows in collectives.CATALOGUE.items():
        for row in rows.values():
            text = inspect.getdoc(row.function) or ""
            assert f"{row.function.__name__}(comm" in text or f"({row.function.__name__}, " in text, row.function
            assert "\nCost:" in text
            assert operation == "barrier" or ("\nShape:" in text and "\nRaises:" in text), row.function
