"""How a rank posts receives and probes of all kinds, and waits for their messages."""

from __future__ import annotations

from math import inf
from typing import Any

from ranks.comm.arguments import check_source, fill_in, incoming, is_nobody
from ranks.comm.finishing import Finishing
from ranks.engine.rank import ALL
from ranks.messages.lane import Lane
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.words.constants import ANY_SOURCE, ANY_TAG, PROC_NULL, TAG_UB
from ranks.words.status import Status


class Receiving(Finishing):
    """A communicator's receives and probes."""

    __slots__ = ()

    def _await_arrival(self, message: Message) -> None:
        """Wait until it is known when a message arrives: the port of its receiver may be busy with others."""
        state = self._state
        message.receive = operation = state.receiving or self._receiving()
        operation.waiting = ALL
        self._scheduler.park(state)

    def _receiving(self) -> Operation:
        """Return the operation that the rank uses for its blocking receives."""
        state = self._state
        if state.receiving is None:
            state.receiving = Operation("receive", state, self._box, ANY_SOURCE, ANY_TAG, None)
        operation: Operation = state.receiving
        return operation

    def _receive_matched(
        self, buf: Any, source: int, tag: int, status: Status | None, *, is_object: bool = False,
        sending: Operation | None = None,
    ) -> Any:  # fmt: skip
        """Receive into a buffer, or an object: match, wait, copy. Return the object.

        sending: a send of the same call, for which the rank waits too.
        """
        operation = self._await_match(buf, source, tag, is_object=is_object, sending=sending)
        if operation is not None:
            return self._settle(operation, status)
        if status is not None:
            fill_in(status, PROC_NULL, ANY_TAG, 0)
        return None

    def _await_match(
        self, buf: Any, source: int, tag: int, *, is_object: bool = False, sending: Operation | None = None
    ) -> Operation | None:
        """Post a blocking receive and wait for its message; return its operation, None for one from PROC_NULL."""
        if (
            not (
                type(source) is type(tag) is int
                and (source == ANY_SOURCE or 0 <= source < self.size)
                and ANY_TAG <= tag <= TAG_UB
            )
            or self._freed
        ):
            if is_nobody(source):
                self._meet_nobody(source, tag)
                return None
            self._check_source(source, tag)
        state, scheduler = self._state, self._scheduler
        operation: Operation = state.receiving or self._receiving()
        if source == ANY_SOURCE and scheduler.ready:
            # Ranks that can run may send the first message. Once all have run, there is often nothing left to decide.
            scheduler.let_others_run(state)
        operation.begin(self._box, source, tag, None if is_object else incoming(state, buf))
        self._box.post(operation, inf)
        if operation.ready_ps is None:
            operation.waiting = ALL
            if sending is not None and sending.ready_ps is None:
                scheduler.park_for(state, (sending, operation))
            else:
                scheduler.park(state)
        return operation

    def _lane_from(self, source: Any, tag: Any) -> Lane | None:
        """Return the lane from a rank that has sent nothing yet; None for PROC_NULL and ANY_SOURCE."""
        if type(source) is int and 0 <= source < self.size and not self._freed:
            return self._box.lane(source)
        if is_nobody(source):
            return None
        self._check_source(source, tag)
        return None if source == ANY_SOURCE else self._box.lane(int(source))

    def _check_source(self, source: Any, tag: Any) -> None:
        self._check_usable()
        if not (type(source) is int and type(tag) is int and 0 <= source < self.size and ANY_TAG <= tag <= TAG_UB):
            check_source(self._state, self.size, source, tag)

    def _post_receive(self, buf: Any, source: int, tag: int, *, is_object: bool = False) -> Operation:
        """Post a nonblocking receive into a buffer, or of an object."""
        if is_nobody(source):
            self._meet_nobody(source, tag)
            return self._open(self._done("receive", tag))
        self._check_source(source, tag)
        flat = None if is_object else incoming(self._state, buf)
        operation = Operation("receive", self._state, self._box, source, tag, flat)
        self._open(operation)
        self._box.post(operation, operation.posted_ps)
        return operation

    def _probe(self, source: int, tag: int) -> Operation:
        """Wait until a message is visible, and leave it where it is."""
        if is_nobody(source):
            self._meet_nobody(source, tag)
            return self._done("probe", tag)
        self._check_source(source, tag)
        state = self._state
        operation = Operation("probe", state, self._box, source, tag, None)
        self._box.watch().post_probe(operation)
        if operation.ready_ps is None:
            operation.waiting = ALL
            self._scheduler.park_for(state, (operation,))
        assert operation.ready_ps is not None
        state.now = max(state.now, operation.ready_ps)
        self._transport.asking.saw(operation)
        return operation

    def _poll(self, source: int, tag: int) -> Message | None:
        """Return the message that a probe would see at this time."""
        self._check_source(source, tag)
        found: Message | None = self._transport.asking.look(
            Operation("probe", self._state, self._box, source, tag, None)
        )
        return found
