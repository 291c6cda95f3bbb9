"""The events of a run, as pictures need them: who did what, when, and which events belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


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


class Fate(NamedTuple):
    """What had become of a rank when an error ended the run.

    time_ps:  When it did something for the last time.
    role:     "core" or "behind" if it waits for ever, "failed" or "returned".
    words:    A few words on it; more: several lines.
    """

    rank: int
    time_ps: int
    role: str
    words: str
    more: str


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

    def end_with(self, error: Any) -> int:
        """Return where a picture ends of the run that `error` ended: beyond the last event, since waiting goes on."""
        last_ps = max(self.end_ps, getattr(error, "time_ps", 0))
        return last_ps if error is None else max(1, last_ps * 5 // 4)

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

    def fates(self, error: Any) -> list[Fate]:
        """Return what had become of the ranks when `error` ended the run; of ranks that still ran, nothing."""
        last = dict.fromkeys(range(self.size), 0)
        for event in self.events:
            last[event.rank] = max(last[event.rank], event.end_ps)
        found = []
        for each in getattr(error, "blocked", ()):
            role = "core" if each.rank in error.core else "behind"
            short = f"{each.call.text.partition('(')[0]} at {each.call.site}"
            found.append(
                Fate(each.rank, last[each.rank], role, short, f"{each.call.text}\n{each.call.site}\n{each.reason}")
            )
        for rank, how in getattr(error, "failed", {}).items():
            found.append(Fate(rank, last[rank], "failed", "crashed", how))
        for text, ranks in getattr(error, "calls", {}).items():  # they do not agree on a collective
            found += [Fate(rank, last[rank], "failed", text, "") for rank in ranks]
        rank = getattr(error, "rank", None)
        if rank is not None:
            found.append(Fate(rank, last[rank], "failed", type(error).__name__, f"{error.call}\n{error.site}"))
        known = {fate.rank for fate in found}
        ends = self.returns().items()
        return found + [Fate(rank, time_ps, "returned", "returned", "") for rank, time_ps in ends if rank not in known]
