"""`mpi.run`: a function on many simulated ranks, each of which sees itself in MPI.COMM_WORLD."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any

import collectives
import ranks
from mpi.common import shared_of
from mpi.intracommunicator import COMM_WORLD
from mpi.process import Process
from mpi.simulated import Simulated
from ranks.words.callsite import add_library, as_library

__tracebackhide__ = True  # pytest shows the frames of the program, not of this module
add_library(Path(__file__).parent)


def run(program: Callable[..., Any], size: int, *args: Any, **options: Any) -> ranks.Run:
    """Run `program(MPI.COMM_WORLD, *args)` on `size` simulated ranks and return what came of it.

        from mpi import MPI, run

        run(lambda comm: comm.allreduce(comm.rank), 3).results  # [3, 3, 3]

    options: those of `ranks.run`: network, buffering, seed, trace, check, replay, faults.

    What MPI allows although it is probably a mistake (a message that nobody received, a request that nobody waited for,
    a message received as another datatype) is a ProgramWarning; with check=True it is an error, as in `ranks.run`.
    """

    @wraps(program)
    def body(comm: Any, *args: Any) -> Any:
        begin(comm)
        return program(COMM_WORLD, *args)

    with in_terms_of_mpi():
        return ranks.run(body, size, *args, comm_type=Simulated, **options)


def in_terms_of_mpi() -> AbstractContextManager[None]:
    """Let reports name the program's line and its call of MPI, not what the algorithm of a collective does there."""
    return as_library(Path(collectives.__file__).parent)


def begin(comm: Any) -> None:
    """Let the calling rank be a process of MPI, whose COMM_WORLD is `comm`."""
    state, transport = comm._state, comm._transport
    alone = Simulated(transport, state, transport.new_context([state]), 0)
    state.local = Process(comm, alone, shared_of)
