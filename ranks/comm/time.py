"""Virtual time for programs: read it, let it pass, charge a reduction; real MPI needs none of this."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ranks.comm.communicator import Comm
from ranks.comm.handle import check_rank
from ranks.engine.rank import current_rank
from ranks.network.model import PS_PER_S
from ranks.words.constants import behind


def Wtime() -> float:
    """Return the calling rank's virtual time in seconds, as mpi4py.MPI.Wtime does the real one."""
    state = current_rank()
    if state is None:
        raise RuntimeError(
            "ranks.Wtime: got a call outside a run, expected one by a rank; remedy: call it in the program"
        )
    state.streak = None  # a loop of polls that looks at the clock may end by it
    now: int = state.now
    return now / PS_PER_S


def spend(comm: Any, time_ps: int) -> None:
    """Let `time_ps` picoseconds of work pass on this rank of a simulated `comm`; on real MPI do nothing."""
    try:
        duration_ps = operator.index(time_ps)
    except TypeError:
        raise TypeError(
            f"ranks.spend: got {time_ps!r} ps, expected an integer; remedy: round it, the clock counts picoseconds"
        ) from None
    if duration_ps < 0:
        raise ValueError(f"ranks.spend: got {duration_ps} ps, expected 0 or more; remedy: time only passes")
    comm = behind(comm)
    if isinstance(comm, Comm):
        check_rank(comm)
        _work(comm, duration_ps)


def reduction_clock(comm: Any) -> Callable[[int], None] | None:
    """Return a function to call with the bytes of each local reduction; None if reducing costs nothing.

    On a simulated `comm` the call takes n*gamma of the network's time. On real MPI, and if gamma is 0, there
    is nothing to call.
    """
    comm = behind(comm)
    if not isinstance(comm, Comm):
        return None
    check_rank(comm)
    fs_per_byte = comm._transport.network.reduce_fs_per_byte
    if not fs_per_byte:
        return None
    state = comm._state
    if comm._transport.observers:

        def charge(n_bytes: int) -> None:
            _work(comm, n_bytes * fs_per_byte // 1000)
    else:

        def charge(n_bytes: int) -> None:
            state.now += n_bytes * fs_per_byte // 1000

    return charge


def _work(comm: Comm, time_ps: int) -> None:
    """Let time_ps of work pass on the rank of `comm`, longer if it is a straggler; let observers know."""
    state, observers = comm._state, comm._transport.observers
    begin_ps = state.now
    for observer in observers:
        time_ps = observer.own_ps(state, time_ps)
    state.now += time_ps
    for observer in observers:
        observer.computed(state, begin_ps)
