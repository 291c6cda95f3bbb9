"""The way of every blocking message of buffers, whatever its size, buffering, network or observers.

A large simulation spends its time here. What is the same for all messages of a kind is worked out once
(`messages/message.py`); what differs between runs is bound when a communicator is made.
"""

from __future__ import annotations

from math import inf
from typing import Any

from greenlet import getcurrent
from numpy import ndarray

from ranks.comm.arguments import check_apart, fill_in, incoming, is_nobody, may_share_memory
from ranks.comm.receiving import Receiving
from ranks.comm.sending import Sending
from ranks.engine.rank import ALL
from ranks.messages.message import Message
from ranks.words.constants import ANY_SOURCE, ANY_TAG, PROC_NULL, TAG_UB
from ranks.words.status import Status

# Stands for the missing side when a call only sends or only receives.
NOTHING: Any = object()

# Raised by a buffer that is no buffer, not contiguous or not writable, and by a rank that is invalid or new.
_UNUSUAL = (AttributeError, TypeError, ValueError, BufferError, LookupError)


class Transfers(Sending, Receiving):
    """A communicator's blocking sends and receives of buffers, in one function."""

    __slots__ = ()

    def Sendrecv(
        self,
        sendbuf: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
        status: Status | None = None,
    ) -> None:
        """Send one buffer and receive into another at the same time."""
        # Send and Recv call this too, with NOTHING on the other side. It is one long function because each further call
        # would take a twentieth of the time of a message.
        message: Any
        lane: Any
        caller, state, operation = self._caller, self._state, None
        if getcurrent() is not caller:
            self._enter(sends=dest is not NOTHING and not is_nobody(dest))
            self._show_buffers(sendbuf, recvbuf)
        if dest is not NOTHING:
            message = None
            try:
                lane = self._to[dest]
                kind = lane.kind
                n_bytes = kind.n_bytes
                if (
                    sendbuf.dtype is kind.dtype
                    and (sendtag is kind.tag or (type(sendtag) is int and sendtag == kind.tag))
                    and type(dest) is int
                    and (
                        n_bytes == 0
                        or source is NOTHING
                        # Two arrays that own their memory do not overlap; views have to be compared.
                        or (recvbuf.base is None and sendbuf.base is None and sendbuf is not recvbuf)
                        or not may_share_memory(sendbuf, recvbuf)
                    )
                ):
                    free = kind.free
                    message = free.pop() if free else Message(kind)
                    if n_bytes:
                        stage = message.stage
                        stage.seek(0)
                        if stage.write(sendbuf) != n_bytes:
                            message = message.discard()
                    elif sendbuf.nbytes:
                        message = message.discard()
            except _UNUSUAL:
                message = None
            if message is None:
                # The first of its kind in this lane, one that is not buffered, or an unusual buffer.
                if source is not NOTHING:
                    check_apart(state, sendbuf, dest, recvbuf, source)
                operation = self._post_send(sendbuf, dest, sendtag)
                if operation is not None and source is NOTHING:
                    self._finish_send(operation)
            else:
                message.lane = lane
                state.now = now = state.now + self._overhead_ps
                state.sent += kind.traffic
                depart = self._depart
                if depart is None:
                    message.arrival = now + kind.wire_ps
                if depart is None or not depart(message, now):
                    if lane.direct:
                        lane.queue.append(message)
                    else:
                        lane.box.put(lane, message)
            if source is NOTHING:
                if message is not None and len(lane.queue) > self._ahead and lane.direct:
                    # Send no further ahead, so that waiting messages are still in cache when they are received.
                    self._scheduler.let_others_run(state)
                return
            if caller is None:
                self._enter()
            if operation is not None:
                self._receive_matched(recvbuf, source, recvtag, status, sending=operation)
                self._finish_send(operation)
                return
        # No exception here: it would make the frame an object, a twentieth of the memory of a parked rank.
        lane = self._from.get(source) if type(source) is int else None
        if lane is None and source is not ANY_SOURCE:
            lane = self._lane_from(source, recvtag)
        if lane is None or not lane.direct:
            # Most wildcards of a busy rank have nothing to wait for, and need no operation.
            wild = self._box.wild
            message = None
            if wild is not None and source is ANY_SOURCE and type(recvtag) is int and not self._freed:
                message = wild.settled(recvtag, inf)
            if message is None or message.sender is not None:
                operation = self._await_match(recvbuf, source, recvtag)
                if operation is None:
                    if status is not None:
                        fill_in(status, PROC_NULL, ANY_TAG, 0)
                    return
                message, recvbuf = operation.message, operation.buf
            kind = message.kind
        elif queue := lane.queue:
            message = queue[0]
            kind = message.kind
            if not (recvtag is kind.tag or recvtag is ANY_TAG or (type(recvtag) is int and recvtag == kind.tag)):
                self._receive_matched(recvbuf, source, recvtag, status)
                return
            if message.arrival is None:
                if message.sender is not None:
                    self._receive_matched(recvbuf, source, recvtag, status)
                    return
                self._await_arrival(message)
        else:
            if type(recvtag) is not int or not ANY_TAG <= recvtag <= TAG_UB:
                self._receive_matched(recvbuf, source, recvtag, status)
                return
            operation = state.receiving or self._receiving()
            if type(recvbuf) is not ndarray or recvbuf.dtype is not lane.kind.dtype or not recvbuf.flags.carray:
                recvbuf = incoming(state, recvbuf)
            operation.box = self._box
            operation.peer = source
            operation.tag = recvtag
            operation.buf = recvbuf
            operation.posted_ps = state.now
            operation.ready_ps = operation.message = None
            operation.waiting = ALL
            lane.waiter = operation
            lane.direct = False
            self._scheduler.park(state)
            message = operation.message
            kind = message.kind
        try:
            is_fit = recvbuf.dtype is kind.dtype and recvbuf.nbytes >= kind.n_bytes and message.data is None
            if is_fit and kind.n_bytes:
                stage = message.stage
                stage.seek(0)
                is_fit = stage.readinto(recvbuf) == kind.n_bytes
            elif is_fit:  # nothing is written, and yet it has to be a buffer that one could write to
                is_fit = recvbuf.flags.carray
        except _UNUSUAL:
            is_fit = False
        if not is_fit:
            if operation is None:
                self._receive_matched(recvbuf, source, recvtag, status)
            else:
                self._settle(operation, status)
            return
        if operation is not None:
            message.taken, operation.buf = False, None
        elif lane is not None:
            del queue[0]
        else:
            self._box.take(message)
            message.taken = False
        now = state.now
        arrival: Any = message.arrival
        state.now = (arrival if arrival > now else now) + self._overhead_ps
        state.received += kind.traffic
        if caller is None:
            self._tell_received(message, source, recvtag, now)
        if status is not None:
            fill_in(status, message.lane.source, kind.tag, kind.n_bytes)
        kind.free.append(message)
