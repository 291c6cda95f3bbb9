"""How a program touches virtual time: read it, let it pass, charge a reduction; real MPI needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent

from ranks.communicator import Comm
from ranks.network import PS_PER_S
from ranks.world import RankGreenlet


def Wtime() -> float:
    """Return the calling rank's virtual time in seconds, as mpi4py.MPI.Wtime does the real one."""
    current = getcurrent()
    if not isinstance(current, RankGreenlet):
        raise RuntimeError(
            "ranks.Wtime: got a call outside a run, expected one by a rank; remedy: call it in the program"
        )
    return current.state.now / PS_PER_S


def spend(comm: Any, time_ps: int) -> None:
    """Let `time_ps` picoseconds of work pass on this rank of a simulated `comm`; on real MPI do nothing."""
    if time_ps < 0:
        raise ValueError(f"ranks.spend: got {time_ps} ps, expected 0 or more; remedy: time only passes")
    if isinstance(comm, Comm):
        state, faults = comm._state, comm._world.faults
        state.now += time_ps if faults is None else time_ps + faults.stretch(state, time_ps)


def reduction_clock(comm: Any) -> Callable[[int], None] | None:
    """Return what to call with the bytes of each local reduction; None where that costs nothing.

    On a simulated `comm` the call takes n*gamma of the network's time. On real MPI, and if gamma is 0, there
    is nothing to call.
    """
    if not isinstance(comm, Comm) or not comm._world.network.reduce_fs_per_byte:
        return None
    state, fs_per_byte, faults = comm._state, comm._world.network.reduce_fs_per_byte, comm._world.faults

    def charge(n_bytes: int) -> None:
        time_ps = n_bytes * fs_per_byte // 1000
        state.now += time_ps if faults is None else time_ps + faults.stretch(state, time_ps)

    return charge
