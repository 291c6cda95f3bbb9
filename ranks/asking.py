"""What ranks ask that depends on when things happen: Test, Iprobe, Waitany and their like, answered by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranks.constants import ANY_SOURCE
from ranks.messages import ANY, Message, Operation

if TYPE_CHECKING:
    from ranks.world import World


class AnyOf:
    """What a rank awaits in Waitany and Waitsome: the first of `operations` to be complete."""

    __slots__ = ("operations",)

    def __init__(self, operations: list[Operation]) -> None:
        self.operations = operations

    def is_due(self, time_ps: int) -> bool:
        """Return whether one of the operations is complete at `time_ps`."""
        return any(o.ready_ps is not None and o.ready_ps <= time_ps for o in self.operations)


class ByTheClock:
    """Answers by virtual time: what has happened up to the asking rank's own time is seen, and nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self, probe: Operation) -> Message | None:
        """Return the message that a probe would see at its rank's own time."""
        box, state = probe.box, probe.state
        if probe.peer == ANY_SOURCE:
            box.watch()

        def earliest() -> Message | None:
            message = box.earliest(probe.tag) if probe.peer == ANY_SOURCE else box.first(probe.peer, probe.tag)
            visible_ps = None if message is None else message.visible_ps()
            return message if visible_ps is not None and visible_ps <= state.now else None

        return self.world.poll(state, earliest)

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

        return self.world.poll(state, complete)

    def wait_any(self, operations: list[Operation], enough: str) -> list[int]:
        """Wait until an operation is complete; return the places of those that are, first one first.

        enough: "any" for the first one, "some" for all that are complete at its time.
        """
        state = operations[0].state
        for operation in operations:
            operation.awaited = ANY
            if operation.ready_ps is not None:
                self.world.decide_at(max(operation.ready_ps, state.now), state)
        state.awaits = AnyOf(operations)
        self.world.park(state)
        for operation in operations:
            operation.awaited = 0
        ready = [(o.ready_ps, place) for place, o in enumerate(operations) if o.ready_ps is not None]
        state.now = max(state.now, min(ready)[0])
        places = [place for ready_ps, place in sorted(ready) if ready_ps <= state.now]
        return places[:1] if enough == "any" else places
