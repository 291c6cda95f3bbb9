"""Agreement on real MPI: a communicator whose ranks compare their calls before each collective.

Every rank tells all others which collective it calls, and where. So all ranks know the same, and raise the same error
before the collective has sent anything. The end of the block counts as such a call too. A rank that is stuck elsewhere
looks like a rank that is late: after a while, the others say for which ranks they wait.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Timer
from typing import Any

from ranks.comm.communicator import Comm
from ranks.messages.ledger import disagreement, ranks_text, text_of
from ranks.words.callsite import calling_lines
from ranks.words.constants import behind, mpi_of
from ranks.words.errors import CollectiveMismatchError

_TAG = 32_180
_DIGEST_BYTES, _TEXT_BYTES, _BYTES = 16, 3000, 4096
_END = "end of the checked block"
# After so many seconds in one collective a rank says for whom it waits.
PATIENCE_S = 10.0

# What was sent when blocks were left by exceptions; it must live until MPI ends.
_LAST_WORDS: list[Any] = []


@contextmanager
def checked(comm: Any) -> Iterator[Any]:
    """Return a communicator like `comm` on which ranks that disagree on a collective get an error, also on real MPI.

        with ranks.checked(mpi4py.MPI.COMM_WORLD) as comm:
            ring_allreduce(comm, x)  # CollectiveMismatchError on all ranks if their op, shape, dtype, ... differ

    Use it for debugging: before each collective of this project, and at the end of the block, each rank then sends a
    message to each other rank. `Split`, `Split_type` and `Dup` return checked communicators. A simulated `comm` is
    returned as it is, because it always checks.
    Raises:  TypeError if comm is no communicator.
    """
    if isinstance(behind(comm), Comm):
        yield comm
        return
    try:
        mine = _kind()(comm)
    except (ImportError, TypeError):
        raise TypeError(
            f"checked: got an object of type {type(comm).__name__}, expected a communicator; remedy: pass "
            "mpi4py.MPI.COMM_WORLD"
        ) from None
    family = mine._family = [mine]
    try:
        yield mine
    except CollectiveMismatchError:
        raise  # all ranks have it
    except BaseException as problem:
        for each in filter(None, family):
            _leave_word(each, f"{type(problem).__name__}: {problem}")
        raise
    _agree_on_the_end([each for each in family if each])


@cache
def _kind() -> type[Any]:
    """Return the class of checked communicators; made when MPI is there, since importing mpi4py starts it."""
    from mpi4py import MPI

    class Checked(MPI.Intracomm):
        """A communicator of real MPI whose collectives compare their arguments.

        _family has all of one `with checked`, in the order in which they were made.
        """

        _family: list[Any]

        def _announce(self, name: str, arguments: dict[str, Any]) -> None:
            compare(self, text_of(name, arguments))

        def _where(self) -> str:
            return calling_lines()

        def _child(self, comm: Any) -> Any:
            child = Checked(comm)
            child._family = self._family
            self._family.append(child)
            return child

        def Split(self, color: int = 0, key: int = 0) -> Any:
            self._announce("Split", {})
            return self._child(super().Split(color, key))

        def Split_type(self, split_type: int, key: int = 0, info: Any = MPI.INFO_NULL) -> Any:
            self._announce("Split_type", {"split_type": split_type})
            return self._child(super().Split_type(split_type, key, info))

        def Dup(self, info: Any = None) -> Any:
            self._announce("Dup", {})
            return self._child(super().Dup(info))

    return Checked


class _Exchange:
    """What one rank tells the others about its next collective, and what they tell; under way when made."""

    def __init__(self, comm: Any, text: str) -> None:
        self.comm, self.text, self.where = comm, text, comm._where()
        mine = _message(text, self.where)
        others = [rank for rank in range(comm.size) if rank != comm.rank]
        self.came = {rank: bytearray(_BYTES) for rank in others}
        self.requests = [comm.Isend(mine, rank, _TAG) for rank in others]
        self.requests += [comm.Irecv(self.came[rank], rank, _TAG) for rank in others]
        self.told = {comm.rank: bytearray(mine)}
        self.notice = Timer(PATIENCE_S, self.say_whom_it_waits_for)
        self.notice.daemon = True
        self.notice.start()

    def judge(self) -> None:
        """Raise CollectiveMismatchError if ranks told different things."""
        self.told |= self.came
        if len({bytes(message[:_DIGEST_BYTES]) for message in self.told.values()}) > 1:
            raise _mismatch({rank: _parts(message) for rank, message in sorted(self.told.items())})

    def say_whom_it_waits_for(self) -> None:
        """Write a line that names the ranks that told nothing yet."""
        missing = [rank for rank, message in self.came.items() if not any(message)]
        say(
            f"checked: rank {self.comm.rank} waits in {self.text} at {self.where} for {ranks_text(missing)}, which "
            f"called no collective of this communicator in {PATIENCE_S:g} s: late, or waiting for something else?"
        )


def compare(comm: Any, text: str) -> None:
    """Raise CollectiveMismatchError unless all ranks of `comm` brought the same `text`."""
    exchange = _Exchange(comm, text)
    try:
        mpi_of(comm).Request.Waitall(exchange.requests)
    finally:
        exchange.notice.cancel()
    exchange.judge()


def _agree_on_the_end(family: list[Any]) -> None:
    """Compare on all communicators of a block at once: another rank may be in another call on any of them."""
    exchanges = [_Exchange(comm, _END) for comm in family]
    waiting = list(exchanges)
    try:
        while waiting:
            mpi_of(family[0]).Request.Waitany([request for each in waiting for request in each.requests])
            for each in [each for each in waiting if not any(each.requests)]:
                waiting.remove(each)
                each.judge()
    finally:
        for each in exchanges:
            each.notice.cancel()


def _mismatch(told: dict[int, Sequence[str]]) -> CollectiveMismatchError:
    """Return the error; ranks that told no place left the block."""
    calls: dict[str, list[int]] = {}
    for rank, (text, where) in told.items():
        if where:
            calls.setdefault(text, []).append(rank)
    gone = [rank for rank, (_, where) in told.items() if not where]
    absent = "; ".join(f"rank {rank}: left by {told[rank][0]}" for rank in gone)
    return disagreement(calls, {text: told[ranks[0]][1] for text, ranks in calls.items()}, absent, gone)


def _message(text: str, where: str) -> bytes:
    """Return a digest of the whole text, and as much of text and place as there is room for."""
    digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES)
    if len(text.encode()) > _TEXT_BYTES:
        text = f"{text.encode()[: _TEXT_BYTES - 50].decode(errors='ignore')}... (digest {digest.hexdigest()})"
    return (digest.digest() + text.encode() + b"\0" + where.encode())[:_BYTES]


def _parts(message: bytearray) -> list[str]:
    return message[_DIGEST_BYTES:].decode(errors="ignore").split("\0")[:2]


def _leave_word(comm: Any, text: str) -> None:
    """Tell those that wait in a collective that this rank will not come; wait for nobody."""
    message = _message(text, "")
    _LAST_WORDS.extend(comm.Isend(message, rank, _TAG) for rank in range(comm.size) if rank != comm.rank)


def say(line: str) -> None:
    """Write a line to stderr."""
    print(line, file=sys.stderr, flush=True)
