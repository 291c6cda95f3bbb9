"""Threads that a rank starts: they know their rank, and may not communicate."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mpi.launch.programs import UsageError
from ranks import DeadlockError, InvalidHandleError
from ranks.engine.rank import current_rank, threads

# This signal interrupts the ranks: SIGINT would be ignored by a program that a shell has started in the background.
_SIGNAL = signal.SIGURG
# A hang may be due to a thread that was about to communicate. Before the hang is reported, it is awaited so many times
# for so long: a clock would go on while this process is stopped.
_WAITS, _WAIT_S = 50, 0.01


@contextmanager
def threads_of_ranks() -> Iterator[None]:
    """Let threads that are started inside know the rank that has started them; its program ends after them.

    A thread that communicates ends the whole program: it interrupts the ranks, which may be waiting for it.
    """
    start = threading.Thread.start
    refused: list[InvalidHandleError] = []
    started: list[threading.Thread] = []
    ranks_run_in = threading.get_ident()
    handles_signals = threading.current_thread() is threading.main_thread()
    handler = signal.signal(_SIGNAL, signal.default_int_handler) if handles_signals else None

    def start_of_rank(thread: threading.Thread) -> None:
        state = current_rank()
        if state is not None:
            run = thread.run

            def run_of_rank() -> None:
                threads[threading.get_ident()] = state
                try:
                    run()
                except InvalidHandleError as problem:
                    refused.append(problem)
                    if refused[0] is problem:  # a second interrupt would come when the first one is dealt with
                        signal.pthread_kill(ranks_run_in, _SIGNAL)
                finally:
                    del threads[threading.get_ident()]

            thread.run = run_of_rank  # type: ignore[method-assign]  # of this thread alone
            started.append(thread)
            if not thread.daemon:
                state.own.threads.append(thread)
        start(thread)

    threading.Thread.start = start_of_rank  # type: ignore[method-assign,assignment]
    try:
        yield
    except KeyboardInterrupt:
        _tell(refused)
        raise
    except DeadlockError:
        with suppress(KeyboardInterrupt):  # by such a thread
            for _ in range(_WAITS):
                for thread in filter(threading.Thread.is_alive, started):
                    thread.join(_WAIT_S)
                    break
        _tell(refused)
        raise
    else:
        _tell(refused)
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        if handles_signals:
            signal.signal(_SIGNAL, handler)


def _tell(refused: list[InvalidHandleError]) -> None:
    for problem in refused:
        raise UsageError(
            f"rank {problem.rank}: {problem.call} at {problem.site}: got a call by a thread, expected one by the "
            "program itself; remedy: let threads compute and the program communicate, or use real MPI (--mpi)"
        ) from None
