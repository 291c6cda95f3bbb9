"""What can break: ranks that crash or are slow, messages that are late, lost or come twice, networks that fall apart.

    ranks.run(program, 4, faults=[ranks.Crash(rank=2, send=3), ranks.Delay(source=0, dest=1, by_ps=5_000_000)])

Faults are data: the same list and the same seed break the same things in every run. A program ends with its result or
with an error that names the fault's effect: RankFailedError, MessageLostError, DuplicateMessageError, or a
DeadlockError that lists the lost messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import GreenletExit

from ranks.calls import current_call
from ranks.errors import DuplicateMessageError, MessageLostError
from ranks.messages import Message, Operation

if TYPE_CHECKING:
    from ranks.world import RankState, World

# Lost messages that a report lists.
_SHOWN = 8


class _Brief:
    """Shows only what differs from the default, since reports have little room."""

    __slots__ = ()

    def __repr__(self) -> str:
        values = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]  # type: ignore[arg-type]
        shown = (f"{name}={value!r}" for name, value, default in values if value != default)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Crash(_Brief):
    """Rank `rank` dies in its `send`-th send (from 1), or in the first call at or after `time_ps` of its clock.

    What it sent before arrives if it was buffered; nobody hears from it again.
    """

    rank: int
    send: int | None = None
    time_ps: int | None = None

    def __post_init__(self) -> None:
        if (self.send is None) == (self.time_ps is None):
            _refuse(self, "one of send and time_ps", "say at which send or at what time the rank crashes")
        if (self.send is not None and self.send < 1) or (self.time_ps is not None and self.time_ps < 0):
            _refuse(self, "send from 1, time_ps from 0", "correct it")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MessageFault(_Brief):
    """Which messages it strikes: those from `source` to `dest` with `tag` (None: all), by world rank.

    nth: only the n-th such message of each pair of ranks, from 1. probability: of each that is left, drawn from the
    run's seed.
    """

    source: int | None = None
    dest: int | None = None
    tag: int | None = None
    nth: int | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
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

    tolerated: the program is made for it, so a later message may be received in a lost one's place. Otherwise that is
    a MessageLostError, since what comes next is taken for what is missing.
    """

    tolerated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Duplicate(MessageFault):
    """The messages are sent twice. tolerated: the program is made for it; otherwise a second copy is an error."""

    tolerated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Straggler(_Brief):
    """Rank `rank` takes `factor` times as long for its own work: `spend`, reductions, and its side of each message."""

    rank: int
    factor: float

    def __post_init__(self) -> None:
        if self.factor < 1:
            _refuse(self, "factor from 1", "say how many times as long it takes")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SlowLink(_Brief):
    """Messages from `source` to `dest` (None: all) take `factor` times the latency and the time a byte."""

    source: int | None = None
    dest: int | None = None
    factor: float

    def __post_init__(self) -> None:
        if self.factor < 1:
            _refuse(self, "factor from 1", "say how many times as long it takes")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Partition(_Brief):
    """From `start_ps` until `end_ps` no message passes between `ranks` and the others: it leaves when that is over.

    end_ps None: that never is, and the messages are lost.
    """

    ranks: tuple[int, ...]
    start_ps: int = 0
    end_ps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", tuple(self.ranks))
        if self.start_ps < 0 or (self.end_ps is not None and self.end_ps < self.start_ps):
            _refuse(self, "0 <= start_ps <= end_ps", "correct it")


Fault = Crash | Delay | Drop | Duplicate | Straggler | SlowLink | Partition


def _refuse(fault: Any, expected: str, remedy: str) -> NoReturn:
    raise ValueError(f"{type(fault).__name__}: got {fault!r}, expected {expected}; remedy: {remedy}")


