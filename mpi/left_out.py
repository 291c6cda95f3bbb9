"""What of MPI is not simulated: each call of it raises NotImplementedError.

files:                  File, Register_datarep
dynamic processes:      Spawn, Spawn_multiple, Accept, Connect, Join, ports and names of services
sessions:               Session, Group.Create_from_session_pset
partitioned sends:      Psend_init, Precv_init, Pready, Parrived
fault tolerance:        Revoke, Agree, Shrink and their kin; `ranks` has faults of its own

Smaller limits:

    mpi4py.futures:         without `-m mpi4py.futures`, a rank computes its tasks itself, when they are submitted;
                            there are no collect and compose
    mpi4py.bench:           helloworld and ringtest only
    threads:                a thread that communicates ends the program; os.fork is refused outside of multiprocessing
    error handlers:         each error raises, also under ERRORS_ARE_FATAL; a handler is what Call_errhandler calls
    external32:             most significant byte first, with the sizes of this machine
"""

from __future__ import annotations

from typing import Any, NoReturn

from mpi.errors import ERR_ARG, left_out
from mpi.handles import Handle, constant


class File(Handle):
    """A file of MPI, which is not simulated."""

    __slots__ = ()
    error_class = ERR_ARG
    null = "FILE_NULL"

    @classmethod
    def Open(cls, comm: Any, filename: Any, amode: int = 2, info: Any = None) -> NoReturn:
        """Refuse: files of MPI are not simulated."""
        left_out("a file of MPI")

    @classmethod
    def Delete(cls, filename: Any, info: Any = None) -> NoReturn:
        """Refuse: files of MPI are not simulated."""
        left_out("a file of MPI")


class Session(Handle):
    """A session of MPI, which is not simulated."""

    __slots__ = ()
    error_class = ERR_ARG
    null = "SESSION_NULL"

    @classmethod
    def Init(cls, info: Any = None, errhandler: Any = None) -> NoReturn:
        """Refuse: sessions are not simulated."""
        left_out("a session")


def Open_port(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: dynamic processes are not simulated."""
    left_out("a port")


Close_port = Publish_name = Unpublish_name = Lookup_name = Open_port


def Register_datarep(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: files of MPI are not simulated."""
    left_out("a representation of data in files")


FILE_NULL = constant("FILE_NULL", File())
SESSION_NULL = constant("SESSION_NULL", Session())
