"""How a rank's program leaves: functions at exit, `os._exit`, `sys.excepthook`, and what others do meanwhile."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from types import NoneType
from typing import Any, NoReturn
from weakref import ref

from mpi.launch.modules import is_ours, is_users
from mpi.launch.process_state import ProcessState
from mpi.launch.programs import UsageError
from ranks.engine.rank import current_rank, is_thread_of_rank

# An MPI launcher needs a moment to end the other processes when one has failed. Here they go on for this virtual time.
_MOMENT_PS = 100_000_000


def leave(state: Any, problem: BaseException | None, *, has_clock: bool = True) -> None:
    """Do what a process does when its program has ended.

    problem:    It is what the program raised.
    has_clock:  It tells whether ranks have clocks, as under one schedule and not when all are tried.
    """
    own: ProcessState = state.own
    if isinstance(problem, SystemExit) and not isinstance(problem.code, (int, NoneType)):
        print(problem.code, file=sys.stderr)
    has_hook = sys.excepthook is not sys.__excepthook__ and not isinstance(problem, UsageError)
    if isinstance(problem, Exception) and has_hook:
        sys.excepthook(type(problem), problem, _of_users(problem))
    for thread in own.threads:
        executor = _executor_of(thread)
        if executor is not None:  # whose threads would wait for more work for ever
            executor.shutdown()
        thread.join()
    while own.exits:
        function, args, kwargs = own.exits.pop()
        try:
            function(*args, **kwargs)
        except Exception as failed:  # of which Python tells, and goes on
            print("Exception ignored in atexit callback:", repr(function), file=sys.stderr)
            traceback.print_exception(type(failed), failed, _of_users(failed))
    fails = isinstance(problem, Exception) or (isinstance(problem, SystemExit) and problem.code not in (None, 0))
    if not fails:
        _let_go(vars(sys.modules["__main__"]))
    if fails and has_clock:
        failed_ps = state.now
        state.now += _MOMENT_PS
        state.scheduler.catch_up(state)
        state.now = failed_ps
    if has_hook and isinstance(problem, Exception):
        raise SystemExit(1)  # the program has told of its exception


def _let_go(names: dict[str, Any]) -> None:
    """Let go of what does something at its end, such as to close a file, while the rest of the program is there."""
    for name in [name for name, value in names.items() if hasattr(type(value), "__del__")]:
        names.pop(name, None)


def _executor_of(thread: Any) -> Executor | None:
    """Return the executor of `concurrent.futures` that a thread works for; None if there is none."""
    reference = getattr(thread, "executor_reference", None) or next(iter(getattr(thread, "_args", ())), None)
    executor = reference() if isinstance(reference, ref) else None
    return executor if isinstance(executor, Executor) else None


def _of_users(problem: Any) -> Any:
    """Return the traceback of an exception from the first frame on that is not ours."""
    found = problem.__traceback__
    while found is not None and is_ours(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    return found


@contextmanager
def exits_of_ranks() -> Iterator[None]:
    """Let `atexit` keep the functions of each rank apart inside, and `os._exit` end a rank instead of the process.

    Functions that libraries register stay those of the process.
    """
    register, unregister, exit_ = atexit.register, atexit.unregister, os._exit

    def own_register(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        state = current_rank()
        if state is None or not is_users(sys._getframe(1).f_code.co_filename):
            return register(function, *args, **kwargs)
        state.own.exits.append((function, args, kwargs))
        return function

    def own_unregister(function: Any, /) -> None:
        state = current_rank()
        if state is not None:
            state.own.exits[:] = [each for each in state.own.exits if each[0] != function]
        unregister(function)

    def own_exit(status: int) -> NoReturn:
        state = current_rank()
        if state is None or is_thread_of_rank():
            exit_(status)
        state.own.exits.clear()
        raise SystemExit(status)

    atexit.register, atexit.unregister, os._exit = own_register, own_unregister, own_exit
    try:
        yield
    finally:
        atexit.register, atexit.unregister, os._exit = register, unregister, exit_
