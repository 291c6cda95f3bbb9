"""All errors; each says who, got, expected, and the remedy."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import total_ordering
from typing import Any, ClassVar

# The error classes of the MPI standard that ours belong to, with the values that MPICH gives them.
ERR_BUFFER, ERR_TYPE, ERR_TAG, ERR_COMM, ERR_RANK, ERR_UNKNOWN = 1, 3, 4, 5, 6, 13
ERR_ARG, ERR_TRUNCATE, ERR_OTHER, ERR_REQUEST = 12, 14, 15, 19


@total_ordering
class MPIError(RuntimeError):
    """An error with one of the error classes of the MPI standard; `mpi.MPI.Exception` is this class.

    It equals the number of its error code, and is ordered as that, as mpi4py's is. It can be pickled.

    meaning_of: What returns the error class and the text of a code; a package above that knows them puts its own here.
    """

    error_class = ERR_OTHER
    meaning_of: ClassVar[Callable[[int], tuple[int, str]]] = staticmethod(lambda code: (code, f"error {code} of MPI"))

    def __init__(self, ierr: int = 0) -> None:
        code = ERR_UNKNOWN if ierr < 0 else int(ierr)
        super().__init__(code)
        self.error_class, self._text = type(self).meaning_of(code)

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return self is other or self.error_code == _number(other)

    def __lt__(self, other: object) -> bool:
        number = _number(other)
        return self.error_code < number if isinstance(number, int) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.error_code)

    def __bool__(self) -> bool:
        return self.error_code != 0

    def __int__(self) -> int:
        return self.error_code

    def __repr__(self) -> str:
        return f"MPI.Exception({self.error_code})" if type(self) is MPIError else super().__repr__()

    def __reduce__(self) -> Any:
        kept = {name: value for name, value in vars(self).items() if name != "trace"}
        return copyreg.__newobj__, (type(self), *self.args), kept  # type: ignore[attr-defined]

    def Get_error_class(self) -> int:
        """Return the error class."""
        return self.error_class

    def Get_error_code(self) -> int:
        """Return the error code: one that the program has added, or the error class."""
        code: int = self.args[0]
        return code

    def Get_error_string(self) -> str:
        """Return what went wrong."""
        return str(self)

    @property
    def error_code(self) -> int:
        """The error code."""
        return self.Get_error_code()

    error_string = property(Get_error_string)


def _number(other: object) -> object:
    return other.error_code if isinstance(other, MPIError) else other


class ProgramWarning(UserWarning):
    """MPI allows this, but it is probably a mistake: `ranks.run` raises for it, `mpi.run` warns."""


class RanksError(MPIError):
    """Base of all errors of the simulated ranks.

    rank:         The world rank at fault; None if there is no single one.
    call:         The text of the MPI call.
    site:         Where the program made the call, "file.py:12".
    got, expected, remedy: Texts that say what came, what should have come, and how to mend it.
    error_class:  The error class that the MPI standard has for it.
    trace:        The events up to there, if the run was traced: `error.trace.picture(error=error)` draws them.
    """

    trace: Any = None

    def __init__(
        self,
        rank: int | None,
        call: str,
        *,
        got: str,
        expected: str,
        remedy: str,
        site: str = "",
    ) -> None:
        self.rank, self.call, self.site = rank, call, site
        self.got, self.expected, self.remedy = got, expected, remedy
        who = call if rank is None else f"rank {rank}: {call}"
        where = f"{who}{f' at {site}' if site else ''}"
        Exception.__init__(self, f"{where}: got {got}, expected {expected}; remedy: {remedy}")

    __str__ = RuntimeError.__str__

    def Get_error_code(self) -> int:
        """Return the error class, which is the code too."""
        return self.error_class


class InvalidRankError(RanksError, ValueError):
    """A source, dest or root that is no rank of the communicator."""

    error_class = ERR_RANK


class InvalidTagError(RanksError, ValueError):
    """A tag outside 0..TAG_UB."""

    error_class = ERR_TAG


class InvalidBufferError(RanksError, TypeError):
    """Something that is no contiguous buffer of an MPI datatype, or that may not be used as a call uses it."""

    error_class = ERR_BUFFER


class InvalidHandleError(RanksError, ValueError):
    """A communicator, request or message that was freed, is inactive, or belongs to another rank or run."""

    error_class = ERR_REQUEST


class NoRequestError(InvalidHandleError, TypeError):
    """Something in the place of a request that is none."""


class InvalidStatusError(RanksError, TypeError):
    """Something that cannot be filled in as the status of a message, such as the Status of real MPI."""

    error_class = ERR_ARG


class TruncationError(RanksError):
    """A message longer than the buffer that receives it."""

    error_class = ERR_TRUNCATE


class DatatypeMismatchError(RanksError, TypeError):
    """A message received as another datatype than it was sent as."""

    error_class = ERR_TYPE


class SendBufferChangedError(RanksError):
    """The buffer of a nonblocking send was written before its Wait (found with check=True)."""

    error_class = ERR_BUFFER


class ReceiveBufferError(RanksError):
    """The buffer of a nonblocking receive was written or read before its Wait (found with check=True)."""

    error_class = ERR_BUFFER


class UnreceivedMessageError(RanksError):
    """A message that nobody had received when all ranks had returned."""


class UnfinishedRequestError(RanksError):
    """A request that was never completed by Wait or Test when all ranks had returned."""

    error_class = ERR_REQUEST


class NondeterminismError(RanksError):
    """Two runs of one program with the same arguments and seed differed."""


class AbortError(RanksError):
    """A rank called Abort; `errorcode` is its argument."""

    errorcode = 0


class RankExitError(RanksError):
    """A rank ended its program with an exit code that means failure; `code` is the argument of sys.exit."""

    code: object = None


class SharedStateError(RanksError):
    """A rank changed state that all ranks share, because they live in one process, while other ranks could run."""


class CollectiveMismatchError(RanksError):
    """Ranks of one communicator called different collectives, or one with different arguments.

    calls:    The ranks that made each call, by its text: {text: [ranks]}, the largest group first.
    missing:  The ranks that called no collective.
    """

    def __init__(self, text: str, calls: dict[str, list[int]], missing: list[int]) -> None:
        self.calls, self.missing = calls, missing
        self.rank, self.call, self.site = None, "", ""
        Exception.__init__(self, text)


class MessageLostError(RanksError):
    """A message received in the place of one that a fault has lost."""


class DuplicateMessageError(RanksError):
    """A second copy of a message, made by a fault, received like a new one."""


def named(problem: BaseException) -> str:
    """Return what an error says, after its name, with which some texts begin already."""
    name, text = type(problem).__name__, str(problem)
    return text if text.startswith(name) else f"{name}: {text}"
