"""The events of a run, as pictures need them: who did what, when, and which events belong together."""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One thing that one rank did, from start_ps to end_ps of virtual time.

    kind:     "send", "receive", "wait" (a send until its buffer is free), "enter" or "leave" (a region).
    peer:     The other rank, in the world.
    message:  The number that a send and its receive share.
    name:     The region's.
    """

    rank: int
    kind: str
    start_ps: int
    end_ps: int
    peer: int = -1
    tag: int = -1
    n_bytes: int = 0
    message: int = -1
    name: str = ""


class Events:
    """The events of a run of `size` ranks, in an order in which each comes after all that it depends on."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.events: list[Event] = []

    def messages(self) -> list[tuple[Event, Event]]:
        """Return the send and the receive of each message that was received."""
        sends = {event.message: event for event in self.events if event.kind == "send"}
        return [(sends[event.message], event) for event in self.events if event.kind == "receive"]

    def unreceived(self) -> list[Event]:
        """Return the sends whose messages nobody received."""
        received = {event.message for event in self.events if event.kind == "receive"}
        return [event for event in self.events if event.kind == "send" and event.message not in received]

    def visits(self) -> list[tuple[str, int, int, int]]:
        """Return (name, rank, start_ps, end_ps) of each visit to a region, innermost first."""
        entered: dict[int, list[Event]] = {}
        visits = []
        for event in self.events:
            if event.kind == "enter":
                entered.setdefault(event.rank, []).append(event)
            elif event.kind == "leave":
                visits.append((event.name, event.rank, entered[event.rank].pop().start_ps, event.end_ps))
        return visits
