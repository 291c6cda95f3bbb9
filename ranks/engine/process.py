"""What all ranks share because they live in one process, and how a change of it is noticed.

MPI gives each process a standard output, a current folder and warnings filters of its own. Simulated ranks have one
of each together: a rank that redirects its output and waits inside the redirect redirects that of all others.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from ranks.words.callsite import current_call
from ranks.words.errors import SharedStateError


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return ""


def _running_loop() -> Any:
    """Return the event loop that runs in this thread; asyncio is not loaded for it."""
    asyncio = sys.modules.get("asyncio.events")
    return asyncio._get_running_loop() if asyncio is not None else None


def _leave_as_it_is(value: Any) -> None:
    """Do nothing: an event loop ends with the program that runs it."""


class SharedState:
    """The shared state of a process as a run found it.

    mover: The rank that has changed the current folder last; None if none has.
    is_watched: Whether a change is refused. `mpi` gives each rank a state of its own instead.
    """

    is_watched = True

    def __init__(self) -> None:
        self.stdout, self.stderr, self.filters = sys.stdout, sys.stderr, warnings.filters
        self.rules = list(warnings.filters)
        self.n_rules = len(self.rules)
        self.mover: Any = None
        self.loop, self.folder = _running_loop(), _folder()

    def moved(self, state: Any) -> None:
        """Note which rank has changed the current folder."""
        self.mover = state

    def has_changed(self) -> bool:
        """Return whether something differs that is compared each time that a rank lets others run."""
        return (
            sys.stdout is not self.stdout
            or sys.stderr is not self.stderr
            or warnings.filters is not self.filters
            or len(warnings.filters) != self.n_rules
        )

    def is_left_changed(self) -> bool:
        """Return whether anything differs that a rank is known to have touched; it is compared when a rank ends."""
        is_moved = self.mover is not None and _folder() != self.folder
        return is_moved or self.has_changed() or _running_loop() is not self.loop

    def refuse(self, state: Any) -> NoReturn:
        """End the run for a rank that lets others run with something changed."""
        call = current_call()
        raise state.scheduler.fail(state, self.error(state, f"{call.text} at {call.site}"))

    def _differences(self) -> list[tuple[str, Any, Callable[[Any], None]]]:
        """Return what differs: its name, its value at first, and what sets it."""
        return [
            (name, before, put)
            for name, before, now, put in (
                ("sys.stdout", self.stdout, sys.stdout, lambda value: setattr(sys, "stdout", value)),
                ("sys.stderr", self.stderr, sys.stderr, lambda value: setattr(sys, "stderr", value)),
                ("warnings filters", self.rules, list(warnings.filters), self._set_filters),
                ("running event loop", self.loop, _running_loop(), _leave_as_it_is),
                ("current folder", self.folder, _folder(), os.chdir),
            )
            if now != before
        ]

    def _set_filters(self, rules: Any) -> None:
        self.filters[:] = rules  # type: ignore[index]  # typeshed: any sequence; it is a list
        warnings.filters = self.filters

    def error(self, state: Any, when: str) -> SharedStateError:
        """Return the error for what a rank has changed, as it was noticed in a call or at the end of its program."""
        changed = [name for name, _, _ in self._differences()]
        names = ", ".join(changed)
        if changed == ["current folder"] and self.mover is not None:
            state = self.mover
        return SharedStateError(
            state.rank, when, got=f"a change of the {names} while other ranks can run",
            expected="the state that the run began with, since all ranks live in one process",
            remedy="change it back before the next call of MPI, or change it around ranks.run",
        )  # fmt: skip

    def restore(self) -> list[str]:
        """Set everything as it was; return the names of what had changed."""
        different = self._differences()
        for _, before, put in different:
            put(before)
        return [name for name, _, _ in different]
