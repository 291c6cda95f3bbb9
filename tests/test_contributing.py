"""The recipe of CONTRIBUTING.md works when followed, and the suite rejects what is followed wrongly."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("ranks", "loggp", "collectives", "parallel", "training", "sorting", "mpi", "experiments", "tests", "docs")
CLAIMS, COSTS = (f"tests/collectives/test_{name}.py" for name in ("collectives", "collective_costs"))
EXAMPLES = "tests/test_examples.py"


def follow(project: Path, mistake: tuple[str, str], *files: str) -> subprocess.CompletedProcess[str]:
    """Do in `project`, an empty folder, what the page says, with a mistake; run tests of these files."""
    for name in NEEDED:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, project / name)
    page = (ROOT / "CONTRIBUTING.md").read_text()
    algorithm, cost = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert mistake[0] in algorithm + cost
    with (project / "collectives" / "broadcast.py").open("a") as module:
        module.write(f"\n\n{algorithm}\n\n{cost}".replace(*mistake))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "linear_broadcast", *files]
    return subprocess.run(command, cwd=project, env={"PYTHONPATH": str(project)}, capture_output=True, text=True)


def test_the_recipe_works_as_written(tmp_path: Path) -> None:
    run = follow(tmp_path, ("linear_broadcast", "linear_broadcast"), CLAIMS, COSTS, EXAMPLES)
    assert run.returncode == 0, run.stdout
    assert re.search(r"\b9 passed", run.stdout), run.stdout


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        (CLAIMS, "(root + other) % comm.size", "other"),
        (COSTS, "n_items * itemsize, None", "n_items, None"),
        (EXAMPLES, "    return x", "    return x + 1"),
    ],
)
def test_a_mistake_in_code_cost_or_example_is_found(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    run = follow(tmp_path, (right, wrong), file)
    assert run.returncode == 1, run.stdout
    assert "failed" in run.stdout
