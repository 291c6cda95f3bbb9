"""Programs that tests write to files and run with `python -m mpi`, in this process."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mpi.launch.command import main


class Launched(NamedTuple):
    """What came of a program: its exit status, the lines that it printed, and what it said about errors."""

    status: int
    lines: list[str]
    err: str


Launcher = Callable[..., Launched]
# `main.py` begins with this.
HEAD = "import sys\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n"


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Launcher:
    """Return launch(n, text or files, *options, args=()): run `main.py`, or what options name, in a folder of files."""
    folder = tmp_path / "program"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(n: int, files: str | dict[str, str], *options: str, args: tuple[str, ...] = ("main.py",)) -> Launched:
        for name, text in ({"main.py": files} if isinstance(files, str) else files).items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text((HEAD if name == "main.py" else "") + textwrap.dedent(text))
        capsys.readouterr()
        status = main(["-n", str(n), *options, *args])
        out, err = capsys.readouterr()
        return Launched(status, out.splitlines(), err)

    return run
