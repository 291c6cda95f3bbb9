"""What ranks ask that depends on when things happen: Test, Iprobe, Waitany and their like, answered by the clock."""

from __future__ import annotations

from ranks.engine.events import DECIDE
from ranks.engine.polls import Polls
from ranks.engine.rank import FIRST
from ranks.engine.scheduler import Scheduler
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.words.constants import ANY_SOURCE


class ByTheClock:
    """Answers by virtual time: what has happened up to the asking rank's own time is seen, and nothing else."""

    def __init__(self, scheduler: Scheduler, poll_ps: int) -> None:
        self.scheduler, self.polls = scheduler, Polls(scheduler, poll_ps)

    def saw(self, probe: Operation) -> None:
        """Do nothing: what a blocking probe has seen is there by the clock too."""

    def look(self, probe: Operation) -> Message | None:
        """Return the message that a probe would see at its rank's own time."""
        box, state = probe.box, probe.state
        wild = box.watch()

        def earliest() -> Message | None:
            message = wild.earliest(probe.tag) if probe.peer == ANY_SOURCE else box.first(probe.peer, probe.tag)
            visible_ps = None if message is None else message.visible_ps()
            return message if visible_ps is not None and visible_ps <= state.now else None

        return self.polls.ask(state, (box.context.number, probe.peer, probe.tag), earliest)

    def test(self, operations: list[Operation], enough: str) -> list[int]:
        """Return the places of the operations that are complete at their rank's own time, none if too few are.

        enough: how many are needed, and how many are returned: "all", "any" (one) or "some" (one; all that are).
        """
        state = operations[0].state

        def complete() -> list[int]:
            places = [
                place
                for place, operation in enumerate(operations)
                if operation.ready_ps is not None and operation.ready_ps <= state.now
            ]
            if enough == "all":
                return places if len(places) == len(operations) else []
            return places[:1] if enough == "any" else places

        return self.polls.ask(state, (enough, *map(id, operations)), complete)

    def wait_any(self, operations: list[Operation], enough: str) -> list[int]:
        """Wait until an operation is complete; return the places of those that are, first one first.

        enough: "any" for the first one, "some" for all that are complete at its time.
        """
        state = operations[0].state
        for operation in operations:
            operation.waiting = FIRST
            if operation.ready_ps is not None:
                self.scheduler.schedule_next(max(operation.ready_ps, state.now), DECIDE, state.rank, state)
        self.scheduler.park_for(state, operations, FIRST)
        for operation in operations:
            operation.waiting = 0
        ready = [(o.ready_ps, place) for place, o in enumerate(operations) if o.ready_ps is not None]
        state.now = max(state.now, min(ready)[0])
        places = [place for ready_ps, place in sorted(ready) if ready_ps <= state.now]
        return places[:1] if enough == "any" else places
