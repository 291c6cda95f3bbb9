"""Faults: ranks that crash or are slow, messages that are late, lost or duplicated, networks that are partitioned.

    ranks.run(program, 4, faults=[ranks.Crash(rank=2, send=3), ranks.Delay(source=0, dest=1, by_ps=5_000_000)])

Faults are data: the same list and the same seed break the same things in every run. A program ends with its result, or
with an error that names the fault's effect: RankFailedError, MessageLostError, DuplicateMessageError, or a
DeadlockError that lists the lost messages.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, NoReturn


class _Brief:
    """Shows only what differs from the default, since reports have little room."""

    __slots__ = ()

    def __repr__(self) -> str:
        values = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]  # type: ignore[arg-type]
        shown = (f"{name}={value!r}" for name, value, default in values if value != default)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_numbers(self) -> None:
        """Raise unless whole numbers are integers and factors are finite; no comparison would catch a NaN."""
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if str(f.type).startswith("int") and not (value is None and "None" in str(f.type)):
                try:
                    object.__setattr__(self, f.name, operator.index(value))
                except TypeError:
                    _refuse(self, f"an integer as {f.name}, not {value!r}", "round it")
            elif f.type == "float" and not (isinstance(value, (int, float)) and isfinite(value)):
                _refuse(self, f"a finite number as {f.name}", "give one")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Crash(_Brief):
    """Rank `rank` crashes in its `send`-th send (from 1), or in the first call at or after `time_ps` of its clock.

    Messages that it sent before arrive if they were buffered; afterwards it sends nothing.
    """

    rank: int
    send: int | None = None
    time_ps: int | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        if (self.send is None) == (self.time_ps is None):
            _refuse(self, "one of send and time_ps", "say at which send or at what time the rank crashes")
        if (self.send is not None and self.send < 1) or (self.time_ps is not None and self.time_ps < 0):
            _refuse(self, "send from 1, time_ps from 0", "correct it")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MessageFault(_Brief):
    """The fault strikes messages from `source` to `dest` with `tag` (None: all), by world rank.

    nth:          The fault strikes only the n-th such message of each pair of ranks, counted from 1.
    probability:  The fault strikes each message that is left with this probability, drawn from the run's seed.
    """

    source: int | None = None
    dest: int | None = None
    tag: int | None = None
    nth: int | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        self._check_numbers()
        if not 0 <= self.probability <= 1 or (self.nth is not None and self.nth < 1):
            _refuse(self, "probability from 0 to 1 and nth from 1", "correct it")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Delay(MessageFault):
    """The messages take `by_ps` longer."""

    by_ps: int

    def __post_init__(self) -> None:
        MessageFault.__post_init__(self)
        if self.by_ps < 0:
            _refuse(self, "by_ps from 0", "a message cannot come earlier")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Drop(MessageFault):
    """The messages are lost; an unbuffered send of one never returns.

    tolerated: The program expects losses, so a later message may be received in the place of a lost one. Otherwise that
        raises a MessageLostError, because the program would take the later message for the lost one.
    """

    tolerated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Duplicate(MessageFault):
    """The messages are sent twice. tolerated: the program expects this; otherwise a second copy is an error."""

    tolerated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Straggler(_Brief):
    """Rank `rank` takes `factor` times as long for its own work: `spend`, reductions, and its side of each message."""

    rank: int
    factor: float

    def __post_init__(self) -> None:
        _check_factor(self)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SlowLink(_Brief):
    """Messages from `source` to `dest` (None: all) take `factor` times the latency and the time per byte."""

    source: int | None = None
    dest: int | None = None
    factor: float

    def __post_init__(self) -> None:
        _check_factor(self)


def _check_factor(fault: Straggler | SlowLink) -> None:
    fault._check_numbers()
    if fault.factor < 1:
        _refuse(fault, "factor from 1", "say how many times as long it takes")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Partition(_Brief):
    """From `start_ps` until `end_ps` no message passes between `ranks` and the others: it leaves at `end_ps`.

    end_ps: If None, the partition never ends, and these messages are lost.
    """

    ranks: tuple[int, ...]
    start_ps: int = 0
    end_ps: int | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        object.__setattr__(self, "ranks", tuple(map(operator.index, self.ranks)))
        if self.start_ps < 0 or (self.end_ps is not None and self.end_ps < self.start_ps):
            _refuse(self, "0 <= start_ps <= end_ps", "correct it")


Fault = Crash | Delay | Drop | Duplicate | Straggler | SlowLink | Partition


def _refuse(fault: Any, expected: str, remedy: str) -> NoReturn:
    raise ValueError(f"{type(fault).__name__}: got {fault!r}, expected {expected}; remedy: {remedy}")


def check_fault(fault: Any, size: int) -> None:
    """Raise unless this is a fault that can strike a world of `size` ranks."""
    if not isinstance(fault, Fault):
        raise TypeError(
            f"ranks.run: got the fault {fault!r}, expected one of Crash, Delay, Drop, Duplicate, Straggler, SlowLink "
            "and Partition; remedy: make one"
        )
    if isinstance(fault, (Crash, Straggler)):
        named: tuple[int | None, ...] = (fault.rank,)
    elif isinstance(fault, Partition):
        named = fault.ranks
    else:
        named = fault.source, fault.dest
    wrong = [rank for rank in named if rank is not None and not 0 <= rank < size]
    if wrong:
        _refuse(fault, f"ranks from 0 to {size - 1}", "name ranks of the world")
