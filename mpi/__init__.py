"""mpi4py's MPI on simulated ranks: unchanged programs run on any number of ranks in one process.

    from mpi import MPI, run

    run(lambda comm: comm.allreduce(comm.rank), 3).results  # [3, 3, 3]

`mpi.MPI` has the names, arguments, defaults, classes and constants of mpi4py.MPI. `MPI` and `run` are loaded only when
they are asked for, because pytest loads the plugin in `mpi.testing` wherever it runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpi import MPI
    from mpi.running import run

__all__ = ["MPI", "run"]


def __getattr__(name: str) -> Any:
    if name == "MPI":
        return import_module("mpi.MPI")
    if name == "run":
        return import_module("mpi.running").run
    raise AttributeError(f"module 'mpi' has no attribute {name!r}")
