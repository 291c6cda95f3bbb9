"""What a communicator holds for its rank, and who may call it."""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent

from ranks.comm.arguments import call_error, check_source
from ranks.engine.rank import current_rank, is_thread_of_rank
from ranks.messages.lane import Lane
from ranks.messages.mailbox import Context
from ranks.messages.rank import RankState
from ranks.messages.transfer import Transport
from ranks.words.constants import ANY_SOURCE
from ranks.words.errors import InvalidHandleError, RanksError


class Handle:
    """A communicator as one rank sees it: what it holds, and whether the caller is that rank.

    rank, size:    The rank's number in the communicator, and the number of its ranks.
    _transport:    What carries the messages of the run; `_scheduler` lets ranks run.
    _state:        The rank's state.
    _context:      The communicator that all its ranks share; `_box` is this rank's mailbox in it.
    _to, _from:    The lanes to other ranks that were used before, and those from others.
    _caller:       The greenlet that may call without further ado; None where a call needs more than that look.
    _depart:       What lets a message leave, see `Transport.depart`; `_ahead` is how many may be ahead.
    _announced:    How many collectives the rank has announced here.
    _inner:        The communicator on which collectives of this one send, once there was one.
    is_lenient:    Whether a run that is not checked warns of what MPI lets pass, such as a message never received.
    """

    is_lenient = False

    __slots__ = (
        "_ahead", "_announced", "_box", "_caller", "_context", "_depart", "_freed", "_from", "_inner", "_name",
        "_overhead_ps", "_scheduler", "_state", "_to", "_transport", "rank", "size",
    )  # fmt: skip

    def __init__(self, transport: Transport, state: RankState, context: Context, rank: int) -> None:
        self._transport, self._scheduler, self._state = transport, transport.scheduler, state
        self._context, self._box = context, context.boxes[rank]
        self.rank, self.size = rank, context.size  # one number for all, which is an object
        self._to: dict[int, Lane] = {}
        self._from = self._box.lanes
        self._caller = None if transport.observers else state.greenlet
        self._depart, self._ahead, self._overhead_ps = transport.depart, transport.ahead, transport.overhead_ps
        self._announced, self._freed, self._name = 0, False, ""
        self._inner: Any = None

    def _enter(self, *, sends: bool = False) -> None:
        """Raise unless the rank itself calls, in its run; let observers know."""
        state = self._state
        self._check_caller("a communicator")
        for observer in self._transport.observers:
            observer.before_call(state, sends=sends)
            if sends:
                state.now += observer.own_ps(state, self._overhead_ps) - self._overhead_ps

    def _check_caller(self, what: str) -> None:
        """Raise unless the rank itself uses a handle of this kind, in its run."""
        if getcurrent() is not self._state.greenlet:
            raise foreign(self._state, self._scheduler.closed, what)

    def _check_usable(self) -> None:
        """Raise if the communicator was freed, or somebody else calls."""
        if getcurrent() is not self._caller:
            self._enter()
        if self._freed:
            raise self._error(
                InvalidHandleError, "a communicator that was freed", "a live one", "Free it after its last use"
            )

    def _show_buffers(self, sent: Any, received: Any) -> None:
        """Let observers know which buffers a blocking call uses."""
        for observer in self._transport.observers:
            if sent is not None:
                observer.uses(self._state, sent, writes=False)
            if received is not None:
                observer.uses(self._state, received, writes=True)

    def _meet_nobody(self, value: Any, tag: Any) -> None:
        """Let observers know that the other side of a message is PROC_NULL; raise for a tag that is none."""
        self._check_usable()
        check_source(self._state, self.size, ANY_SOURCE, tag)
        for observer in self._transport.observers:
            observer.nobody(self._state, value)

    def _error(self, kind: type[RanksError], got: str, expected: str, remedy: str) -> RanksError:
        return call_error(self._state, kind, got, expected, remedy)


def check_rank(comm: Handle) -> None:
    """Raise unless the communicator's rank calls, or what it runs in the background."""
    state, is_over = comm._state, comm._scheduler.closed
    if current_rank() is not state or is_over:
        raise foreign(state, is_over, "a communicator")


def foreign(owner: RankState, is_over: bool, what: str) -> RanksError:
    """Return the error for a handle that somebody uses who is not its rank."""
    user = current_rank()
    whose = f"{what} of rank {owner.rank}"
    if is_over:
        got, expected, remedy = f"{whose} whose run is over", "one of a run that goes on", "return results instead"
    elif is_thread_of_rank():
        got, expected = f"{whose} used by a thread that rank {user.rank} has started", "a call by the rank itself"
        remedy = "let threads compute and the program communicate, or start what communicates with ranks.start"
    elif user is None:
        got, expected = f"{whose} used by no rank, or by another thread", "a call by the rank itself"
        remedy = "make all calls in the program that ranks.run runs, in its own thread"
    elif user is owner:
        got, expected = f"{whose} used by another greenlet of its", "a call by the program itself"
        remedy = "make all calls in the program; ranks.start runs something beside it"
    elif user.scheduler is not owner.scheduler:
        got, expected = f"{whose} of another run, used by rank {user.rank} of this one", "one of this run"
        remedy = "use the communicator that the program was given"
    else:
        got, expected = f"{whose}, used by rank {user.rank}", f"one of rank {user.rank}"
        remedy = "keep handles in variables of the program, not in globals that all ranks share"
    return call_error(user, InvalidHandleError, got, expected, remedy)
