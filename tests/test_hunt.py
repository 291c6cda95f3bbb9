"""`make hunt` finds planted failures, prints each as an example to add, and counts what it drew."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from processes import HANG_S

HUNT = Path(__file__).parent / "hunt.py"
CONFTEST = Path(__file__).parent / "conftest.py"
PLANTED = """
from dataclasses import dataclass
from types import SimpleNamespace
import pytest
from hypothesis import assume, example, given, settings, strategies as st

@dataclass(frozen=True)
class Case:
    n: int
    kind: str

CASES = st.builds(Case, n=st.integers(0, 10**4), kind=st.sampled_from("ab"))

@pytest.mark.parametrize("least", [5, 8000])
@settings(max_examples=20)
@given(case=CASES)
def test_planted(least, case):
    assert case.n < least or case.kind == "a"

@given(st.floats())
def test_planted_nan(x):
    assert x == x

@settings(max_examples=20)
@given(st.sampled_from("xy"), st.integers(0, 99))
def test_good(kind, n):
    assume(n % 2)

@given(st.data())
def test_late(data):
    data.draw(st.integers(0, 1))
    data.draw(st.integers())
    hunt.time = SimpleNamespace(time=lambda: float("inf"))

@pytest.mark.parametrize("kind", ["x"])
def test_numbered(kind, seeds):
    for seed in seeds(10):
        assert seed < 10, seed

def test_that_draws_nothing():
    raise AssertionError("it is not for the hunt")
"""


def hunt(folder: Path, *options: str, planted: str = PLANTED) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_some.py").write_text(planted)
    command = [sys.executable, str(HUNT), "--workers", "1", "--seed", "1", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANG_S)


def test_a_planted_failure_is_found_and_printed_as_an_example_that_fails(tmp_path: Path) -> None:
    run = hunt(tmp_path, "-k", "planted or numbered")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "FOUND in test_some.py::test_planted[5], seed 1" in run.stdout
    assert "run: python -m pytest 'test_some.py::test_numbered[x]' --first-seed=1" in run.stdout
    assert "draws_nothing" not in run.stdout
    assert "no test is left to run" in run.stdout  # also the one that seldom fails
    found = re.search(r"add above @given of test_planted:\n +(@example\(case=Case\(n=5, kind='b'\)\))\n", run.stdout)
    assert found, run.stdout
    assert "add above @given of test_planted_nan:\n      @example(x=float('nan'))" in run.stdout
    mended = PLANTED.replace("@given(case=CASES)", f"{found[1]}\n@given(case=CASES)").replace("[5, 8000]", "[5]")
    (tmp_path / "test_some.py").write_text(mended)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "planted and 5 and not nan"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert again.returncode == 1
    assert "explicit example" in again.stdout


def test_what_was_drawn_is_counted(tmp_path: Path) -> None:
    run = hunt(tmp_path, "--fixed", "-k", "good")
    assert run.returncode == 0, run.stdout + run.stderr
    row = re.search(r"^ +(\d+) +(\d+) +0  test_some.py::test_good$", run.stdout, re.MULTILINE)
    kinds = re.search(r"kind: 2 kinds: '[xy]' (\d+), '[xy]' (\d+)", run.stdout)
    assert row, run.stdout
    assert kinds, run.stdout
    # Each call of the test is an example; those that it refuses by `assume` are rejected too.
    assert int(row[1]) == int(kinds[1]) + int(kinds[2]) == 20 + int(row[2])


def test_a_test_in_which_the_time_is_up_has_not_failed(tmp_path: Path) -> None:
    planted = PLANTED.replace("import pytest", "import hunt, pytest")
    run = hunt(tmp_path, "--fixed", "--minutes", "1000", "-k", "late", planted=planted)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^ +1 +\d+ +0  test_some.py::test_late$", run.stdout, re.MULTILINE), run.stdout


def test_a_hunt_for_nothing_and_a_test_that_cannot_be_imported_end_badly(tmp_path: Path) -> None:
    assert hunt(tmp_path, "-k", "no_such_test").returncode != 0
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    run = hunt(tmp_path, "-k", "good")
    assert run.returncode == 1
    assert "No module named 'no_such_module'" in run.stdout
