"""The faults of one run at work: ranks crash, messages are late, lost or come twice; what came of it is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NoReturn

from ranks.draw.look import in_us
from ranks.engine.scheduler import Leave
from ranks.messages.mailbox import Context
from ranks.messages.message import Message
from ranks.messages.observer import Observer
from ranks.messages.rank import RankState
from ranks.observers.faults import (
    Crash,
    Delay,
    Drop,
    Duplicate,
    Fault,
    MessageFault,
    Partition,
    SlowLink,
    Straggler,
    check_fault,
)
from ranks.words.callsite import current_call
from ranks.words.constants import ANY_TAG
from ranks.words.errors import DuplicateMessageError, MessageLostError

# Lost messages that a report lists.
_SHOWN = 8


class Faults(Observer):
    """The faults of one run, and what has come of them.

    seed:     What faults with a probability are drawn from.
    contexts: Returns the communicators of the run, in which a rank that crashes has left things.
    crashed:  How each rank has crashed that did: {rank: how}.
    lost:     The messages that never came, and why.
    twins:    The messages that are second copies, and why.
    """

    def __init__(self, faults: Sequence[Fault], size: int, seed: int, contexts: Callable[[], list[Context]]) -> None:
        self.faults, self.seed, self.contexts = tuple(faults), seed, contexts
        self.crashed: dict[int, str] = {}
        self.lost: list[tuple[Message, Drop | Partition]] = []
        self.twins: dict[Message, Duplicate] = {}
        self.counts: Counter[tuple[int, int, int]] = Counter()
        for fault in self.faults:
            check_fault(fault, size)
        self.slowness = {fault.rank: fault.factor for fault in self.faults if isinstance(fault, Straggler)}

    # -- ranks -----------------------------------------------------------------------------------------------

    def own_ps(self, state: RankState, time_ps: int) -> int:
        """Return how long work of time_ps takes on this rank."""
        factor = self.slowness.get(state.rank)
        return time_ps if factor is None else time_ps + round((factor - 1) * time_ps)

    def before_call(self, state: RankState, *, sends: bool) -> None:
        """End the rank here if it is its time to crash, or if it has crashed and its program goes on all the same."""
        if state.rank in self.crashed:
            raise Leave
        for fault in self.faults:
            if isinstance(fault, Crash) and fault.rank == state.rank:
                if fault.time_ps is not None and state.now >= fault.time_ps:
                    self._crash(state, f"crashed at t={in_us(fault.time_ps)}")
                if sends and fault.send == state.sends + 1:
                    self._crash(state, f"crashed in its send number {fault.send}")

    def _crash(self, state: RankState, how: str) -> NoReturn:
        """End a rank; take back what it offered but had not sent, and what it would have received."""
        call = current_call()
        self.crashed[state.rank] = f"{how}, in {call.text} at {call.site}" if call.path else how
        for context in self.contexts():
            for box in context.boxes:
                if box.owner is state:
                    box.forget_receives()
                for message in [m for lane in box.lanes.values() for m in lane.queue]:
                    if message.origin is state and message.sender is not None:
                        box.take(message)
        raise Leave

    # -- messages --------------------------------------------------------------------------------------------

    def copies(self, message: Message) -> int:
        """Change what a message costs; return how many copies of it arrive."""
        lost = twice = False
        source, dest = message.origin.rank, message.owner.rank
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
                    self.twins[message] = fault
                    twice = True
        return 0 if lost else 2 if twice else 1

    def _is_struck(self, index: int, fault: MessageFault, message: Message, source: int, dest: int) -> bool:
        wanted = (fault.source, source), (fault.dest, dest), (fault.tag, message.tag)
        if any(value not in (None, got) for value, got in wanted):
            return False
        self.counts[index, source, dest] += 1
        if fault.nth is not None and self.counts[index, source, dest] != fault.nth:
            return False
        if fault.probability == 1:
            return True
        draw = Random(f"{self.seed}/{index}/{source}/{message.number}")
        return draw.random() < fault.probability

    def twin(self, message: Message, copy: Message) -> None:
        """Remember a second copy."""
        self.twins[copy] = self.twins.pop(message)

    def received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Raise if a receive has got a message that a program without precautions takes for the right one."""
        rank, call = message.owner.rank, current_call()
        fault = self.twins.get(message)
        if fault is not None and not fault.tolerated:
            raise DuplicateMessageError(
                rank, call.text, site=call.site,
                got=f"a second copy of message {message.number - 1} of rank {message.origin.rank} ({fault!r})",
                expected="each message once", remedy="number messages and drop those that were seen, and say "
                "tolerated=True",
            )  # fmt: skip
        for lost, why in self.lost:
            before = lost.lane is message.lane and lost.number < message.number
            if before and tag in (ANY_TAG, lost.tag) and not getattr(why, "tolerated", False):
                raise MessageLostError(
                    rank, call.text, site=call.site,
                    got=f"message {message.number} of rank {message.origin.rank} in the place of its message "
                    f"{lost.number}, which was lost ({why!r})",
                    expected="the messages in the order sent", remedy="acknowledge messages and send lost ones again, "
                    "and say tolerated=True",
                )  # fmt: skip

    def check_end(self) -> None:
        """Raise if all have returned although messages were lost or are left over, and the program did not say so."""
        for copy, fault in self.twins.items():
            if not copy.taken and not fault.tolerated:
                raise DuplicateMessageError(
                    copy.owner.rank, "the end of the run", got=f"a second copy of message {copy.number - 1} of "
                    f"rank {copy.origin.rank}, tag {copy.tag}, that nobody had received ({fault!r})",
                    expected="each message once", remedy="drop what comes twice, and say tolerated=True",
                )  # fmt: skip
        missed = [m for m, why in self.lost if not getattr(why, "tolerated", False)]
        if missed:
            raise MessageLostError(
                missed[0].owner.rank, "the end of the run", got=f"{len(missed)} lost messages that nobody waited "
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
            f"  lost: {m.n_bytes} B from rank {m.origin.rank} to rank {m.owner.rank}, tag {m.tag}, "
            f"sent at t={in_us(m.ready_ps)}: {why!r}"
            for m, why in self.lost[:_SHOWN]
        ] + ([f"  and {len(self.lost) - _SHOWN} more lost messages"] if len(self.lost) > _SHOWN else [])
