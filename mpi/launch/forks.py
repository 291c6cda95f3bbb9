"""New processes of a program: those of `multiprocessing`, which compute; no others, as they would have all ranks."""

from __future__ import annotations

import os
import sys
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import popen_fork
from queue import SimpleQueue
from typing import Any

from mpi.launch.programs import UsageError
from mpi.launch.streams import Writer
from ranks.engine.rank import current_rank


@contextmanager
def forks_of_ranks() -> Iterator[None]:
    """Let `multiprocessing` start processes for a rank inside, and refuse `os.fork` by a rank."""
    forks = {name: getattr(os, name) for name in ("fork", "forkpty") if hasattr(os, name)}
    launch: Any = popen_fork.Popen._launch  # type: ignore[attr-defined]

    def refusing(name: str, fork: Callable[[], Any]) -> Callable[[], Any]:
        def refused() -> Any:
            state = current_rank()
            if state is None:
                return fork()
            raise UsageError(
                f"rank {state.rank}: got a call of os.{name}, expected none, since the new process would have all "
                "ranks; remedy: use multiprocessing, start a new Python with subprocess, or give the work to more ranks"
            )

        return refused

    def launch_apart(popen: Any, process: Any) -> None:
        """Fork in a thread of no rank: in the new process there is no other, so no rank goes on there."""
        done: SimpleQueue[BaseException | None] = SimpleQueue()

        def fork() -> None:
            try:
                launch(popen, process)
            except OSError as problem:
                done.put(problem)
            else:
                done.put(None)

        start_new_thread(fork, ())
        problem = done.get()
        if problem is not None:
            raise problem

    for name, fork in forks.items():
        setattr(os, name, refusing(name, fork))
    popen_fork.Popen._launch = launch_apart  # type: ignore[attr-defined]
    try:
        yield
    finally:
        popen_fork.Popen._launch = launch  # type: ignore[attr-defined]
        for name, fork in forks.items():
            setattr(os, name, fork)


def _in_new_process() -> None:
    """Let a new process write by itself: lines that a rank has begun are the rank's."""
    if isinstance(sys.stdout, Writer):
        sys.stdout = sys.__stdout__
    if isinstance(sys.stderr, Writer):
        sys.stderr = sys.__stderr__


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_new_process)
