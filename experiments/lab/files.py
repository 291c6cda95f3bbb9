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
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a file that can be written")
        return path

    return path_of


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


def save_trace(args: argparse.Namespace, trace: Any, title: str) -> None:
    """Write a trace into the files of --trace and --html, if they were asked for."""
    if args.trace:
        save(args.trace, trace.to_chrome)
    if args.html:
        save(args.html, partial(trace.to_html, title=title))
