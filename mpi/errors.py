"""What goes wrong in a call of MPI: mpi4py's classes of exceptions, with our texts."""

from __future__ import annotations

from typing import NoReturn

from ranks.comm.arguments import call_error
from ranks.engine.rank import current_rank
from ranks.words.errors import RanksError

SUCCESS = 0
_CLASSES = {
    "BUFFER": 1, "COUNT": 2, "TYPE": 3, "TAG": 4, "COMM": 5, "RANK": 6, "ROOT": 7, "GROUP": 8, "OP": 9,
    "TOPOLOGY": 10, "DIMS": 11, "ARG": 12, "UNKNOWN": 13, "TRUNCATE": 14, "OTHER": 15, "INTERN": 16,
    "IN_STATUS": 17, "PENDING": 18, "REQUEST": 19, "ACCESS": 20, "AMODE": 21, "BAD_FILE": 22, "CONVERSION": 23,
    "DUP_DATAREP": 24, "FILE_EXISTS": 25, "FILE_IN_USE": 26, "FILE": 27, "INFO": 28, "INFO_KEY": 29,
    "INFO_VALUE": 30, "INFO_NOKEY": 31, "IO": 32, "NAME": 33, "NO_MEM": 34, "NOT_SAME": 35, "NO_SPACE": 36,
    "NO_SUCH_FILE": 37, "PORT": 38, "QUOTA": 39, "READ_ONLY": 40, "SERVICE": 41, "SPAWN": 42,
    "UNSUPPORTED_DATAREP": 43, "UNSUPPORTED_OPERATION": 44, "WIN": 45, "BASE": 46, "LOCKTYPE": 47, "KEYVAL": 48,
    "RMA_CONFLICT": 49, "RMA_SYNC": 50, "SIZE": 51, "DISP": 52, "ASSERT": 53, "RMA_RANGE": 55, "RMA_ATTACH": 56,
    "RMA_SHARED": 57, "RMA_FLAVOR": 58, "SESSION": 75, "PROC_ABORTED": 76, "VALUE_TOO_LARGE": 77, "ERRHANDLER": 80,
    "PROC_FAILED": 101, "PROC_FAILED_PENDING": 102, "REVOKED": 103, "ABI": 104,
}  # fmt: skip
ERROR_CLASSES = {f"ERR_{name}": number for name, number in _CLASSES.items()}
ERROR_CLASSES["ERR_LASTCODE"] = LASTCODE = 1_073_741_823
(
    ERR_BUFFER, ERR_COUNT, ERR_TYPE, ERR_TAG, ERR_COMM, ERR_RANK, ERR_ROOT, ERR_GROUP, ERR_OP, ERR_TOPOLOGY,
    ERR_DIMS, ERR_ARG,
) = range(1, 13)  # fmt: skip
ERR_TRUNCATE = 14
ERR_OTHER, ERR_REQUEST, ERR_INFO, ERR_INFO_KEY, ERR_INFO_VALUE, ERR_INFO_NOKEY = 15, 19, 28, 29, 30, 31
ERR_WIN, ERR_LOCKTYPE, ERR_KEYVAL, ERR_RMA_SYNC, ERR_SIZE, ERR_DISP, ERR_RMA_FLAVOR = 45, 47, 48, 50, 51, 52, 58
ERR_RMA_CONFLICT, ERR_RMA_RANGE, ERR_ERRHANDLER = 49, 55, 80


class WrongCallError(RanksError):
    """A call that MPI refuses; `error_class` says why."""


class WrongValueError(RanksError, ValueError):
    """An argument whose value mpi4py refuses."""

    error_class = ERR_ARG


class WrongTypeError(RanksError, TypeError):
    """An argument whose type mpi4py refuses."""

    error_class = ERR_ARG


class WrongSizeError(RanksError, OverflowError):
    """A number that no int of C holds."""

    error_class = ERR_ARG


class WrongBufferError(RanksError, BufferError):
    """An object whose memory cannot be sent or received into."""

    error_class = ERR_BUFFER


class WrongKeyError(RanksError, KeyError):
    """A name or a type code for which there is no datatype, or no entry."""

    error_class = ERR_TYPE


def wrong(kind: type[RanksError] | int, got: str, expected: str, remedy: str) -> RanksError:
    """Return the error of the call that the program is in: of a class above, or of an error class."""
    problem = call_error(current_rank(), WrongCallError if isinstance(kind, int) else kind, got, expected, remedy)
    if isinstance(kind, int):
        problem.error_class = kind
    return problem


def left_out(what: str) -> NoReturn:
    """Raise for a part of MPI that is not simulated."""
    raise NotImplementedError(f"{what} is not simulated (mpi/left_out.py lists what is not); remedy: use real MPI")
