"""The short way: small buffered messages of plain arrays, without a call between the steps of `Endpoint`.

Here a large simulation spends its time. A message is staged as a small file of bytes: `write` and `readinto`
copy and check at once that a buffer is in one piece. All functions return False, and have done nothing, when a
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
                kind.free.append(message)
                return NOTHING
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
                kind = lane.change_kind(buf, dest, tag)
                message = Staged(kind)
                message.stage.write(buf)
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
        box = self._box
        lane: Any
        message: Any  # what those of the long way lack, or None does, is missed below
        try:
            if box.alert or source is ANY_SOURCE:
                message = self._choose(buf, source, tag) if self._quick else None
                lane = box.lanes[message.source]
            else:
                lane = self._came.get(source) or self._await_lane(buf, source, tag)
                if not lane.queue and not self._await(lane, buf, source, tag):
                    return False
                message = lane.queue[0]
            kind = message.kind
            if buf.dtype is not kind.dtype or buf.nbytes < kind.n_bytes or type(source) is not int:
                return False
            if tag is not kind.tag and tag is not ANY_TAG and (tag != kind.tag or type(tag) is not int):
                return False
            state = self._state
            if message.arrival is None:
                self._await_arrival(message)
            message.stage.seek(0)
            if message.stage.readinto(buf) != kind.n_bytes:
                return False
        except UNFIT:
            return False
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

    def _choose(self, buf: Any, source: int, tag: int) -> Message | None:
        """Return the message that a receive must take where wildcards were used; wait for one, as a probe does.

        None at once if the receive has to be posted: others were before it, it names its source, or does not fit.
        """
        box = self._box
        if source is ANY_SOURCE:
            box.watch()
        message = box.settled(source, tag, math.inf)
        if message is None and source is ANY_SOURCE and not box.receives and _fits(buf) and self._is_one_source(0, tag):
            probe = Operation("probe", self._state, box, source, tag, None)
            box.post_probe(probe)
            self._world.wait(probe)
            message = probe.message
        return message

    def _await(self, lane: Lane, buf: Any, source: int, tag: int) -> bool:
        """Wait for the next message of a lane; return False at once if none can be received into `buf`.

        Whether it is one of the short way will be seen: the receive is not posted, so that it can still be.
        """
        kind, state = lane.kind, self._state
        if not _fits(buf) or (tag is not kind.tag and tag is not ANY_TAG and not self._is_one_source(source, tag)):
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


def _fits(buf: Any) -> bool:
    """Return whether messages of the short way can be received into a buffer, as far as it is the buffer's fault."""
    return type(buf) is np.ndarray and buf.flags.carray and buf.dtype in WIRE_DTYPES
