"""A progress bar for long work, where there is a terminal to show it and rich is installed; nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Any

# Work of fewer steps is over before a bar could be read.
_PATIENCE = 200


class Bar:
    """A bar that shows `fraction()` after each `update()` from the `patience`-th on; gone when the work is done."""

    def __init__(self, what: str, fraction: Callable[[], float], *, patience: int | None = None) -> None:
        self.what, self.fraction = what, fraction
        self.patience = _PATIENCE if patience is None else patience
        self.n_updates = 0
        self.shown: Any = None
        self.wanted = sys.stderr is not None and sys.stderr.isatty() and find_spec("rich") is not None
        self.stream = sys.stderr

    def __enter__(self) -> Bar:
        return self

    def update(self) -> None:
        """Note a step of the work."""
        self.n_updates += 1
        if not self.wanted or self.n_updates < self.patience:
            return
        if self.shown is None:
            self._show()
        self.shown.update(self.task, completed=self.fraction(), n=self.n_updates)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[n]:,}"))
        self.shown = Progress(*columns, TimeElapsedColumn(), console=Console(file=self.stream), transient=True)
        self.task = self.shown.add_task(self.what, total=1.0, n=0)
        self.shown.start()

    def __exit__(self, kind: type[BaseException] | None, it: BaseException | None, trace: TracebackType | None) -> None:
        if self.shown is not None:
            self.shown.stop()
