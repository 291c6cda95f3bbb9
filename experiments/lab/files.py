"""The files that an experiment writes: types for options that name one, and writing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.lab.errors import UsageError


def writable(text: str) -> Path:
    """Return the path of a file that can be written; a type for options."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file that can be written")
    return path


def picture(text: str) -> Path:
    """Return the path of a picture that can be written; a type for options."""
    if Path(text).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file name that ends in .png or .svg")
    return writable(text)


def animation(text: str) -> Path:
    """Return the path of an animation that can be written; a type for options."""
    if Path(text).suffix != ".gif":
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file name that ends in .gif")
    return writable(text)


def beside(path: Path) -> Path:
    """Return where the picture of messages goes: ring.png -> ring-messages.png."""
    return path.with_stem(f"{path.stem}-messages")


def save(path: Path, write: Callable[[Path], Any]) -> None:
    """Let write(path) make a file, and say so."""
    try:
        write(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
