"""What a terminal shows while an experiment works."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def track(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Return an iterator over `items` that shows its progress on a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return rich_track(items, what, console=console, transient=True, disable=not console.is_terminal)
