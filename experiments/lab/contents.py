"""Which experiments there are: each script of the folder says itself what it asks, what it shows, how long it takes."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Entry:
    """An experiment as its file describes it, which is read and not run.

    name: What the command `gears` calls it, "ring-allreduce" for ring_allreduce.py.
    question: The first line of the docstring. shows, takes: The constants SHOWS and TAKES, as in "2 s".
    problem: Why the file does not say so, "" if it does; an experiment that is being written is not in others' way.
    """

    name: str
    question: str = ""
    shows: str = ""
    takes: str = ""
    problem: str = ""

    def module(self) -> Any:
        """Return the module, which is imported now."""
        return import_module(f"experiments.{self.name.replace('-', '_')}")


def contents(folder: Path = FOLDER) -> dict[str, Entry]:
    """Return the experiments of a folder by their names."""
    paths = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    return {entry.name: entry for entry in map(_entry, paths)}


def _entry(path: Path) -> Entry:
    name = path.stem.replace("_", "-")
    try:
        return Entry(name, *_said(path))
    except (SyntaxError, ValueError) as error:
        return Entry(name, problem=str(error))


def _said(path: Path) -> tuple[str, str, str]:
    """Return what a script asks, what it shows, how long it takes; raise SyntaxError or ValueError if it does not."""
    tree = ast.parse(path.read_bytes(), path.name)
    said = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in ("SHOWS", "TAKES")
    }
    missing = sorted({"SHOWS", "TAKES"} - said.keys())
    if missing:
        raise ValueError(f"{path.name}: expected {' and '.join(missing)}, a line of text each, for `gears list`")
    question = (ast.get_docstring(tree) or "").partition("\n")[0]
    return question, said["SHOWS"], said["TAKES"]
