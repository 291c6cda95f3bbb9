"""How a program ended: what the user reads, and the exit status, as under `mpiexec -n N python -m mpi4py`.

0    All ranks have returned.
1    A rank raised an exception, or called sys.exit with a text.
2    The command cannot be carried out as it was given.
3    No rank can move any more, or ranks disagree about a collective.
n    A rank called sys.exit(n) or Abort(n); of n, the last eight bits count.
130  The user interrupted it.
141  Nobody reads the output any more.
"""

from __future__ import annotations

import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpi.launch.modules import is_ours
from mpi.launch.programs import UsageError
from mpi.launch.streams import ClosedOutputError
from ranks import AbortError, CollectiveMismatchError, DeadlockError, RankExitError, RanksError
from ranks.words.errors import ProgramWarning, named
from ranks.words.folding import folded

HANGS, INTERRUPTED, CLOSED = 3, 130, 141  # the last two as a shell has them


def status_of(problem: BaseException, name: str) -> int:
    """Tell the user what has ended a program, and return the exit status."""
    text: str | None = None
    if isinstance(problem, KeyboardInterrupt):
        text = "interrupted"
    elif isinstance(problem, AbortError):
        text = f"rank {problem.rank} called Abort({problem.errorcode})"
    elif isinstance(problem, UsageError):
        text = f"{name}: {problem}"
    elif isinstance(problem, (DeadlockError, CollectiveMismatchError)):
        text = fitting(hang_report(problem), sys.stderr)
    elif not isinstance(problem, (ClosedOutputError, RankExitError)):
        text = "".join(users_traceback(problem)).rstrip("\n")
    if text is not None:
        print(text, file=sys.stderr, flush=True)
    return status_alone(problem)


def status_alone(problem: BaseException) -> int:
    """Return the exit status of a program that has ended so."""
    if isinstance(problem, RankExitError):
        return problem.code & 0xFF if isinstance(problem.code, int) else 1
    if isinstance(problem, AbortError):
        return int(problem.errorcode) & 0xFF
    statuses: dict[type[BaseException] | tuple[type[BaseException], ...], int] = {
        KeyboardInterrupt: INTERRUPTED,
        ClosedOutputError: CLOSED,
        UsageError: 2,
        (DeadlockError, CollectiveMismatchError): HANGS,
    }
    return next((status for kinds, status in statuses.items() if isinstance(problem, kinds)), 1)


def fitting(text: str, output: Any) -> str:
    """Return text with its long lines folded to the width of a terminal; as it is where the output is none."""
    return folded(text, shutil.get_terminal_size().columns if output and output.isatty() else None)


@contextmanager
def leaks_in_a_line() -> Iterator[None]:
    """Let a warning of what MPI lets pass, such as a message that nobody received, take one line inside."""
    long = warnings.formatwarning

    def short(message: Any, category: type[Warning], *where: Any, **more: Any) -> str:
        return (
            f"warning: {message}\n" if issubclass(category, ProgramWarning) else long(message, category, *where, **more)
        )

    warnings.formatwarning = short
    try:
        yield
    finally:
        warnings.formatwarning = long


def hang_report(hang: RanksError) -> str:
    """Return the report of a hang with its name, and without the call of `ranks.run` that shows it again."""
    lines = [line for line in named(hang).splitlines() if not line.startswith("  replay:")]
    return "\n".join([*lines, *getattr(hang, "__notes__", ())])


def users_traceback(problem: BaseException) -> list[str]:
    """Return the lines that Python prints for an exception, without the frames that are not the user's."""
    told = traceback.TracebackException.from_exception(problem)
    _leave_out(told, set())
    return list(told.format())


def _leave_out(told: Any, seen: set[int]) -> None:
    """Drop the frames of this project and of the machinery of imports, also of what caused the exception."""
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [
        frame for frame in told.stack if not is_ours(frame.filename) and not frame.filename.startswith("<frozen ")
    ]
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        _leave_out(other, seen)
