"""Names of the MPI standard, with the values that MPICH gives them.

A program that is to run in both worlds takes names, never values, and takes them from `mpi_of(comm)`:
each MPI library has numbers of its own.
"""

import sys
from typing import Any

ANY_SOURCE = -2
ANY_TAG = -1


class _Named(int):
    """An integer that is shown under its name, and can be told from a result of the same value."""

    def __repr__(self) -> str:
        return "PROC_NULL"


PROC_NULL = _Named(-1)
ROOT = -3
UNDEFINED = -32766
TAG_UB = 536_870_911

IDENT, CONGRUENT, SIMILAR, UNEQUAL = 0, 1, 2, 3
COMM_TYPE_SHARED = 1


class _InPlace:
    def __repr__(self) -> str:
        return "IN_PLACE"


IN_PLACE = _InPlace()


def behind(comm: Any) -> Any:
    """Return the communicator of simulated ranks that a handle of another library stands for; others as they are."""
    return getattr(comm, "_simulated", comm)


def mpi_of(comm: Any) -> Any:
    """Return the module whose names fit `comm`: `ranks` for a simulated one, `mpi4py.MPI` for a real one.

    MPI = ranks.mpi_of(comm)
    comm.Recv(x, source=MPI.ANY_SOURCE)
    """
    names = getattr(comm, "_mpi", None)
    return sys.modules["mpi4py.MPI"] if names is None else names
