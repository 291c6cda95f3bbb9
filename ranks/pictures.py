"""Pictures of a trace: the space-time diagram, and events for Perfetto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranks.trace import Event, Trace

# One colour per kind of event; people who do not see red and green can tell them apart too.
COLOURS = {"send": "#0072b2", "receive": "#e69f00", "wait": "#999999"}
MESSAGE_COLOUR = "#56708a"
REGION_COLOUR = "#009e73"

# Beyond so many messages, arrows hide each other and heads are left out.
_ARROWS = 600


def space_time(trace: Trace, title: str = "") -> Any:
    """Return a matplotlib Figure: time runs right in microseconds, a line per rank, an arrow per message."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(10, min(max(2.5, 0.45 * trace.size + 1.2), 24)), layout="constrained")
    axes = figure.add_subplot()
    scale = 1e-6
    for event in trace.events:
        if event.kind in COLOURS and event.end_ps > event.start_ps:
            width = (event.end_ps - event.start_ps) * scale
            axes.broken_barh([(event.start_ps * scale, width)], (event.rank - 0.16, 0.32), color=COLOURS[event.kind])
    for name, rank, start_ps, end_ps in _regions(trace):
        axes.broken_barh(
            [(start_ps * scale, (end_ps - start_ps) * scale)], (rank - 0.3, 0.6), facecolor="none",
            edgecolor=REGION_COLOUR, linewidth=1, label=name,
        )  # fmt: skip
    arrows = [(a.end_ps * scale, a.rank, b.end_ps * scale, b.rank) for a, b in messages(trace)]
    if len(arrows) <= _ARROWS:
        for x0, y0, x1, y1 in arrows:
            look = {"arrowstyle": "-|>", "color": MESSAGE_COLOUR, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=look)
    else:
        lines = [((x0, y0), (x1, y1)) for x0, y0, x1, y1 in arrows]
        axes.add_collection(LineCollection(lines, colors=MESSAGE_COLOUR, linewidths=0.3))
    axes.set(xlabel="virtual time, µs", ylabel="rank", title=title)
    step = -(-trace.size // 32)
    axes.set_yticks(range(0, trace.size, step))
    axes.set_ylim(trace.size - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    kinds = {event.kind for event in trace.events}
    handles: list[Any] = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in kinds]
    if arrows:
        handles.append(Line2D([], [], color=MESSAGE_COLOUR, marker=">", label="message"))
    names = sorted({name for name, *_ in _regions(trace)})
    handles += [Patch(facecolor="none", edgecolor=REGION_COLOUR, label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize="small")
    return figure


def messages(trace: Trace) -> list[tuple[Event, Event]]:
    """Return the send and the receive of each message that was received."""
    sends = {event.message: event for event in trace.events if event.kind == "send"}
    return [(sends[event.message], event) for event in trace.events if event.kind == "receive"]


def _regions(trace: Trace) -> list[tuple[str, int, int, int]]:
    """Return (name, rank, start_ps, end_ps) of each visit to a region, innermost first."""
    entered: dict[int, list[Event]] = {}
    visits = []
    for event in trace.events:
        if event.kind == "enter":
            entered.setdefault(event.rank, []).append(event)
        elif event.kind == "leave":
            visits.append((event.name, event.rank, entered[event.rank].pop().start_ps, event.end_ps))
    return visits


def chrome_events(trace: Trace) -> list[dict[str, Any]]:
    """Return the trace in Chrome's trace event format, times in microseconds.

    Source: Duca and Sinclair, "Trace Event Format": X slices, s/f flow arrows, M names.
    """
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "tid": rank, "name": "thread_name", "args": {"name": f"rank {rank}"}}
        for rank in range(trace.size)
    ]
    for name, rank, start_ps, end_ps in _regions(trace):
        events.append(_slice(name, rank, start_ps, end_ps, {}))
    for event in trace.events:
        if event.kind in COLOURS:
            way = "from" if event.kind == "receive" else "to"
            facts = {"peer": event.peer, "tag": event.tag, "bytes": event.n_bytes}
            name = f"{event.kind} {way} {event.peer}"
            events.append(_slice(name, event.rank, event.start_ps, event.end_ps, facts))
    for send, receive in messages(trace):
        flow = {"cat": "message", "name": f"{send.n_bytes} B", "id": send.message, "pid": 0}
        events.append({"ph": "s", "tid": send.rank, "ts": send.start_ps / 1e6, **flow})
        events.append({"ph": "f", "bp": "e", "tid": receive.rank, "ts": receive.end_ps / 1e6, **flow})
    return events


def _slice(name: str, rank: int, start_ps: int, end_ps: int, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "pid": 0, "tid": rank, "name": name, "args": facts,
        "ts": start_ps / 1e6, "dur": (end_ps - start_ps) / 1e6,
    }  # fmt: skip
