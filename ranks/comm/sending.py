"""How a rank posts sends of all kinds, and waits for those that do not complete at once."""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent

from ranks.comm.arguments import check_dest, is_nobody, outgoing
from ranks.comm.finishing import Finishing
from ranks.engine.rank import ALL
from ranks.messages.lane import Lane
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.words.constants import TAG_UB

# How a send is buffered: as the run says, always, or never (it completes when it is received).
STANDARD, BUFFERED, SYNCHRONOUS = range(3)


class Sending(Finishing):
    """A communicator's sends."""

    __slots__ = ()

    def _post(self, buf: Any, dest: Any, tag: Any, mode: int, *, is_object: bool = False) -> Operation:
        """Post a nonblocking send; return its operation."""
        if getcurrent() is not self._caller:
            self._enter(sends=not is_nobody(dest))
        if is_nobody(dest):
            self._meet_nobody(dest, tag)
            return self._open(self._done("send", tag))
        operation = self._post_send(buf, dest, tag, mode, blocking=False, is_object=is_object)
        assert operation is not None
        return operation

    def _send(self, buf: Any, dest: Any, tag: Any, mode: int, *, is_object: bool = False) -> None:
        """Send, and wait until the buffer is free again."""
        if getcurrent() is not self._caller:
            self._enter(sends=not is_nobody(dest))
            self._show_buffers(buf, None)
        operation = self._post_send(buf, dest, tag, mode, is_object=is_object)
        if operation is not None:
            self._finish_send(operation)

    def _post_send(
        self, buf: Any, dest: Any, tag: Any, mode: int = STANDARD, *, blocking: bool = True, is_object: bool = False
    ) -> Operation | None:
        """Send a message of any kind; return the operation, None for a blocking send that is complete already."""
        lane = self._lane_to(dest, tag)
        if lane is None:
            return None
        if not is_object:
            buf = outgoing(self._state, buf)
        kind = self._transport.kind_of(lane, buf.dtype, buf.nbytes, int(tag), is_object)
        if kind.is_buffered and not is_object:
            lane.kind = kind
        is_buffered = kind.is_buffered if mode == STANDARD else mode == BUFFERED
        message = kind.free.pop() if kind.free else Message(kind)
        message.lane = lane
        if is_buffered:
            message.stage.seek(0)
            message.stage.write(buf)
        operation = None
        if not (is_buffered and blocking):
            operation = self._send_operation(message, buf, dest, mode, is_buffered, blocking)
        state = self._state
        state.now = now = state.now + self._overhead_ps
        state.sent += kind.traffic
        if self._depart is None:
            message.ready_ps, message.arrival = now, now + kind.wire_ps if is_buffered else None
        elif self._depart(message, now):
            return operation
        if lane.direct:
            lane.queue.append(message)
        else:
            lane.box.put(lane, message)
        return operation

    def _lane_to(self, dest: Any, tag: Any) -> Lane | None:
        """Return the lane to a rank, None for PROC_NULL; raise if no message can be sent there with this tag."""
        if not (type(dest) is type(tag) is int and 0 <= dest < self.size and 0 <= tag <= TAG_UB) or self._freed:
            if is_nobody(dest):
                self._meet_nobody(dest, tag)
                return None
            self._check_usable()
            check_dest(self._state, self.size, dest, tag)
            dest = int(dest)
        lane = self._to.get(dest)
        if lane is None:
            lane = self._to[dest] = self._context.boxes[dest].lane(self.rank)
        return lane

    def _send_operation(
        self, message: Message, buf: Any, dest: int, mode: int, is_buffered: bool, blocking: bool
    ) -> Operation:
        """Return the operation of a send that is not complete at once, or has a request.

        A blocked sender cannot write to its array, so its receiver may look at that; all others are copied.
        """
        operation = Operation("send", self._state, message.lane.box, dest, message.kind.tag, buf)
        operation.message = message
        if is_buffered:
            operation.ready_ps = self._state.now + self._overhead_ps
        else:
            message.sender = operation
            operation.is_standard = mode == STANDARD
            message.data = outgoing(self._state, buf).reshape(-1)
            if not blocking:
                message.keep_data()
        if not blocking:
            self._open(operation)
        return operation

    def _finish_send(self, operation: Operation) -> None:
        """Wait until a blocking send is complete."""
        if operation.ready_ps is None:
            operation.waiting = ALL
            self._scheduler.park_for(self._state, (operation,))
        self._settle(operation, None)
