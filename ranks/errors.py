"""What can go wrong, each with who did it, what came, what was expected and how to mend it."""

from __future__ import annotations

from typing import Any


class RanksError(Exception):
    """Base of all errors of the simulated ranks.

    Attributes: rank (in the world; None if no single one), call (text of the MPI call), site ("file.py:12"),
    got, expected, remedy (texts).
    """

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
        super().__init__(f"{who}{f' at {site}' if site else ''}: got {got}, expected {expected}; remedy: {remedy}")


class InvalidRankError(RanksError, ValueError):
    """A source, dest or root that is no rank of the communicator."""


class InvalidTagError(RanksError, ValueError):
    """A tag outside 0..TAG_UB."""


class InvalidBufferError(RanksError, TypeError):
    """Something that is no contiguous buffer of an MPI datatype, or a read-only one to receive into."""


class InvalidHandleError(RanksError, ValueError):
    """A communicator, request or message that was freed, is inactive, or belongs to another rank."""


class TruncationError(RanksError):
    """A message longer than the buffer that receives it."""


class DatatypeMismatchError(RanksError, TypeError):
    """A message received as another datatype than it was sent as."""


class SendBufferChangedError(RanksError):
    """The buffer of a nonblocking send was written before its Wait (found with check=True)."""


class UnreceivedMessageError(RanksError):
    """A message that nobody had received when all ranks had returned."""


class UnfinishedRequestError(RanksError):
    """A request that was never completed by Wait or Test when all ranks had returned."""


class NondeterminismError(RanksError):
    """Two runs of one program with the same arguments and seed differed (found with check=True)."""


class AbortError(RanksError):
    """A rank called Abort; `errorcode` is its argument."""

    errorcode = 0


class CollectiveMismatchError(RanksError):
    """Ranks of one communicator called different collectives, or one with different arguments.

    Attributes: calls ({call text: [ranks]}, largest group first), missing (ranks that called none).
    """

    def __init__(self, text: str, calls: dict[str, list[int]], missing: list[int]) -> None:
        self.calls, self.missing = calls, missing
        self.rank, self.call, self.site = None, "", ""
        Exception.__init__(self, text)


class DeadlockError(RanksError):
    """No rank can move.

    Attributes: core (world ranks that wait for each other, or for one that has returned), blocked (one
    `diagnosis.Blocked` per rank that waits), time_ps, buffering, seed, passes_with (a buffering mode in which
    the program finishes, or None), lost (lines on messages that faults have lost), replay (the call that shows it
    again), trace (the events up to there, if the run was traced). A notebook shows it with a picture.
    """

    def __init__(self, text: str, **facts: Any) -> None:
        self.rank, self.call, self.site = None, "", ""
        self.core: list[int] = facts["core"]
        self.blocked: list[Any] = facts["blocked"]
        self.time_ps: int = facts["time_ps"]
        self.buffering: str = facts["buffering"]
        self.seed: int = facts["seed"]
        self.passes_with: str | None = facts["passes_with"]
        self.lost: list[str] = facts["lost"]
        self.trace: Any = facts["trace"]
        self.replay: str = facts["replay"]
        Exception.__init__(self, text)

    def _repr_html_(self) -> str:
        from ranks.report_html import report

        return report(self)

    def picture(self, path: Any = None, *, title: str = "") -> Any:
        """Return the space-time picture of a traced run up to its end, a matplotlib Figure; save it if told where."""
        if self.trace is None:
            raise ValueError("picture: got a run without trace, expected trace=True; remedy: run it with trace=True")
        return self.trace.picture(path, title=title, hang=self)


class RankFailedError(DeadlockError):
    """A rank crashed (a fault of the run), so that not all ranks could finish.

    Attributes: those of DeadlockError (core and blocked are empty if all others have returned), and failed ({rank:
    how it crashed}).
    """

    def __init__(self, text: str, **facts: Any) -> None:
        super().__init__(text, **facts)
        self.failed: dict[int, str] = facts["failed"]


class MessageLostError(RanksError):
    """A message received in the place of one that a fault has lost."""


class DuplicateMessageError(RanksError):
    """A second copy of a message, made by a fault, received like a new one."""


class LivelockError(DeadlockError):
    """Ranks poll with Test or Iprobe for something that can no longer come."""
