"""mpi4py's MPI on simulated ranks: unchanged programs run on any number of ranks in one process.

    from mpi import MPI, run

    run(lambda comm: comm.allreduce(comm.rank), 3).results  # [3, 3, 3]

`mpi.MPI` has the names, arguments, defaults, classes and constants of mpi4py.MPI.
"""

from mpi import MPI
from mpi.running import run

__all__ = ["MPI", "run"]
