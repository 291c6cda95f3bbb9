"""The short way: small buffered messages of plain arrays, without a call between the steps of `Endpoint`.

Here a large simulation spends its time. A message is staged as a small file of bytes: `write` and `readinto`
copy and check at once that a buffer is in one piece. Both functions return False, and have done nothing, when a
message needs the long way; messages of both ways wait in the same mailboxes, in one order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ranks.constants import ANY_TAG, TAG_UB
from ranks.datatypes import WIRE_DTYPES
from ranks.endpoint import Endpoint
from ranks.lanes import Lane, Staged
from ranks.matching import Message

# How many messages a rank sends ahead of their receiver before it lets others run.
AHEAD = 16

# What a buffer that is none, or not in one piece, or not writable raises.
UNFIT = (AttributeError, TypeError, ValueError, BufferError)


class QuickEndpoint(Endpoint):
    """An endpoint with a short way for the most common messages."""

    __slots__ = ()

    def _send_quick(self, buf: Any, dest: int, tag: int) -> bool:
        """Send a small buffered message."""
        try:
            lane = self._lanes.get(dest) or self._open_lane(dest)
            kind = lane.kind
            if buf.dtype is not kind.dtype or buf.nbytes != kind.n_bytes or tag != kind.tag:
                kind = lane.kind = self._world.kinds.find(lane.link, buf.dtype, buf.nbytes, tag)
            if len(lane.queue) >= AHEAD:
                self._let_overtake(lane)
            message = kind.free.pop() if kind.free else Staged(kind)
            message.stage.seek(0)
            message.stage.write(buf)
        except UNFIT:
            return False
        message.source, message.box = self.rank, lane.box
        state = self._state
        state.now = now = state.now + self._overhead_ps
        state.sends = message.number = state.sends + 1
        state.bytes_sent += kind.n_bytes
        if self._trace is not None:
            self._trace.sent(message)
        if self._ports is None:
            message.arrival = now + kind.wire_ps
        else:
            message.arrival = None
            if state.backlog:
                self._ports.start(now, message)
            else:
                self._ports.leave(now, message, state.out_port, state.rank)
        box = lane.box
        if box.receives or box.arrived is not None:
            box.put(message)
        else:
            lane.queue.append(message)
            if box.wanted == self.rank:
                box.wake()
        return True

    def _open_lane(self, dest: int) -> Lane:
        """Return the lane to a rank; TypeError if there can be none."""
        if not self._quick or type(dest) is not int or not 0 <= dest < self.size or dest == self.rank:
            raise TypeError
        box = self._boxes[dest]
        link = self._world.network.link(self._state.rank, box.owner.rank)
        lane = self._lanes[dest] = Lane(box, self.rank, link)
        return lane

    def _let_overtake(self, lane: Lane) -> None:
        """Let others run, since many messages wait for their receiver: caches stay warm.

        A receiver that takes from any source waits until nobody can run, so letting it run would be in vain.
        """
        if lane.box.arrived is None:
            self._world.ready.append(self._state.greenlet)
            self._world.park(self._state)

    def _receive_quick(self, buf: Any, source: int, tag: int) -> bool:
        """Receive a message of the short way into a buffer of its size."""
        box, state = self._box, self._state
        if box.receives:
            return False
        if box.arrived is None:
            queue = box.queues.get(source) or self._await(buf, source, tag)
            message = queue[0] if queue else None
        else:
            message = box.settled(source, tag, math.inf)
        if type(message) is not Staged or (tag != message.tag and tag != ANY_TAG):
            return False
        if message.arrival is None:
            message.receiver = state
            self._world.park(state)
            message.receiver = None
        kind, stage = message.kind, message.stage
        try:
            stage.seek(0)
            if buf.dtype is not kind.dtype or buf.nbytes != kind.n_bytes:
                return False
            stage.readinto(buf)
        except UNFIT:
            return False
        if box.arrived is None:
            del box.queues[source][0]
        else:
            box.take(message)
            message.number = 0
        arrival: int = message.arrival  # type: ignore[assignment]  # known by now
        now = state.now
        state.now = (arrival if arrival > now else now) + self._overhead_ps
        state.receives += 1
        state.bytes_received += kind.n_bytes
        if self._trace is not None:
            self._trace.received(message, now, state.now)
        kind.free.append(message)
        return True

    def _await(self, buf: Any, source: int, tag: int) -> list[Message] | None:
        """Wait for a message from `source`, if one can be received into `buf`; return where it waits.

        Whether it is one of the short way will be seen: the receive is not posted, so that it can still be.
        """
        good = type(source) is int and 0 <= source < self.size and type(tag) is int and ANY_TAG <= tag <= TAG_UB
        if not (self._quick and good and type(buf) is np.ndarray and buf.dtype in WIRE_DTYPES and buf.flags.carray):
            return None
        box, state = self._box, self._state
        box.wanted, state.awaits = source, (box, source, tag, buf)
        while not (queue := box.queues.get(source)):
            self._world.park(state)
        box.wanted, state.awaits = None, None
        return queue
