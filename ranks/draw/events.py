"""The events of a run, as pictures need them: who did what, when, and which events belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """One thing that one rank did, from start_ps to end_ps of virtual time.

    kind:     "compute", "send", "receive" (its waiting included), "wait" (a send until its buffer is free), "enter" or
              "leave" (a region), or "return" (the program's end).
    peer:     The other rank, in the world.
    message:  The number that a send and its receive share.
    name:     The region's.
    site:     The program's line, "ring.py:12", of a message or of computing.
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
    site: str = ""


class Events:
    """The events of a run of `size` ranks, in an order in which each comes after all that it depends on.

    overhead_ps: What each side of a message takes, once it need not wait.
    """

    def __init__(self, size: int, overhead_ps: int = 0) -> None:
        self.size, self.overhead_ps = size, overhead_ps
        self.events: list[Event] = []

    @property
    def end_ps(self) -> int:
        """When the last event ended."""
        return max((event.end_ps for event in self.events), default=0)

    def messages(self) -> list[tuple[Event, Event]]:
        """Return the send and the receive of each message that was received."""
        sends = {event.message: event for event in self.events if event.kind == "send"}
        return [(sends[event.message], event) for event in self.events if event.kind == "receive"]

    def unreceived(self) -> list[Event]:
        """Return the sends whose messages nobody received."""
        received = {event.message for event in self.events if event.kind == "receive"}
        return [event for event in self.events if event.kind == "send" and event.message not in received]

    def bars(self) -> Iterator[tuple[str, int, int, Event]]:
        """Yield what fills a rank's time, as (what, start_ps, end_ps, event): compute, send, receive or waiting."""
        for event in self.events:
            ready_ps = event.start_ps
            if event.kind == "receive":
                ready_ps = max(event.start_ps, event.end_ps - self.overhead_ps)
            elif event.kind == "wait":
                ready_ps = event.end_ps
            if event.start_ps < ready_ps:
                yield "waiting", event.start_ps, ready_ps, event
            if ready_ps < event.end_ps:
                yield event.kind, ready_ps, event.end_ps, event

    def visits(self, end_ps: int | None = None) -> list[tuple[str, int, int, int]]:
        """Return (name, rank, start_ps, end_ps) of each visit to a region, innermost first.

        A region that its rank has not left lasts until end_ps, by default that of the last event.
        """
        entered: dict[int, list[Event]] = {}
        visits = []
        for event in self.events:
            if event.kind == "enter":
                entered.setdefault(event.rank, []).append(event)
            elif event.kind == "leave":
                visits.append((event.name, event.rank, entered[event.rank].pop().start_ps, event.end_ps))
        last_ps = self.end_ps if end_ps is None else end_ps
        return visits + [(e.name, e.rank, e.start_ps, last_ps) for stay in entered.values() for e in reversed(stay)]

    def returns(self) -> dict[int, int]:
        """Return when the program of each rank returned; ranks whose program did not are left out."""
        return {event.rank: event.end_ps for event in self.events if event.kind == "return"}