class Faults:
    """The faults of one run, and what has come of them.

    crashed: {rank: how}. lost: the messages that never came, and why. copies: the messages that are second copies.
    """

    def __init__(self, faults: Sequence[Fault], world: World) -> None:
        self.faults, self.world = tuple(faults), world
        self.crashed: dict[int, str] = {}
        self.lost: list[tuple[Message, Drop | Partition]] = []
        self.copies: dict[Message, Duplicate] = {}
        self.counts: Counter[tuple[int, int, int]] = Counter()
        for fault in self.faults:
            _check(fault, world.size)
        self.slowness = {fault.rank: fault.factor for fault in self.faults if isinstance(fault, Straggler)}

    # -- ranks -----------------------------------------------------------------------------------------------

    def stretch(self, state: RankState, time_ps: int) -> int:
        """Return how much longer work of `time_ps` takes on this rank."""
        return round((self.slowness.get(state.rank, 1.0) - 1) * time_ps)

    def before_call(self, state: RankState, *, sends: bool = False) -> None:
        """End the rank here if it is its time to crash, or if it has crashed and its program will not believe it."""
        if state.rank in self.crashed:
            raise GreenletExit
        for fault in self.faults:
            if isinstance(fault, Crash) and fault.rank == state.rank:
                if fault.time_ps is not None and state.now >= fault.time_ps:
                    self._crash(state, f"crashed at t={fault.time_ps / 1e6:g} us")
                if sends and fault.send == state.sends + 1:
                    self._crash(state, f"crashed in its send number {fault.send}")

    def _crash(self, state: RankState, how: str) -> NoReturn:
        """End a rank; take back what it offered but had not sent, and what it would have received."""
        call = current_call()
        self.crashed[state.rank] = f"{how}, in {call.text} at {call.site}" if call.path else how
        for context in self.world.contexts:
            for box in context.boxes:
                if box.owner is state:
                    box.receives.clear()
                for message in [m for lane in box.lanes.values() for m in lane.queue]:
                    if message.origin is state and message.sender is not None:
                        box.take(message)
        raise GreenletExit

    # -- messages --------------------------------------------------------------------------------------------

    def strike(self, message: Message) -> tuple[bool, bool]:
        """Change what a message costs; return whether it is lost, and whether it comes twice."""
        lost = twice = False
        source, dest = message.origin.rank, message.box.owner.rank
        for index, fault in enumerate(self.faults):
            if isinstance(fault, SlowLink):
                if fault.source in (None, source) and fault.dest in (None, dest):
                    message.latency_ps = round(message.latency_ps * fault.factor)
                    message.transfer_ps = round(message.transfer_ps * fault.factor)
            elif isinstance(fault, Partition):
                now = message.ready_ps
                if (source in fault.ranks) != (dest in fault.ranks) and now >= fault.start_ps:
                    if fault.end_ps is None:
                        self.lost.append((message, fault))
                        lost = True
                    else:
                        message.latency_ps += max(0, fault.end_ps - now)
            elif isinstance(fault, MessageFault) and self._is_struck(index, fault, message, source, dest):
                if isinstance(fault, Delay):
                    message.latency_ps += fault.by_ps
                elif isinstance(fault, Drop):
                    self.lost.append((message, fault))
                    lost = True
                elif isinstance(fault, Duplicate):
                    self.copies[message] = fault
                    twice = True
        return lost, twice and not lost

    def _is_struck(self, index: int, fault: MessageFault, message: Message, source: int, dest: int) -> bool:
        wanted = (fault.source, source), (fault.dest, dest), (fault.tag, message.tag)
        if any(value not in (None, got) for value, got in wanted):
            return False
        self.counts[index, source, dest] += 1
        if fault.nth is not None and self.counts[index, source, dest] != fault.nth:
            return False
        if fault.probability == 1:
            return True
        draw = Random(f"{self.world.seed}/{index}/{source}/{message.number}")
        return draw.random() < fault.probability

    def twin(self, message: Message) -> Message:
        """Return the second copy of a message."""
        fault = self.copies.pop(message)
        copy = Message(message.box, message.source, message.tag, message.flat.copy())
        copy.latency_ps, copy.transfer_ps = message.latency_ps, message.transfer_ps
        copy.pickled, copy.ready_ps = message.pickled, message.ready_ps
        copy.number = message.origin.number = message.origin.number + 1
        message.origin.sends += 1
        self.copies[copy] = fault
        return copy

    def after_wait(self, operation: Operation) -> None:
        """Let the owner of a complete operation crash if it is time; charge a straggler's share of a receive."""
        state = operation.state
        self.before_call(state)
        if operation.what == "receive" and operation.message is not None:
            state.now += self.stretch(state, self.world.overhead_ps)
            self._check_received(operation, operation.message)

    def _check_received(self, operation: Operation, message: Message) -> None:
        """Raise if a receive has something that no program without precautions could tell from the right message."""
        call = current_call()
        fault = self.copies.get(message)
        if fault is not None and not fault.tolerated:
            raise DuplicateMessageError(
                operation.state.rank, call.text, site=call.site,
                got=f"a second copy of message {message.number - 1} of rank {message.origin.rank} ({fault!r})",
                expected="each message once", remedy="number messages and drop those that were seen, and say "
                "tolerated=True",
            )  # fmt: skip
        for lost, why in self.lost:
            before = lost.box is message.box and lost.source == message.source and lost.number < message.number
            if before and operation.takes(lost) and not getattr(why, "tolerated", False):
                raise MessageLostError(
                    operation.state.rank, call.text, site=call.site,
                    got=f"message {message.number} of rank {message.origin.rank} in the place of its message "
                    f"{lost.number}, which was lost ({why!r})",
                    expected="the messages in the order sent", remedy="acknowledge messages and send lost ones again, "
                    "and say tolerated=True",
                )  # fmt: skip

    def check_end(self) -> None:
        """Raise if all have returned, and the program is not made for it that messages were lost or are left over."""
        for copy, fault in self.copies.items():
            if not copy.taken and not fault.tolerated:
                raise DuplicateMessageError(
                    copy.box.owner.rank, "the end of the run", got=f"a second copy of message {copy.number - 1} of "
                    f"rank {copy.origin.rank}, tag {copy.tag}, that nobody had received ({fault!r})",
                    expected="each message once", remedy="drop what comes twice, and say tolerated=True",
                )  # fmt: skip
        missed = [m for m, why in self.lost if not getattr(why, "tolerated", False)]
        if missed:
            raise MessageLostError(
                missed[0].box.owner.rank, "the end of the run", got=f"{len(missed)} lost messages that nobody waited "
                f"for, the first from rank {missed[0].origin.rank}, tag {missed[0].tag}",
                expected="each message received", remedy="wait for them, or say tolerated=True if results are right "
                "without",
            )  # fmt: skip

    def text(self) -> str:
        """Return the Python expression for the faults."""
        return f"[{', '.join(f'ranks.{fault!r}' for fault in self.faults)}]"

    def lines(self) -> list[str]:
        """Return the lines of a report that say what was lost."""
        return [
            f"  lost: {m.n_bytes} B from rank {m.origin.rank} to rank {m.box.owner.rank}, tag {m.tag}, "
            f"sent at t={m.ready_ps / 1e6:g} us: {why!r}"
            for m, why in self.lost[:_SHOWN]
        ] + ([f"  and {len(self.lost) - _SHOWN} more lost messages"] if len(self.lost) > _SHOWN else [])


def _check(fault: Any, size: int) -> None:
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
