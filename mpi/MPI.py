"""The names of mpi4py.MPI, for simulated ranks."""

from __future__ import annotations

from typing import Any

from mpi import constants as _constants
from mpi import datatypes as _datatypes
from mpi import errors as _errors
from mpi.communicator import COMM_NULL, COMM_SELF, COMM_WORLD, Comm, Intracomm
from mpi.constants import *  # noqa: F403  # the numbers of MPI
from mpi.datatypes import Datatype
from mpi.errors import SUCCESS
from mpi.matched import MESSAGE_NO_PROC, MESSAGE_NULL, Message
from mpi.ops import (
    BAND,
    BOR,
    BXOR,
    LAND,
    LOR,
    LXOR,
    MAX,
    MAXLOC,
    MIN,
    MINLOC,
    NO_OP,
    OP_NULL,
    PROD,
    REPLACE,
    SUM,
    Op,
    buffer,
)
from mpi.pickles import Pickle, pickle
from mpi.requests import REQUEST_NULL, Grequest, Prequest, Request
from mpi.status import Status
from ranks import Wtime
from ranks.words.errors import MPIError as Exception

memory = buffer
globals().update(_errors.ERROR_CLASSES)
globals().update(_datatypes.DATATYPES)


def Wtick() -> float:
    """Return the resolution of Wtime in seconds."""
    return 1e-12


_ = (
    Any, COMM_NULL, COMM_SELF, COMM_WORLD, Comm, Intracomm, Datatype, SUCCESS, Exception, MESSAGE_NO_PROC,
    MESSAGE_NULL, Message, BAND, BOR, BXOR, LAND, LOR, LXOR, MAX, MAXLOC, MIN, MINLOC, NO_OP, OP_NULL, PROD, REPLACE,
    SUM, Op, Pickle, pickle, REQUEST_NULL, Grequest, Prequest, Request, Status, Wtime, _constants,
)  # fmt: skip
for _kind in (Comm, Intracomm, Datatype, Message, Op, Pickle, Grequest, Prequest, Request, Status):
    _kind.__module__ = __name__
