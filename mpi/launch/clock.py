"""The clocks of Python and of MPI, which show a rank its virtual time, and waits with a time limit, which spend it.

Two looks with nothing in between are a microsecond apart: no time that a program divides by is 0, and a loop that waits
for a clock ends.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpi.as_mpi4py import MPI
from ranks.engine.rank import current_rank, is_thread_of_rank
from ranks.network.model import PS_PER_S

_PS_PER_NS = 1000
_LOOK_PS = 1_000_000
_real_ns = time.perf_counter_ns
_thread = threading.local()  # `ahead_ps`: what the clock of a thread shows more than the real one
_NAMES = ("time", "perf_counter", "monotonic")


@contextmanager
def virtual_clocks(charge: Callable[[Any], None]) -> Iterator[None]:
    """Let the clocks of `time`, and `MPI.Wtime`, show virtual time to ranks inside.

    charge: It is called with the state of a rank that is about to look, and adds what the rank has computed.
    """
    names = [name for each in _NAMES for name in (each, f"{each}_ns")]
    real = {name: getattr(time, name) for name in (*names, "sleep")}
    began_s = int(time.time())  # whole seconds, so that differences of times are rounded alike in all runs
    for name, function in real.items():
        began = began_s if name.startswith("time") else 0
        setattr(time, name, _sleep(function, charge) if name == "sleep" else _clock(name, function, began, charge))
    wtime, wait = MPI.Wtime, threading.Condition.wait
    kinds = selectors.DefaultSelector, getattr(selectors, "PollSelector", selectors.DefaultSelector)
    selects = {kind: kind.select for kind in kinds}
    MPI.Wtime = _clock("Wtime", wtime, 0, charge)
    threading.Condition.wait = _spending(wait)  # type: ignore[method-assign]  # so do events, queues and futures
    for kind, select in selects.items():  # so do asyncio and the connections of multiprocessing
        kind.select = _spending(select)  # type: ignore[method-assign]
    try:
        yield
    finally:
        MPI.Wtime = wtime
        threading.Condition.wait = wait  # type: ignore[method-assign]
        for kind, select in selects.items():
            kind.select = select  # type: ignore[method-assign]
        for name, function in real.items():
            setattr(time, name, function)


def _clock(name: str, real: Callable[[], Any], began_s: int, charge: Callable[[Any], None]) -> Callable[[], Any]:
    def now() -> Any:
        state = current_rank()
        if state is None:
            return real()
        if is_thread_of_rank():
            now_ps = _now_of_thread(state)
        else:
            charge(state)
            if state.now == state.own.looked_ps:
                state.now += _LOOK_PS
            now_ps = state.own.looked_ps = state.now
        state.streak = None  # a loop of polls that looks at the clock may end by it
        if name.endswith("_ns"):
            return began_s * 10**9 + now_ps // _PS_PER_NS
        return began_s + now_ps / PS_PER_S

    now.__name__ = now.__qualname__ = name
    return now


def _now_of_thread(state: Any) -> int:
    """Return the time that a thread of a rank sees: from its first look on real time, in which it sleeps and waits."""
    real_ps = _real_ns() * _PS_PER_NS
    if not hasattr(_thread, "ahead_ps"):
        _thread.ahead_ps = state.now - real_ps
    now_ps: int = max(state.now, _thread.ahead_ps + real_ps)
    return now_ps


def _spending(wait: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that waits, for a time limit at most; if that is reached, the rank's clock has gone so far."""

    def waiting(self: Any, timeout: float | None = None) -> Any:
        found = wait(self, timeout)
        state = current_rank()
        if not found and timeout is not None and timeout > 0 and state is not None and not is_thread_of_rank():
            state.now += round(timeout * PS_PER_S)
        return found

    return waiting


def _sleep(real: Callable[[float], None], charge: Callable[[Any], None]) -> Callable[[float], None]:
    def sleep(seconds: float, /) -> None:
        state = current_rank()
        if state is None or is_thread_of_rank():
            return real(seconds)
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        charge(state)
        state.now += round(seconds * PS_PER_S)
        state.scheduler.catch_up(state)  # whoever sleeps less prints first
        return None

    return sleep
