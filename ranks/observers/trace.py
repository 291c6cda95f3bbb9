"""The events of a run, and what they prove: which event happened before which, on any clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks.comm.communicator import Comm
from ranks.comm.handle import check_rank
from ranks.draw.events import Event, Events
from ranks.messages.message import Message
from ranks.messages.observer import Observer
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.words.callsite import Sites
from ranks.words.constants import behind

_new = tuple.__new__


class Trace(Events, Observer):
    """The events of a run, and what they prove."""

    def __init__(self, size: int, overhead_ps: int) -> None:
        super().__init__(size, overhead_ps)
        self._sites = Sites()

    # -- recording -------------------------------------------------------------------------------------------

    def _note(self, rank: int, kind: str, begin_ps: int, end_ps: int, peer: int, message: Message) -> None:
        of_kind, number = message.kind, message.number * self.size + message.lane.sender.rank
        site = self._sites.here(3)
        # As Event(...) makes it, in a third of the time.
        event = (rank, kind, begin_ps, end_ps, peer, of_kind.tag, of_kind.n_bytes, number, "", site)
        self.events.append(_new(Event, event))

    def sent(self, message: Message) -> None:
        """Note a send at the time of its call."""
        lane = message.lane
        state, dest = lane.sender, lane.box.owner.rank
        self._note(state.rank, "send", message.ready_ps - self.overhead_ps, message.ready_ps, dest, message)

    def received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Note a receive that has waited since `begin_ps`."""
        state = message.owner
        self._note(state.rank, "receive", begin_ps, state.now, message.origin.rank, message)

    def send_finished(self, operation: Operation, message: Message, begin_ps: int) -> None:
        """Note that a rank has waited since begin_ps for the buffer of a send, which is free again."""
        state = operation.state
        if state.now > begin_ps:
            self._note(state.rank, "wait", begin_ps, state.now, message.owner.rank, message)

    def computed(self, state: RankState, begin_ps: int) -> None:
        """Note that a rank has worked on its own since begin_ps."""
        if state.now > begin_ps:
            self.events.append(Event(state.rank, "compute", begin_ps, state.now, site=self._sites.here(3)))

    def returned(self, state: RankState) -> None:
        """Note that the program of a rank has returned."""
        self.events.append(Event(state.rank, "return", state.now, state.now))

    def marked(self, rank: int, kind: str, time_ps: int, name: str) -> None:
        """Note that a rank enters or leaves a region."""
        self.events.append(Event(rank, kind, time_ps, time_ps, name=name))

    # -- what the events prove -------------------------------------------------------------------------------

    def vector_clocks(self) -> NDArray[np.int64]:
        """Return the vector clock of each event: [e, r] is how many events of rank r event e depends on.

        Event a happened before event b, whatever the speed of ranks and links, if and only if
        clocks[a, rank of a] <= clocks[b, rank of a] and a is not b. Only messages count as dependence.
        Shape: (events, ranks). Source: Fidge 1988, Mattern 1989.
        """
        clocks = np.zeros((len(self.events), self.size), np.int64)
        latest = np.zeros((self.size, self.size), np.int64)
        sent: dict[int, NDArray[np.int64]] = {}
        for index, event in enumerate(self.events):
            clock = latest[event.rank]
            clock[event.rank] += 1
            if event.kind == "receive":
                np.maximum(clock, sent[event.message], out=clock)
            clocks[index] = clock
            if event.kind == "send":
                sent[event.message] = clocks[index]
        return clocks

    def left_before_entered(self, name: str) -> list[tuple[int, int]]:
        """Return the pairs (a, b) such that b may leave region `name` before a enters it; none in a barrier.

        The k-th visit of each rank counts as one barrier; a pair is returned once for each visit that fails.
        """
        clocks = self.vector_clocks()
        entered: dict[int, list[int]] = {rank: [] for rank in range(self.size)}
        left: dict[int, list[int]] = {rank: [] for rank in range(self.size)}
        for index, event in enumerate(self.events):
            if event.name == name:
                (entered if event.kind == "enter" else left)[event.rank].append(index)
        visits = {len(indices) for indices in (*entered.values(), *left.values())}
        if len(visits) != 1 or visits == {0}:
            raise ValueError(
                f"Trace.left_before_entered: got {sorted(visits)} visits to region {name!r}, expected the "
                f"same number, at least 1, on every rank; remedy: put `with ranks.region(comm, {name!r}):` "
                "around the call"
            )
        pairs = []
        for visit in range(visits.pop()):
            starts = np.array([clocks[entered[rank][visit], rank] for rank in range(self.size)])
            for rank in range(self.size):
                early = np.flatnonzero(clocks[left[rank][visit]] < starts)
                pairs += [(int(other), rank) for other in early]
        return pairs

    def longest_chain(self) -> int:
        """Return the number of messages in the longest chain of which each was sent after the one before had come.

        These are an algorithm's rounds, counted on what it did.
        """
        depth = [0] * self.size
        sent: dict[int, int] = {}
        for event in self.events:
            if event.kind == "send":
                sent[event.message] = depth[event.rank] + 1
            elif event.kind == "receive":
                depth[event.rank] = max(depth[event.rank], sent[event.message])
        return max(depth)

    # -- exports ---------------------------------------------------------------------------------------------

    def to_chrome(self, path: str | PathLike[str]) -> None:
        """Write Chrome trace JSON, which Perfetto opens: a track per rank, an arrow per message."""
        from ranks.draw.chrome import chrome_events

        Path(path).write_text(json.dumps({"traceEvents": chrome_events(self), "displayTimeUnit": "ns"}))

    def to_html(self, path: str | PathLike[str], *, title: str = "What the ranks did when", error: Any = None) -> None:
        """Write a page in one file, which needs no network: zoom into the run, hover over messages, step, play.

        error: the RanksError that ended the run; its ranks stand out.
        """
        from ranks.draw.page import page, piece, viewer

        Path(path).write_text(page(title, [piece("h1", title), viewer(self, error)]), encoding="utf-8")

    def picture(
        self, path: str | PathLike[str] | None = None, *, title: str = "", error: Any = None,
        ranks: range | None = None, until_ps: int | None = None,
    ) -> Any:  # fmt: skip
        """Return the space-time picture, a matplotlib Figure; save it to `path` (.svg or .png) if given.

        Messages that nobody received end in a cross.

        error:     The RanksError that ended the run; its ranks stand out.
        ranks:     Which ranks are drawn, range(4) for the first four; the first 64 if it is left out.
        until_ps:  Where the time axis ends, so that two pictures can share one: max(one.time_ps, other.time_ps).
        """
        from ranks.draw.space_time import space_time

        figure = space_time(self, title, error, ranks, until_ps)
        if path is not None:
            figure.savefig(path, bbox_inches="tight")
        return figure


_UNMARKED = nullcontext()


def region(comm: Any, name: str) -> AbstractContextManager[None]:
    """Return a context that marks the calls in it as one region of the trace; it does nothing if there is no trace."""
    comm = behind(comm)
    if isinstance(comm, Comm):
        check_rank(comm)
        for observer in comm._transport.observers:
            if isinstance(observer, Trace):
                return _marked(observer, comm._state, name)
    return _UNMARKED


@contextmanager
def _marked(trace: Trace, state: RankState, name: str) -> Iterator[None]:
    trace.marked(state.rank, "enter", state.now, name)
    try:
        yield
    except Exception:  # nothing else: when the run ends a rank from outside, its region is still open
        trace.marked(state.rank, "leave", state.now, name)
        raise
    trace.marked(state.rank, "leave", state.now, name)
