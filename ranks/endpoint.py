"""One rank's side of a communicator: how sends, receives and probes are posted and finished.

`Comm` spells these steps as mpi4py does. Everything that a call may get wrong is checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ranks.calls import current_call, site_mark, site_of
from ranks.constants import ANY_SOURCE, ANY_TAG, PROC_NULL, TAG_UB
from ranks.datatypes import WIRE_DTYPES, Flat, NotABufferError, as_flat
from ranks.errors import (
    InvalidBufferError,
    InvalidHandleError,
    InvalidRankError,
    InvalidTagError,
    RanksError,
    SendBufferChangedError,
)
from ranks.matching import Context, Mailbox
from ranks.messages import Message, Operation
from ranks.status import Status

if TYPE_CHECKING:
    from ranks.lanes import Lane
    from ranks.world import RankState, World

# How a send is to be buffered: as the run says, always, or never (it completes when it is received).
STANDARD, BUFFERED, SYNCHRONOUS = range(3)


class Endpoint:
    """A communicator as one rank sees it.

    _box is this rank's mailbox. _lanes are those to other ranks that small messages take (`quick.py`), _came those
    from others; _is_plain: no ports and no trace.
    """

    __slots__ = (
        "_announced", "_box", "_came", "_context", "_freed", "_is_plain", "_lanes", "_name", "_overhead_ps",
        "_ports", "_state", "_world", "rank", "size",
    )  # fmt: skip

    def __init__(self, state: RankState, context: Context, rank: int) -> None:
        self._state, self._context, self.rank = state, context, rank
        self._world: World = state.world
        self._box = context.boxes[rank]
        self.size = len(context.boxes)
        self._announced, self._freed, self._name = 0, False, ""
        self._overhead_ps = state.world.overhead_ps
        self._ports = state.world.ports
        self._is_plain = self._ports is None and state.world.trace is None
        self._lanes: dict[int, Lane] = {}
        self._came = self._box.lanes

    @property
    def _boxes(self) -> list[Mailbox]:
        return self._context.boxes

    # -- what may be wrong with a call -----------------------------------------------------------------------

    def _error(self, kind: type[RanksError], got: str, expected: str, remedy: str) -> RanksError:
        call = current_call()
        return kind(self._state.rank, call.text, got=got, expected=expected, remedy=remedy, site=call.site)

    def _flat(self, buffer: Any, *, writable: bool = False) -> Flat:
        if type(buffer) is np.ndarray and buffer.ndim == 1 and buffer.dtype in WIRE_DTYPES:
            flags = buffer.flags
            if flags.c_contiguous and (flags.writeable or not writable):
                return buffer
        try:
            return as_flat(buffer, writable=writable)
        except NotABufferError as problem:
            raise self._error(InvalidBufferError, problem.got, problem.expected, problem.remedy) from problem.__cause__

    def _check_usable(self) -> None:
        if self._freed:
            got = "a communicator that was freed"
            raise self._error(InvalidHandleError, got, "a live one", "Free it after its last use")

    def _check_dest(self, dest: Any, tag: Any) -> None:
        good = type(dest) is int and 0 <= dest < self.size and type(tag) is int and 0 <= tag <= TAG_UB
        if good and not self._freed:
            return
        self._check_usable()
        if not _is_integer(dest) or not 0 <= dest < self.size:
            raise self._error(
                InvalidRankError, f"dest={dest!r}", f"0 to {self.size - 1} or PROC_NULL",
                "take the destination modulo comm.size, or skip the send at the edge",
            )  # fmt: skip
        if not _is_integer(tag) or not 0 <= tag <= TAG_UB:
            raise self._error(InvalidTagError, f"tag={tag!r}", f"0 to {TAG_UB}", "choose a tag in that range")

    def _is_one_source(self, source: Any, tag: Any) -> bool:
        """Return whether a receive names its source, and a tag or ANY_TAG, by plain integers."""
        return type(source) is int and 0 <= source < self.size and type(tag) is int and ANY_TAG <= tag <= TAG_UB

    def _check_source(self, source: Any, tag: Any) -> None:
        if self._is_one_source(source, tag) and not self._freed:
            return
        self._check_usable()
        if source != ANY_SOURCE and (not _is_integer(source) or not 0 <= source < self.size):
            raise self._error(
                InvalidRankError, f"source={source!r}", f"0 to {self.size - 1}, ANY_SOURCE or PROC_NULL",
                "take the source modulo comm.size, or skip the receive at the edge",
            )  # fmt: skip
        if tag != ANY_TAG and (not _is_integer(tag) or not 0 <= tag <= TAG_UB):
            expected = f"0 to {TAG_UB} or ANY_TAG"
            raise self._error(InvalidTagError, f"tag={tag!r}", expected, "choose a tag in that range")

    # -- sending ---------------------------------------------------------------------------------------------

    def _send(self, flat: Flat, dest: int, tag: int, mode: int, *, pickled: bool = False) -> None:
        """Send and wait until the buffer is free again."""
        operation = self._post_send(flat, dest, tag, mode, pickled=pickled, blocking=True)
        if operation is not None:
            self._world.wait(operation)
            self._settle(operation, None)

    def _post_send(
        self, flat: Flat, dest: int, tag: int, mode: int, *, pickled: bool, blocking: bool
    ) -> Operation | None:
        """Post a send; return its operation, None for a blocking one that is complete already.

        The receiver may look at a blocking send's own buffer, since its rank cannot write to it meanwhile;
        all others are copied unless their receive takes them at once.
        """
        if dest == PROC_NULL:
            return None if blocking else self._open(self._done("send", dest, tag))
        self._check_dest(dest, tag)
        state, world = self._state, self._world
        faults, lost, twice = world.faults, False, False
        if faults is not None:
            faults.before_call(state, sends=True)
            state.now += faults.stretch(state, world.overhead_ps)
        message = Message(self._boxes[dest], self.rank, tag, flat)
        message.pickled = pickled
        message.ready_ps = state.now = state.now + world.overhead_ps
        message.number = state.number = state.number + 1
        state.sends += 1
        state.bytes_sent += message.n_bytes
        world.wires.set_costs(message)
        if faults is not None:
            lost, twice = faults.strike(message)
        eager = mode == BUFFERED or (mode == STANDARD and message.n_bytes <= world.eager_limit)
        operation = None
        if not (eager and blocking):
            operation = Operation("send", state, message.box, dest, tag, flat)
            operation.message = message
        if eager:
            if not lost:
                world.wires.start(state.now, message)
            if operation is not None:
                operation.complete(state.now)
        else:
            message.sender = operation
            state.backlog += not lost
        if world.trace is not None:
            world.trace.sent(message)
        if not lost:
            message.box.put(message)
        if twice and faults is not None:
            copy = faults.twin(message)
            world.wires.start(state.now, copy)
            if world.trace is not None:
                world.trace.sent(copy)
            message.box.put(copy)
        if not message.taken and (eager or not blocking):
            message.flat = flat.copy()
        if operation is not None and not blocking:
            self._open(operation)
        return operation

    # -- receiving -------------------------------------------------------------------------------------------

    def _receive(self, flat: Flat | None, source: int, tag: int, status: Status | None) -> Operation:
        """Receive and wait until the message is there."""
        operation = self._post_receive(flat, source, tag)
        self._finish_receive(operation, status)
        return operation

    def _finish_receive(self, operation: Operation, status: Status | None) -> None:
        """Wait until a blocking receive has its message, settle it, and let the message be used again."""
        self._world.wait(operation)
        self._settle(operation, status)
        message = operation.message
        if message is not None:
            message.retire()

    def _post_receive(self, flat: Flat | None, source: int, tag: int) -> Operation:
        if source == PROC_NULL:
            return self._done("receive", source, tag)
        self._check_source(source, tag)
        if self._world.faults is not None:
            self._world.faults.before_call(self._state)
        operation = Operation("receive", self._state, self._box, source, tag, flat)
        self._box.post(operation)
        return operation

    def _probe(self, source: int, tag: int) -> Operation:
        """Wait until a message is visible, and leave it where it is."""
        if source == PROC_NULL:
            return self._done("probe", source, tag)
        self._check_source(source, tag)
        operation = Operation("probe", self._state, self._box, source, tag, None)
        self._box.post_probe(operation)
        self._world.wait(operation)
        ready_ps = operation.ready_ps
        assert ready_ps is not None
        self._state.now = max(self._state.now, ready_ps)
        return operation

    def _poll(self, source: int, tag: int) -> Message | None:
        """Return the message that a probe would see at this time."""
        self._check_source(source, tag)
        probe = Operation("probe", self._state, self._box, source, tag, None)
        return self._world.asking.look(probe)

    # -- finishing -------------------------------------------------------------------------------------------

    def _done(self, what: str, peer: int, tag: int) -> Operation:
        """Return the operation of a send to, or receive from, PROC_NULL: complete, with no message."""
        operation = Operation(what, self._state, self._box, peer, tag, None)
        operation.ready_ps = self._state.now
        return operation

    def _open(self, operation: Operation) -> Operation:
        """Remember a nonblocking operation until it is settled, and its buffer if asked to check."""
        operation.site = site_mark()
        if self._state.open is None:
            self._state.open = {}
        self._state.open[operation] = None
        if self._world.check and operation.what == "send" and operation.flat is not None:
            operation.kept = operation.flat.copy()
        return operation

    def _settle(self, operation: Operation, status: Status | None) -> None:
        """Finish an operation whose time of completion is known: clock, counts, status and error."""
        settle(operation)
        if status is not None:
            fill(status, operation)
        if operation.problem is not None:
            kind, got, expected, remedy = operation.problem
            raise self._error(kind, got, expected, remedy)


def settle(operation: Operation) -> None:
    """Let the owner of a complete operation reach its end: clock, counts and trace."""
    state, message = operation.state, operation.message
    ready_ps = operation.ready_ps
    assert ready_ps is not None
    begin_ps = state.now
    state.now = max(begin_ps, ready_ps)
    if state.open is not None:
        state.open.pop(operation, None)
    if operation.what == "receive" and message is not None:
        state.now += state.world.overhead_ps
        state.receives += 1
        state.bytes_received += message.n_bytes
    if state.world.faults is not None:
        state.world.faults.after_wait(operation)
    if operation.kept is not None and operation.flat is not None:
        check_unchanged(operation)
    if state.world.trace is not None and message is not None:
        state.world.trace.finished(operation, message, begin_ps)


def check_unchanged(operation: Operation) -> None:
    """Raise if the buffer of a nonblocking send no longer holds what was sent."""
    flat, kept = operation.flat, operation.kept
    assert flat is not None
    assert kept is not None
    if flat.tobytes() != kept.tobytes():
        changed = int(np.flatnonzero(flat.view(np.uint8) != kept.view(np.uint8))[0]) // flat.itemsize
        raise SendBufferChangedError(
            operation.state.rank,
            f"nonblocking send to rank {operation.peer}, tag {operation.tag}",
            site=site_of(operation.site),
            got=f"a buffer whose element {changed} was written before the Wait",
            expected="the buffer untouched until the request is complete",
            remedy="write to it after the Wait, or send a copy",
        )


def fill(status: Status, operation: Operation) -> None:
    """Fill in `status` from a finished operation."""
    message = operation.message
    if operation.peer == PROC_NULL:
        status.fill(PROC_NULL, ANY_TAG, 0)
    elif message is None or operation.what == "send":
        status.fill(ANY_SOURCE, ANY_TAG, 0, cancelled=message is None)
    else:
        status.fill(message.source, message.tag, message.n_bytes)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
