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

from ranks.constants import ANY_TAG
from ranks.datatypes import WIRE_DTYPES
from ranks.endpoint import Endpoint
from ranks.lanes import Lane, Staged

# How many messages a rank sends ahead of their receiver before it lets others run.
AHEAD = 16

# What a buffer that is none, or not in one piece, or not writable raises.
UNFIT = (AttributeError, TypeError, ValueError, BufferError, LookupError)


class QuickEndpoint(Endpoint):
    """An endpoint with a short way for the most common messages."""

    __slots__ = ()

    def _exchange_quick(self, sendbuf: Any, dest: int, sendtag: int, recvbuf: Any, source: int, recvtag: int) -> bool:
        """Send a message and receive one that is here, both of the kind that their lanes had before.

        The same as `_send_quick` and `_receive_quick`, without what only a first or a rare message needs.
        """
        try:
            lane, came = self._lanes[dest], self._came[source]
            kind, queue = lane.kind, lane.queue
            message: Any = came.queue[0]
            if (
                sendbuf.dtype is not kind.dtype
                or sendtag is not kind.tag
                or recvbuf.dtype is not message.kind.dtype
                or recvbuf.nbytes < message.kind.n_bytes
                or (recvtag is not message.tag and recvtag is not ANY_TAG)
                or type(dest) is not int
                or type(source) is not int
                or lane.is_watched
                or came.is_watched
                or len(queue) >= AHEAD
            ):
                return False
            stage, leaving = message.stage, kind.free.pop()
            leaving.stage.seek(0)
            stage.seek(0)
            if leaving.stage.write(sendbuf) != kind.n_bytes or stage.readinto(recvbuf) != message.kind.n_bytes:
                return False
        except UNFIT:
            return False
        leaving.source, leaving.box = self.rank, lane.box
        queue.append(leaving)
        lane.n_sent += 1
        del came.queue[0]
        message.kind.free.append(message)
        state, overhead_ps, arrival = self._state, self._overhead_ps, message.arrival
        now = state.now + overhead_ps
        leaving.arrival = now + kind.wire_ps
        state.now = (arrival if arrival > now else now) + overhead_ps
        return True

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
            stage = message.stage
            stage.seek(0)
            if stage.write(buf) != kind.n_bytes:
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
            state.number = message.number = state.number + 1
            if self._ports is None:
                message.arrival = now + kind.wire_ps
            else:
                message.arrival = None
                if state.backlog:
                    self._ports.start(now, message)
                else:
                    self._ports.leave(now, message, state.out_port, state.rank)
            if self._world.trace is not None:
                self._world.trace.sent(message)
        if lane.is_watched:
            lane.box.put(message)
            return True
        queue = lane.queue
        queue.append(message)
        if len(queue) > AHEAD:  # let others run: what waits for its receiver is still in cache
            self._world.ready.append(state.greenlet)
            self._world.park(state)
        return True

    def _open_lane(self, dest: int) -> Lane:
        """Return the lane to a rank; TypeError if there can be none."""
        if not self._quick or type(dest) is not int or not 0 <= dest < self.size or dest == self.rank:
            raise TypeError
        lane = self._lanes[dest] = self._boxes[dest].lane(self.rank)
        return lane

    def _receive_quick(self, buf: Any, source: int, tag: int) -> bool:
        """Receive a message of the short way into a buffer of its dtype, at least as large."""
        box = self._box
        lane: Any
        message: Any  # what those of the long way lack, or None does, is missed below
        try:
            if box.alert:
                message = box.settled(source, tag, math.inf) if self._quick else None
                lane = box.lanes[message.source]
            else:
                lane = self._came.get(source)
                if lane is None or not lane.queue:
                    lane = self._await(buf, source, tag)
                message = lane.queue[0]
            kind = message.kind
            if buf.dtype is not kind.dtype or buf.nbytes < kind.n_bytes or type(source) is not int:
                return False
            if tag is not kind.tag and tag is not ANY_TAG and (tag != kind.tag or type(tag) is not int):
                return False
            state = self._state
            if message.arrival is None:
                message.receiver = state
                self._world.park(state)
                message.receiver = None
            stage = message.stage
            stage.seek(0)
            if stage.readinto(buf) != kind.n_bytes:
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
        kind.free.append(message)
        return True

    def _await(self, buf: Any, source: int, tag: int) -> Lane:
        """Wait for a message from `source`; return its lane. TypeError if none can be received into `buf`.

        Whether it is one of the short way will be seen: the receive is not posted, so that it can still be.
        """
        if not (
            self._quick
            and self._is_one_source(source, tag)
            and type(buf) is np.ndarray
            and buf.dtype in WIRE_DTYPES
            and buf.flags.carray
        ):
            raise TypeError
        state, box = self._state, self._box
        lane = box.lanes.get(source)
        if lane is not None:
            lane.is_watched = True
        box.awaited, state.awaits = source, (box, source, tag, buf)
        self._world.park(state)
        state.awaits = None
        return box.lanes[source]
