"""Real MPI: find it, start processes under it, check its collectives. It knows no simulated rank but by its class."""

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
    "GUARD", "LAUNCHER_MARKS", "MPINotInstalledError", "TooManyProcessesError", "find_mpiexec", "launch",
    "under_mpi", "world",
]  # fmt: skip
