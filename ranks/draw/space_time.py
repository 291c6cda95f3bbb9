"""The space-time picture: a line for each rank, an arrow for each message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ranks.draw import look
from ranks.draw.events import Events

# One colour for each way to spend time; people who do not see red and green can tell them apart too.
COLOURS = {"compute": "#009e73", "send": "#0072b2", "receive": "#56b4e9", "waiting": "#8a8d9170"}
REGION_COLOUR = "#8f6fd6"
HANGS = {"core": ("core of the hang", look.ACCENT), "behind": ("behind it", look.INK)}
LOST_COLOUR = "#d6336c"

# Beyond so many messages, arrows hide each other: they are drawn thin. So many ranks fit one picture.
_ARROWS, _RANKS = 600, 64

Span = tuple[int, float, float]  # rank, start and end in the unit of the axis


def space_time(
    trace: Events, title: str = "", error: Any = None, ranks: range | None = None, until_ps: int | None = None
) -> Any:
    """Return a matplotlib Figure: time runs right, a line per rank, an arrow per message.

    error: the RanksError that ended the run; its ranks stand out. ranks: those that are drawn. until_ps: where the
    time axis ends; by default where the last event does.
    """
    shown = range(min(trace.size, _RANKS)) if ranks is None else ranks
    if not (isinstance(shown, range) and shown) or shown.step != 1 or shown[0] < 0 or shown[-1] >= trace.size:
        raise ValueError(
            f"picture: got ranks={shown}, expected some of 0 to {trace.size - 1} in a row; remedy: range(first, end)"
        )
    picture = _Picture(trace, shown, error, until_ps)
    picture.draw_bars()
    picture.draw_regions()
    picture.draw_messages()
    picture.draw_fates()
    return picture.finish(title)


class _Picture:
    """A space-time picture while it is drawn. What has a label comes into the legend."""

    def __init__(self, trace: Events, shown: range, error: Any, until_ps: int | None) -> None:
        self.trace, self.shown = trace, shown
        end_ps = until_ps or trace.end_with(error) or 1
        self.unit, self.scale = look.time_unit(end_ps)
        self.end = end_ps / self.scale
        self.fates = [] if error is None else [fate for fate in trace.fates(error) if fate.rank in shown]
        self.ends = dict.fromkeys(shown, self.end)  # of the ranks' lines
        stopped = [(fate.rank, fate.time_ps) for fate in self.fates if fate.role not in HANGS]
        self.ends |= {rank: time_ps / self.scale for rank, time_ps in [*trace.returns().items(), *stopped]}
        self.figure = look.figure(10, min(max(2.5, 0.45 * len(shown) + 1.2), 24))
        self.axes = look.axes(self.figure)

    def draw_bars(self) -> None:
        """Draw a thin line while a rank's program runs, and bars for what it does."""
        lives = [self.ends[rank] for rank in self.shown]
        self.axes.hlines(self.shown, 0, lives, color=look.FAINT, linewidth=0.8, zorder=0)
        spans: dict[str, list[Span]] = {what: [] for what in COLOURS}
        for what, start_ps, end_ps, event in self.trace.bars():
            if event.rank in self.shown:
                spans[what].append((event.rank, start_ps / self.scale, end_ps / self.scale))
        for what, found in spans.items():
            # The edge keeps what is short visible.
            edge = 0 if what == "waiting" else 0.4
            self._boxes(found, 0.16, facecolor=COLOURS[what], edgecolor=COLOURS[what], linewidth=edge, label=what)

    def draw_regions(self) -> None:
        """Draw a frame around each visit to a region, and write the region's name over its first one."""
        visits = [visit for visit in self.trace.visits(round(self.end * self.scale)) if visit[1] in self.shown]
        spans = [(rank, a_ps / self.scale, min(b_ps / self.scale, self.ends[rank])) for _, rank, a_ps, b_ps in visits]
        self._boxes(spans, 0.26, facecolor="none", edgecolor=REGION_COLOUR, linewidth=1, label="region")
        named = set()
        for name, rank, start_ps, _ in sorted(visits, key=lambda visit: visit[1:]):
            if name not in named:
                named.add(name)
                place = start_ps / self.scale, rank - 0.29
                self.axes.text(*place, name, va="bottom", color=REGION_COLOUR, fontsize="small")

    def draw_messages(self) -> None:
        """Draw an arrow for each message, dashed with a cross before it reaches its rank if nobody received it."""
        arrows = [
            (a.end_ps / self.scale, a.rank, (b.end_ps - a.end_ps) / self.scale, b.rank - a.rank)
            for a, b in self.trace.messages()
            if a.rank in self.shown or b.rank in self.shown
        ]
        if arrows:
            self.axes.quiver(
                *zip(*arrows, strict=True), angles="xy", scale_units="xy", scale=1, units="inches", color=look.INK,
                width=0.012 if len(arrows) <= _ARROWS else 0.003, headwidth=6, headlength=8, headaxislength=7,
            )  # fmt: skip
            self.axes.plot([], [], color=look.INK, marker=">", label="message")
        for event in self.trace.unreceived():
            if event.rank in self.shown:
                x = event.end_ps / self.scale
                ends = [x, min(x + 0.15 * self.end, self.end)], [event.rank, event.rank * 0.25 + event.peer * 0.75]
                style = {"color": LOST_COLOUR, "marker": "x", "markersize": 8, "markeredgewidth": 2, "markevery": [1]}
                self.axes.plot(*ends, linestyle=(0, (4, 3)), linewidth=1.4, label="never received", **style)

    def draw_fates(self) -> None:
        """Draw what hangs beyond its last event, and say at the end of each rank's line what had become of it."""
        for role, (label, colour) in HANGS.items():
            spans = [(fate.rank, fate.time_ps / self.scale, self.end) for fate in self.fates if fate.role == role]
            self._boxes(spans, 0.16, facecolor="none", edgecolor=colour, hatch="////", linewidth=0, label=label)
        for fate in self.fates:
            colour = LOST_COLOUR if fate.role == "failed" else HANGS[fate.role][1] if fate.role in HANGS else look.INK
            if fate.role == "failed":
                self.axes.plot([fate.time_ps / self.scale], [fate.rank], marker="X", color=colour, markersize=14)
            self.axes.text(1.02 * self.end, fate.rank, fate.words, color=colour, fontsize="small", va="center")

    def _boxes(self, spans: Iterable[Span], half: float, **style: Any) -> None:
        """Draw a box from start to end on each rank's line."""
        from matplotlib.collections import PolyCollection

        corners = [
            [(start, rank - half), (end, rank - half), (end, rank + half), (start, rank + half)]
            for rank, start, end in spans
        ]
        if corners:
            self.axes.add_collection(PolyCollection(corners, **style))

    def finish(self, title: str) -> Any:
        """Set axes and legend; return the figure."""
        whole = len(self.shown) == self.trace.size
        some = f"ranks {self.shown[0]} to {self.shown[-1]} of {self.trace.size:,}"
        self.axes.set(xlabel=f"virtual time, {self.unit}", ylabel="rank" if whole else some, title=title)
        self.axes.set_yticks(self.shown[:: -(-len(self.shown) // 32)])
        self.axes.set_xlim(-0.005 * self.end, 1.01 * self.end)
        self.axes.set_ylim(self.shown[-1] + 0.6, self.shown[0] - 0.7)
        handles = dict(zip(*reversed(self.axes.get_legend_handles_labels()), strict=True))
        if handles:
            place = {"loc": "outside upper right", "ncols": 9, "fontsize": "small", "columnspacing": 1.4}
            look.legend(self.figure, handles=list(handles.values()), **place)
        return self.figure
