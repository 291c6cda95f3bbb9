"""What a terminal shows while an experiment works: nothing is silent for long, and nothing of it stays."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from ranks import real

T = TypeVar("T")


def track(items: Sequence[T], what: str, *, steady: bool = True) -> Iterable[T]:
    """Return an iterator over `items` that shows on a terminal how many are done.

    steady: The clock goes on during an item, by a thread; not so where an item is timed.
    """
    with steps(what, len(items), steady=steady) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal that something is under way and for how long, where nobody can say how much is left."""
    with steps(what, None):
        yield


@contextmanager
def steps(what: str, total: int | None, *, steady: bool = True) -> Iterator[Callable[[], Any]]:
    """Give a function to be called after each step, of which there are `total`, None if nobody knows."""
    # Processes under mpiexec write through a pipe; the launcher that knows a terminal behind it says so.
    through_pipe = os.environ.get("TTY_COMPATIBLE") == "1"
    stream = sys.stdout if through_pipe else sys.stderr
    silent = real.under_mpi() and real.world().rank > 0
    if silent or not (through_pipe or stream.isatty()) or find_spec("rich") is None:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    middle = (BarColumn(), MofNCompleteColumn()) if total is not None else (SpinnerColumn("line"),)
    columns = (TextColumn("{task.description}"), *middle, TimeElapsedColumn())
    steady = steady and not real.under_mpi()  # where calls are timed by the wall clock
    with Progress(*columns, console=Console(file=stream), transient=True, auto_refresh=steady) as shown:
        task = shown.add_task(what, total=total)
        shown.refresh()

        def advance() -> None:
            shown.advance(task)
            shown.refresh()

        yield advance
