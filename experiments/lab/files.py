"""The files that an experiment writes: types for options that name one, and writing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from experiments.lab import progress, terminal
from experiments.lab.errors import UsageError


def named(*endings: str) -> Callable[[str], Path]:
    """Return a type for an option: the path of a file that can be written, and whose name ends in one of these."""

    def path_of(text: str) -> Path:
        path = Path(text)
        if path.suffix not in endings:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a file name that ends in {' or '.join(endings)}")
        if problem := _hindrance(path):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a file that can be written; {problem}")
        return path

    path_of.__qualname__ = f"named{endings}"  # two such types are told apart by what they take
    return path_of


def _hindrance(path: Path) -> str:
    """Return what keeps a file from being written, and the remedy; "" if nothing does."""
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return f"remedy: mkdir -p {path.parent}"
    place = path if path.exists() else path.parent
    return "" if os.access(place, os.W_OK) else f"remedy: chmod u+w {place}"


picture = named(".png", ".svg")


def beside(path: Path) -> Path:
    """Return where the picture of messages goes: ring.png -> ring-messages.png."""
    return path.with_stem(f"{path.stem}-messages")


def save(path: Path, write: Callable[[Path], Any]) -> None:
    """Let write(path) make a file, and say so."""
    try:
        with progress.waiting(f"writing {path.name}"):
            write(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    terminal.say(f"wrote {path}")


def draw(path: Path, make: Callable[[], Any]) -> None:
    """Save the Figure that make() returns."""
    save(path, lambda path: make().savefig(path))


def save_trace(args: argparse.Namespace, trace: Any, title: str) -> None:
    """Write a trace into the files of --trace and --html, if they were asked for."""
    if args.trace:
        save(args.trace, trace.to_chrome)
    if args.html:
        save(args.html, partial(trace.to_html, title=title))
