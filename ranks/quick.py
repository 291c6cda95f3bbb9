"""The short way: small buffered messages of plain arrays, without a call between the steps of `Endpoint`.

Here a large simulation spends its time. A message is staged as a small file of bytes: `write` and `readinto`
copy and check at once that a buffer is in one piece. All functions say so, and have done nothing but wait, when a
message needs the long way; messages of both ways wait in the same lanes, in one order. What is counted or looked
up for each message is as little as can be: lanes count for both ends.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranks.constants import ANY_SOURCE, ANY_TAG
from ranks.datatypes import WIRE_DTYPES
from ranks.endpoint import Endpoint
from ranks.lanes import Lane, Staged
from ranks.messages import Message, Operation
from ranks.status import Status

# How many messages a rank sends ahead of their receiver before it lets others run.
AHEAD = 16

# What a buffer that is none, or not in one piece, or not writable raises.
UNFIT = (AttributeError, TypeError, ValueError, BufferError, LookupError)
# What `_exchange_quick` has done.
NOTHING, SENT, RECEIVED = range(3)


class QuickEndpoint(Endpoint):
    """An endpoint with a short way for the most common messages."""

    __slots__ = ()

    def _exchange_quick(self, sendbuf: Any, dest: int, sendtag: int, recvbuf: Any, source: int, recvtag: int) -> int:
        """Send a message and receive one, in lanes that were used before; return what was done.

        The same as `_send_quick` and `_receive_quick`, without what only a first or a rare message needs.
        """
        try:
            lane, came = self._lanes[dest], self._came[source]
            if lane.is_watched or came.is_watched or type(source) is not int:
                return NOTHING
            kind = lane.kind
            if sendbuf.dtype is not kind.dtype or sendtag is not kind.tag or type(dest) is not int:
                kind = lane.change_kind(sendbuf, dest, sendtag)
            message: Any = kind.free.pop() if kind.free else Staged(kind)
            message.stage.seek(0)
            if message.stage.write(sendbuf) != kind.n_bytes:
                message = _staged_anew(lane, message, sendbuf, dest, sendtag)
                kind = message.kind
        except UNFIT:
            return NOTHING
        message.source, message.box = self.rank, lane.box
        state, overhead_ps = self._state, self._overhead_ps
        state.now = now = state.now + overhead_ps
        if self._is_plain:
            message.arrival = now + kind.wire_ps
        else:
            self._leave(message, now)
        lane.n_sent += 1
        lane.queue.append(message)
        if lane.waiter is not None:
            self._wake(lane)
        elif len(lane.queue) > AHEAD:
            self._let_others_run()
        queue: list[Any] = came.queue
        if not queue and not self._await(came, recvbuf, source, recvtag):
            return SENT
        try:
            message = queue[0]
            kind = message.kind
            if (
                recvbuf.dtype is not kind.dtype
                or recvbuf.nbytes < kind.n_bytes
                or (recvtag is not kind.tag and recvtag is not ANY_TAG)
            ):
                return SENT
            message.stage.seek(0)
            if message.stage.readinto(recvbuf) != kind.n_bytes:
                return SENT
        except UNFIT:
            return SENT
        del queue[0]
        if message.arrival is None:
            self._await_arrival(message)
        arrival = message.arrival
        state.now = (arrival if arrival > now else now) + overhead_ps
        if self._world.trace is not None:
            self._world.trace.received(message, now, state.now)
        kind.free.append(message)
        return RECEIVED

    @property
    def _quick(self) -> bool:
        """Whether nothing odd is asked for: no checks, no jitter, no shared port, no faults."""
        return self._world.is_quick and not self._freed

    def _send_quick(self, buf: Any, dest: int, tag: int) -> bool:
        """Send a small buffered message."""
        try:
            lane = self._lanes.get(dest) or self._open_lane(dest)
            kind = lane.kind
            if buf.dtype is not kind.dtype or tag is not kind.tag or type(dest) is not int:
                kind = lane.change_kind(buf, dest, tag)
            message = kind.free.pop() if kind.free else Staged(kind)
            message.stage.seek(0)
            if message.stage.write(buf) != kind.n_bytes:
                message = _staged_anew(lane, message, buf, dest, tag)
                kind = message.kind
        except UNFIT:
            return False
        message.source, message.box = self.rank, lane.box
        lane.n_sent += 1
        state = self._state
        state.now = now = state.now + self._overhead_ps
        if self._is_plain:
            message.arrival = now + kind.wire_ps
        else:
            self._leave(message, now)
        if lane.is_watched:
            lane.box.put(message)
            return True
        lane.queue.append(message)
        if lane.waiter is not None:
            self._wake(lane)
        elif len(lane.queue) > AHEAD:
            self._let_others_run()
        return True

    def _open_lane(self, dest: int) -> Lane:
        """Return the lane to a rank; TypeError if there can be none."""
        if not self._quick or type(dest) is not int or not 0 <= dest < self.size or dest == self.rank:
            raise TypeError
        lane = self._lanes[dest] = self._boxes[dest].lane(self.rank)
        return lane

    def _leave(self, message: Staged, now: int) -> None:
        """Let a message leave at `now` through a port, if there are ports; note it in the trace, if there is one."""
        state, ports, trace = self._state, self._ports, self._world.trace
        state.number = message.number = state.number + 1
        if ports is None:
            message.arrival = now + message.kind.wire_ps
        else:
            message.arrival = None
            if state.backlog:
                ports.start(now, message)
            else:
                ports.leave(now, message, state.out_port, state.rank)
        if trace is not None:
            trace.sent(message)

    def _wake(self, lane: Lane) -> None:
        """Let the receiver go on that is parked for the next message of a lane."""
        self._world.ready.append(lane.waiter)
        lane.waiter = None

    def _let_others_run(self) -> None:
        """Send no further ahead: what waits for its receiver is still in cache."""
        self._world.ready.append(self._state.greenlet)
        self._world.park(self._state)

    def _receive_quick(self, buf: Any, source: int, tag: int, status: Status | None) -> bool:
        """Receive a message of the short way into a buffer of its dtype, at least as large."""
        box, state = self._box, self._state
        lane: Any
        message: Any = None  # what those of the long way lack, or None does, is missed below
        was_chosen = False
        try:
            if box.alert or source is ANY_SOURCE:
                message = self._settled(source, tag)
                if message is None:
                    message, was_chosen = self._await_any(buf, source, tag), True
                lane = box.lanes[message.source]
            else:
                lane = self._came.get(source) or self._await_lane(buf, source, tag)
                if not lane.queue and not self._await(lane, buf, source, tag):
                    return False
                message = lane.queue[0]
            kind = message.kind
            is_fit = (
                buf.dtype is kind.dtype
                and buf.nbytes >= kind.n_bytes
                and type(source) is int
                and (tag is kind.tag or tag is ANY_TAG or (tag == kind.tag and type(tag) is int))
            )
            if is_fit:
                if message.arrival is None:
                    self._await_arrival(message)
                message.stage.seek(0)
                is_fit = message.stage.readinto(buf) == kind.n_bytes
        except UNFIT:
            is_fit = False
        if not is_fit:
            if was_chosen:  # others may have run since: what a wildcard takes is not decided twice
                self._receive_chosen(message, buf, source, tag, status)
            return was_chosen
        queue = lane.queue
        if message is queue[0]:
            del queue[0]
        else:
            queue.remove(message)
        if box.heads is not None:
            box.show_first(lane)
        arrival: int = message.arrival
        now = state.now
        state.now = (arrival if arrival > now else now) + self._overhead_ps
        if self._world.trace is not None:
            self._world.trace.received(message, now, state.now)
        if status is not None:
            status.fill(message.source, kind.tag, kind.n_bytes)
        kind.free.append(message)
        return True

    def _await_lane(self, buf: Any, source: int, tag: int) -> Lane:
        """Wait until a rank sends its first message, and return the lane; TypeError if it has to be posted.

        The sender makes the lane: those who wait for one take no memory.
        """
        if not (self._quick and self._is_one_source(source, tag) and _fits(buf)):
            raise TypeError
        state, box = self._state, self._box
        box.awaited, state.awaits = source, (box, source, tag, buf)
        self._world.park(state)
        state.awaits = None
        return box.lanes[source]

    def _settled(self, source: int, tag: int) -> Message | None:
        """Return the message that a receive must take where wildcards are used, if that is settled."""
        if not self._quick:
            raise TypeError
        if source is ANY_SOURCE:
            self._box.watch()
        return self._box.settled(source, tag, math.inf)

    def _await_any(self, buf: Any, source: int, tag: int) -> Message:
        """Wait for the message that a wildcard takes, as a probe does; TypeError if the receive has to be posted."""
        box, state = self._box, self._state
        if source is not ANY_SOURCE or box.receives or not _fits(buf) or not self._is_one_source(0, tag):
            raise TypeError
        probe = Operation("probe", state, box, source, tag, None)
        box.post_probe(probe)
        state.awaits = (box, source, tag, buf)
        self._world.wait(probe)
        state.awaits = None
        assert probe.message is not None
        return probe.message

    def _receive_chosen(self, message: Message, buf: Any, source: int, tag: int, status: Status | None) -> None:
        """Receive a message of the long way, or one that does not fit, which a wildcard has waited for."""
        receive = Operation("receive", self._state, self._box, source, tag, self._flat(buf, writable=True))
        self._box.take(message)
        self._box.join(receive, message)
        self._finish_receive(receive, status)

    def _await(self, lane: Lane, buf: Any, source: int, tag: int) -> bool:
        """Wait for the next message of a lane; return False at once if none can be received into `buf`.

        Whether it is one of the short way will be seen: the receive is not posted, so that it can still be.
        """
        kind, state = lane.kind, self._state
        if not self._world.is_quick or type(source) is not int or not _fits(buf):
            return False
        if tag is not kind.tag and tag is not ANY_TAG and not self._is_one_source(source, tag):
            return False
        lane.waiter, state.awaits = state.greenlet, (self._box, source, tag, buf)
        self._world.park(state)
        state.awaits = None
        return True

    def _await_arrival(self, message: Staged) -> None:
        """Wait until it is known when a message arrives: the port of its receiver may be busy with others."""
        message.receiver = self._state
        self._world.park(self._state)
        message.receiver = None


def _staged_anew(lane: Lane, message: Staged, buf: Any, dest: int, tag: int) -> Staged:
    """Return a message with `buf`, which was not of the size of `message`; that one is free again, and empty."""
    message.stage.truncate(0)
    message.kind.free.append(message)
    kind = lane.change_kind(buf, dest, tag)
    message = kind.free.pop() if kind.free else Staged(kind)
    message.stage.seek(0)
    message.stage.write(buf)
    return message


def _fits(buf: Any) -> bool:
    """Return whether messages of the short way can be received into a buffer, as far as it is the buffer's fault."""
    return type(buf) is np.ndarray and buf.flags.carray and buf.dtype in WIRE_DTYPES
