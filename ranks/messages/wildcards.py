"""Receives from any source, and probes: the earliest arrival counts, ties by source.

A wildcard has a choice. It waits until the scheduler says that nothing can arrive earlier any more (`decide`).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

from ranks.engine.events import DECIDE
from ranks.messages.lane import Lane
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.words.constants import ANY_SOURCE, ANY_TAG

# When the heap has so many entries and two more for each source, it is rebuilt without its outdated ones.
_KEPT = 64


class Wildcards:
    """What waits in a mailbox for any source, and the probe of its rank.

    posted:  The receives from any source that have no message yet, in the order posted.
    probe:   The probe that the rank is blocked in, if it is.
    heads:   A heap of (when it became visible, source) for the first message of each source, as soon as it is
             visible. Entries may be out of date.
    """

    __slots__ = ("box", "heads", "posted", "probe")

    def __init__(self, box: Any) -> None:
        self.box = box
        self.posted: list[Operation] = []
        self.probe: Operation | None = None
        self.heads: list[tuple[int, int]] = []

    # -- the order of arrival ----------------------------------------------------------------------------------

    def show_first(self, lane: Lane) -> None:
        """Enter a lane's first message, if there is a visible one."""
        if lane.queue:
            message = lane.queue[0]
            visible_ps = message.arrival if message.sender is None else message.ready_ps
            if visible_ps is not None:
                heappush(self.heads, (visible_ps, lane.source))
                if len(self.heads) > _KEPT + 2 * len(self.box.lanes):
                    self._prune()

    def _prune(self) -> None:
        """Make the heap anew, without entries out of date."""
        self.heads[:] = {(seen, source) for seen, source in self.heads if self._is_first(seen, source)}
        heapify(self.heads)

    def _is_first(self, visible_ps: int, source: int) -> bool:
        queue = self.box.lanes[source].queue
        return bool(queue) and queue[0].visible_ps() == visible_ps

    def earliest(self, tag: int) -> Message | None:
        """Return the visible message that a wildcard would take: earliest first, ties by source.

        Only the first of each source that has the tag is eligible. The heap's top nearly always is.
        """
        heads, lanes = self.heads, self.box.lanes
        while heads:
            visible_ps, source = heads[0]
            queue = lanes[source].queue
            if queue:
                message: Message = queue[0]
                if (message.arrival if message.sender is None else message.ready_ps) == visible_ps:
                    if tag == ANY_TAG or tag == message.kind.tag:
                        return message
                    break
            heappop(heads)
        if not heads and tag == ANY_TAG:
            return None
        firsts = (lane.first(tag) for lane in lanes.values())
        visible: list[Any] = [
            (m.visible_ps(), m.source, m) for m in firsts if m is not None and m.visible_ps() is not None
        ]
        first: Message | None = min(visible, key=lambda entry: entry[:2])[2] if visible else None
        return first

    # -- what waits ----------------------------------------------------------------------------------------------

    def settled(self, tag: int, until_ps: float) -> Message | None:
        """Return the message that a wildcard posted now must take, None if that is open yet.

        It is settled once a message is here and nothing can become visible before it any more. A rank that goes on
        could still cause that itself, from its own time `until_ps` on; one that waits cannot.
        """
        scheduler = self.box.owner.scheduler
        if scheduler.ready or self.posted:  # whoever runs may cause anything
            return None
        message = self.earliest(tag)
        if message is None or (message.lane.posted and self.box.is_promised(message)):
            return None
        visible_ps = message.arrival if message.sender is None else message.ready_ps
        if visible_ps <= until_ps and scheduler.is_past(visible_ps):  # type: ignore[operator]  # it is visible
            return message
        return None

    def notice(self, lane: Lane, message: Message) -> None:
        """Tell the wildcards and the probe that a message in a queue may have become visible."""
        visible_ps = message.arrival if message.sender is None else message.ready_ps
        if visible_ps is None:
            return
        if lane.queue and lane.queue[0] is message:
            self.show_first(lane)
        for receive in self.posted:
            due_ps = visible_ps if visible_ps > receive.posted_ps else receive.posted_ps
            if (receive.due_ps is None or due_ps < receive.due_ps) and receive.takes(message):
                self._decide_at(due_ps, receive)
        probe = self.probe
        if probe is not None and probe.takes(message):
            if probe.peer == ANY_SOURCE:
                self._decide_at(max(probe.posted_ps, visible_ps), probe)
            else:
                self.look()

    def post_probe(self, probe: Operation) -> None:
        """Complete a blocking probe when its message is visible; its rank has no other one."""
        self.probe = probe
        if probe.peer == ANY_SOURCE:
            self.consider(probe)
        else:
            self.look()

    def look(self) -> None:
        """Complete a probe that names its source, unless its message may go to a receive posted earlier."""
        probe = self.probe
        if probe is None or probe.peer == ANY_SOURCE:
            return
        message = self.box.first(probe.peer, probe.tag)
        if message is not None and message.visible_ps() is not None and not self.box.is_promised(message):
            self.found(probe, message)

    def found(self, probe: Operation, message: Message) -> None:
        """Complete the probe: it sees `message`."""
        self.probe = None
        probe.message = message
        visible_ps = message.visible_ps()
        assert visible_ps is not None
        probe.complete(max(probe.posted_ps, visible_ps, self.box.owner.scheduler.time_ps))

    # -- decisions -----------------------------------------------------------------------------------------------

    def consider(self, wild: Operation) -> None:
        """Ask for a decision at the time at which a wildcard could be matched, as far as is known now."""
        message = self.earliest(wild.tag)
        if message is not None:
            self._decide_at(_due_ps(wild, message), wild)

    def _decide_at(self, due_ps: int, wild: Operation) -> None:
        """Ask for a decision at `due_ps`, unless one is due earlier anyway."""
        if wild.due_ps is None or due_ps < wild.due_ps:
            wild.due_ps = due_ps
            owner = self.box.owner
            owner.scheduler.schedule_next(due_ps, DECIDE, owner.rank, self)

    def decide(self, time_ps: int) -> None:
        """Match the wildcards that can be matched at `time_ps`: nothing can become visible earlier."""
        for wild in list(self.posted):
            message = self._due(wild, time_ps)
            if message is not None:
                self.match(wild, message)
        if self.probe is not None and self.probe.peer == ANY_SOURCE:
            message = self._due(self.probe, time_ps)
            if message is not None:
                self.found(self.probe, message)

    def _due(self, wild: Operation, time_ps: int) -> Message | None:
        wild.due_ps = None
        message = self.earliest(wild.tag)
        if message is None:
            return None
        due_ps = _due_ps(wild, message)
        if due_ps <= time_ps:
            return message
        self._decide_at(due_ps, wild)
        return None

    def match(self, wild: Operation, message: Message) -> None:
        """Let a posted wildcard have a message that waits here."""
        box = self.box
        self.posted.remove(wild)
        box.take(message)
        box.join(wild, message)
        if box.n_named or self.probe is not None:
            box.rematch()


def _due_ps(wild: Operation, message: Message) -> int:
    """Return from when on a wildcard can have a visible message."""
    visible_ps: Any = message.arrival if message.sender is None else message.ready_ps
    posted_ps: int = wild.posted_ps
    return visible_ps if visible_ps > posted_ps else posted_ps
