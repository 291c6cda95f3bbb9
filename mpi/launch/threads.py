"""Threads that a rank starts: they know their rank, and may not wait for others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ranks.engine.rank import current_rank, threads


@contextmanager
def threads_of_ranks() -> Iterator[None]:
    """Let threads that are started inside know the rank that has started them; its program ends after them."""
    start = threading.Thread.start

    def start_of_rank(thread: threading.Thread) -> None:
        state = current_rank()
        if state is not None:
            run = thread.run

            def run_of_rank() -> None:
                threads[threading.get_ident()] = state
                try:
                    run()
                finally:
                    del threads[threading.get_ident()]

            thread.run = run_of_rank  # type: ignore[method-assign]  # of this thread alone
            if not thread.daemon:
                state.own.threads.append(thread)
        start(thread)

    threading.Thread.start = start_of_rank  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
