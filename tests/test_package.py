"""The wheel holds all modules and works where nothing but our three needs is installed; what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import greenlet
import ml_dtypes
import numpy as np
import pytest

import ranks
from processes import HANG_S

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*")
    if path.suffix in (".py", ".html", ".js") or path.name == "py.typed"
)


def run(*command: object, cwd: Path) -> str:
    """Return what a command prints, run as an installed user would, who has no checkout on the path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: Any) -> Path:
    """Return the wheel, made in a copy of the project, since setuptools would leave folders in this one."""
    project = tmp_path_factory.mktemp("wheel")
    for name in [*FILES, "pyproject.toml", "README.md", "LICENSE"]:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", ".", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", "made", cwd=project)
    [made] = (project / "made").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: Any) -> Path:
    """Return the scripts of a new environment into which pip has installed the wheel; it also sees our three needs."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel, cwd=folder)
    needs = folder / "needs"
    needs.mkdir()
    for package in map(Path, (np.__path__[0], f"{np.__path__[0]}.libs", ml_dtypes.__path__[0], greenlet.__path__[0])):
        if package.exists():
            (needs / package.name).symlink_to(package)
    [site] = (folder / "env").glob("lib/python3*/site-packages")
    (site / "needs.pth").write_text(str(needs))
    return python.parent


def test_the_wheel_holds_every_module_and_the_marks_of_typed_packages(wheel: Path) -> None:
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(held) == FILES


def test_the_command_is_installed_and_says_what_is_there(installed: Path, tmp_path: Path) -> None:
    said = dict(line.split(":", 1) for line in run(installed / "gears", "version", cwd=tmp_path).splitlines())
    assert said["gears"].strip() == ranks.__version__
    assert said["matplotlib"].strip() == "not installed"
    assert said["MPI"].strip() == 'not found; install the extra "mpi": pip install "gears[mpi]"'
    assert "ring-allreduce" in run(installed / "gears", "list", cwd=tmp_path)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [each for each in archive.namelist() if each.endswith("METADATA")]
    said = Parser().parsestr(archive.read(name).decode())
    assert said["Version"] == ranks.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert {"Operating System :: POSIX :: Linux", "Typing :: Typed"} <= {*said.get_all("Classifier")}
    assert {"mpi", "show"} <= {*said.get_all("Provides-Extra")}


USE = """
import importlib, pkgutil, sys
import numpy as np

for only_posix_has_it in ("fcntl", "grp", "pwd", "resource", "termios"):  # Windows does not
    sys.modules[only_posix_has_it] = None
import collectives, loggp, mpi, parallel, ranks, sorting, training

for package in (ranks, loggp, collectives, sorting, parallel, training, mpi):
    assert package.__file__.startswith(sys.prefix), package
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not info.name.startswith("mpi.testing."):  # a plug-in of pytest, which loads it
            importlib.import_module(info.name)

def program(comm):
    mine = sorting.partition_sort(comm, np.array([2.0, 1.0]) + comm.rank)
    return collectives.allreduce(comm, mine).tolist()

run = ranks.run(program, 3, trace=True)
print(ranks.__version__, run.results)
print(*sorted({"matplotlib", "rich", "mpi4py", "mpich", "pip"} & {name.partition(".")[0] for name in sys.modules}))

def refusal(call):
    try:
        call()
    except ImportError as error:
        print(type(error).__name__, error)

from ranks import real
run.trace.to_html("ring.html")
refusal(lambda: run.trace.picture("ring.png"))
refusal(lambda: sorting.draw(sorting.bitonic(4)))
refusal(lambda: real.launch(2, ["program.py"]))
refusal(real.world)
"""


def test_what_is_installed_works_with_numpy_and_greenlet_alone_and_names_what_is_missing(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "use.py").write_text(USE)
    told = run(installed / "python", "use.py", cwd=tmp_path).splitlines()
    # [1, 2], [2, 3] and [3, 4], sorted over the ranks and then added up.
    assert told[:2] == [f"{ranks.__version__} [[6.0, 9.0], [6.0, 9.0], [6.0, 9.0]]", ""]
    no_picture, no_drawing, no_launch, no_world = told[2:]
    for text in (no_picture, no_drawing):
        assert text == (
            "NotInstalledError a picture: got no matplotlib, expected it to be installed; "
            'remedy: install the extra "show": pip install "gears[show]"'
        )
    for call, text in (("launch()", no_launch), ("world()", no_world)):
        assert text == (
            f"MPINotInstalledError {call}: got No module named 'mpi4py', expected mpi4py and an MPI library; "
            'remedy: install the extra "mpi": pip install "gears[mpi]"'
        )
