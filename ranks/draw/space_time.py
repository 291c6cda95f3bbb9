"""The space-time picture: a line for each rank, an arrow for each message."""

from __future__ import annotations

from typing import Any

from ranks.draw import look
from ranks.draw.events import Events

# One colour per kind of event; people who do not see red and green can tell them apart too.
COLOURS = {"send": "#0072b2", "receive": "#f3cf85", "wait": "#b8b8b8"}
MESSAGE_COLOUR = "#333333"
REGION_COLOUR = "#00755a"
CORE_COLOUR = "#d55e00"
LOST_COLOUR = "#a3004a"
BEHIND_COLOUR = "#7a7a7a"

# Beyond so many messages, arrows hide each other: they are drawn thin.
_ARROWS = 600

_US = 1e-6  # microseconds in a picosecond


def space_time(trace: Events, title: str = "", hang: Any = None) -> Any:
    """Return a matplotlib Figure: time runs right in microseconds, a line per rank, an arrow per message.

    hang: the DeadlockError that ended the run; its ranks stand out.
    """
    figure = look.figure(10, min(max(2.5, 0.45 * trace.size + 1.2), 24))
    axes = look.axes(figure)
    _draw_events(axes, trace)
    _draw_regions(axes, trace)
    arrows = [(a.end_ps * _US, a.rank, b.end_ps * _US, b.rank) for a, b in trace.messages()]
    if arrows:
        x0, y0, x1, y1 = zip(*arrows, strict=True)
        dx, dy = [b - a for a, b in zip(x0, x1, strict=True)], [b - a for a, b in zip(y0, y1, strict=True)]
        axes.quiver(
            x0, y0, dx, dy, angles="xy", scale_units="xy", scale=1, units="inches", color=MESSAGE_COLOUR,
            width=0.012 if len(arrows) <= _ARROWS else 0.003, headwidth=6, headlength=8, headaxislength=7,
        )  # fmt: skip
    _draw_unreceived(axes, trace)
    if hang is not None:
        _draw_hang(axes, trace, hang)
    axes.set(xlabel="virtual time, µs", ylabel="rank", title=title)
    axes.set_yticks(range(0, trace.size, -(-trace.size // 32)))
    axes.set_ylim(trace.size - 0.4, -0.7)
    _add_legend(figure, trace, bool(arrows), hang)
    return figure


def _draw_unreceived(axes: Any, trace: Events) -> None:
    """Draw messages that nobody received as dashed arrows that end in a cross before they reach their rank."""
    end = _last_us(trace)
    for event in trace.unreceived():
        x0, x1 = event.end_ps * _US, event.end_ps * _US + max(0.15 * end, (end - event.end_ps * _US) / 2)
        y1 = event.rank + 0.75 * (event.peer - event.rank)
        axes.plot([x0, x1], [event.rank, y1], linestyle=(0, (4, 3)), color=LOST_COLOUR, linewidth=1.4)
        axes.plot([x1], [y1], marker="x", color=LOST_COLOUR, markersize=8, markeredgewidth=2)


def _draw_hang(axes: Any, trace: Events, hang: Any) -> None:
    """Draw how long each blocked rank has waited, and in what; the core stands out."""
    end = max(_last_us(trace), hang.time_ps * _US) * 1.05 or 1.0
    last = dict.fromkeys(range(trace.size), 0.0)
    for event in trace.events:
        last[event.rank] = max(last[event.rank], event.end_ps * _US)
    for each in hang.blocked:
        colour = CORE_COLOUR if each.rank in hang.core else BEHIND_COLOUR
        start = last[each.rank]
        axes.broken_barh(
            [(start, 1.25 * end - start)], (each.rank - 0.16, 0.32), facecolor="none", edgecolor=colour, hatch="////",
            linewidth=0,
        )  # fmt: skip
        text = f"{each.call.text.partition('(')[0]} at {each.call.site}"
        axes.text(1.26 * end, each.rank, text, color=colour, fontsize="small", va="center")
    for rank in getattr(hang, "failed", {}):
        axes.plot([last[rank]], [rank], marker="X", color=LOST_COLOUR, markersize=14)
        axes.text(1.26 * end, rank, "crashed", color=LOST_COLOUR, fontsize="small", va="center")


def _last_us(trace: Events) -> float:
    return max((event.end_ps for event in trace.events), default=0) * _US


def _draw_events(axes: Any, trace: Events) -> None:
    bars: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for event in trace.events:
        if event.kind in COLOURS and event.end_ps > event.start_ps:
            bar = event.start_ps * _US, (event.end_ps - event.start_ps) * _US
            bars.setdefault((event.kind, event.rank), []).append(bar)
    for (kind, rank), spans in bars.items():
        axes.broken_barh(spans, (rank - 0.16, 0.32), color=COLOURS[kind], linewidth=0)


def _draw_regions(axes: Any, trace: Events) -> None:
    """Draw a frame around each visit to a region, and write the region's name over its first one."""
    named = set()
    for name, rank, start_ps, end_ps in sorted(trace.visits(), key=lambda visit: visit[1:]):
        span = [(start_ps * _US, (end_ps - start_ps) * _US)]
        axes.broken_barh(span, (rank - 0.27, 0.54), facecolor="none", edgecolor=REGION_COLOUR, linewidth=1)
        if name not in named:
            named.add(name)
            axes.text(start_ps * _US, rank - 0.31, name, color=REGION_COLOUR, fontsize="small")


def _add_legend(figure: Any, trace: Events, with_messages: bool, hang: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = {event.kind for event in trace.events}
    handles: list[Any] = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in kinds]
    if with_messages:
        handles.append(Line2D([], [], color=MESSAGE_COLOUR, marker=">", label="message"))
    if "enter" in kinds:
        handles.append(Patch(facecolor="none", edgecolor=REGION_COLOUR, label="region"))
    if trace.unreceived():
        handles.append(Line2D([], [], color=LOST_COLOUR, linestyle="--", marker="x", label="never received"))
    if hang is not None and hang.core:
        handles.append(
            Patch(facecolor="none", edgecolor=CORE_COLOUR, hatch="////", linewidth=0, label="core of the hang")
        )
    if hang is not None and len(hang.core) < len(hang.blocked):
        handles.append(Patch(facecolor="none", edgecolor=BEHIND_COLOUR, hatch="////", linewidth=0, label="behind it"))
    figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize="small")
