"""Who knows of whom in a barrier, message by message: read from the vector clocks of a run of the barrier itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ranks

Barrier = Callable[[Any], None]
Known = NDArray[np.bool_]


def known_after_receives(barrier: Barrier, p: int) -> list[Known]:
    """Return known[rank, other] at the start and after each rank's first, second, ... receive, up to the last of any.

        [int(known.sum()) for known in known_after_receives(dissemination_barrier, 6)]  # [6, 12, 24, 36]

    A rank knows that another has entered if a chain of messages leads from there to here. In a right barrier all are
    known at the end. A rank that has no further receive stays as it is.
    """

    def program(comm: Any) -> None:
        with ranks.region(comm, "barrier"):
            barrier(comm)

    trace = ranks.run(program, p, trace=True).trace
    clocks = trace.vector_clocks()
    known: list[list[Known]] = [[] for _ in range(p)]
    for index, event in enumerate(trace.events):
        if event.kind in ("enter", "receive"):
            known[event.rank].append(clocks[index] >= 1)  # to have entered is the first thing that a rank does
    moments = max(map(len, known))
    return [np.array([of_rank[min(moment, len(of_rank) - 1)] for of_rank in known]) for moment in range(moments)]


def half_butterfly(comm: Any) -> None:
    """Exchange with partners at distances 1, 2, 4, ..., leaving out those that do not exist: wrong unless p is 2^k."""
    nothing, distance = np.empty(0, np.uint8), 1
    while distance < comm.size:
        partner = comm.rank ^ distance
        if partner < comm.size:
            comm.Sendrecv(nothing, partner, 0, nothing, partner)
        distance *= 2


def wait_after_the_last_ps(barrier: Barrier, p: int, late: int, network: ranks.Network, late_ps: int = 10**9) -> int:
    """Return how long after the late rank has entered the last rank leaves; the others enter at 0."""

    def program(comm: Any) -> None:
        if comm.rank == late:
            ranks.spend(comm, late_ps)
        barrier(comm)

    return ranks.run(program, p, network=network).time_ps - late_ps
