"""Real MPI: find it, start processes under it, check its collectives. It knows no simulated rank, only its class."""

from ranks.real.capacity import available_cores, available_memory, most_processes
from ranks.real.processes import (
    GUARD,
    LAUNCHER_MARKS,
    MPINotInstalledError,
    TooManyProcessesError,
    find_mpiexec,
    launch,
    under_mpi,
    world,
)

__all__ = [
    "GUARD", "LAUNCHER_MARKS", "MPINotInstalledError", "TooManyProcessesError", "available_cores",
    "available_memory", "find_mpiexec", "launch", "most_processes", "under_mpi", "world",
]  # fmt: skip
