"""Schedules on the clock, to look at: time runs right, a row for each rank, each pass with its microbatch.

`draw` needs matplotlib, which is loaded when a picture is drawn; `text` needs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import Any

from ranks import look
from training.pipeline.clock import Time, Timeline
from training.pipeline.schedule import Op

COLOURS = {"F": look.COLOURS[0], "B": look.COLOURS[3], "I": look.COLOURS[2], "W": look.COLOURS[1]}
MEANINGS = {"F": "F: forward", "B": "B: backward, I and W", "I": "I: input gradient", "W": "W: weight gradient"}

Box = tuple[Op, Time, Time, int, int]  # start, end, and in which of how many parts of its row


def text(timeline: Timeline, width: int = 100) -> str:
    """Return a line for each rank, at most `width` wide: passes as F0 or B0, and dots where the rank idles.

        text(play(make_schedule("1f1b", 2, 2)), width=40).splitlines()
        # ['0  F0 F1 ......B0    ...B1', '1  ...F0 B0    F1 B1    ......']

    Where there is little room, numbers are cut off, and then letters.
    """
    digits = len(str(len(timeline.times) - 1))
    scale = _scale(timeline, max(width - digits - 2, 1))
    lines = (f"{rank:>{digits}}  {_line(timeline, rank, scale)}".rstrip() for rank in range(len(timeline.times)))
    return "\n".join(lines)


def _scale(timeline: Timeline, room: int) -> Fraction:
    """Return how many letters a unit of time gets: all passes whole ones if there is room, and none too many."""
    takes = {Fraction(end) - Fraction(start) for ops in timeline.times for start, end in ops if end > start}
    if not takes:
        return Fraction(1)
    denominator = math.lcm(*(each.denominator for each in takes))
    step = Fraction(math.gcd(*(int(each * denominator) for each in takes)), denominator)  # divides every pass
    wide = 2 + len(str(timeline.schedule.microbatches - 1))  # letter, number and a space
    room_a_step = room * step / Fraction(timeline.length)
    return min(int(room_a_step) or room_a_step, math.ceil(wide * step / min(takes))) / step


def _line(timeline: Timeline, rank: int, scale: Fraction) -> str:
    cells = ["."] * round(Fraction(timeline.length) * scale)
    for op, start, end, part, parts in _boxes(timeline, rank):
        first, last = round(Fraction(start) * scale), round(Fraction(end) * scale)
        first, last = first + (last - first) * part // parts, first + (last - first) * (part + 1) // parts
        cells[first:last] = f"{op.kind}{op.microbatch}".ljust(last - first)[: last - first]
    return "".join(cells)


def draw(timeline: Timeline, title: str = "") -> Any:
    """Return a matplotlib Figure of a schedule on the clock.

        draw(play(make_schedule("zb-h1", 4, 8)), "ZB-H1").savefig("zb-h1.svg")

    Passes are coloured by their kind; of several stages of a rank, later ones are paler. Two that run at once have
    half of the row each.
    """
    figure = look.figure(10, 0.34 * len(timeline.times) + 1.3)
    draw_on(look.axes(figure, xlabel="time"), timeline, title)
    legend_of_passes(figure, {op.kind for op in timeline.schedule.places})
    return figure


def legend_of_passes(figure: Any, kinds: Collection[str]) -> None:
    """Say below a figure what the colours of these kinds of passes mean."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=MEANINGS[kind]) for kind, colour in COLOURS.items() if kind in kinds]
    look.legend(figure, handles=handles, loc="outside lower center", ncols=4, fontsize="small")


def draw_on(axes: Any, timeline: Timeline, title: str = "", length: Time = 0) -> None:
    """Draw a schedule on axes of `look`; `length` is where the time axis ends, by default where the last pass does."""
    from matplotlib.patches import Rectangle

    schedule, end_of_axis = timeline.schedule, max(length, timeline.length)
    inches = axes.figure.get_figwidth() / end_of_axis  # a unit of time, about
    for rank in range(schedule.p):
        axes.add_patch(Rectangle((0, rank - 0.46), float(timeline.length), 0.92, color=look.EMPTY, linewidth=0))
        chunks = schedule.stages_of(rank)
        for op, start, end, part, parts in _boxes(timeline, rank):
            colour = _paler(COLOURS[op.kind], chunks.index(op.stage) / len(chunks))
            height = 0.92 / parts
            corner = float(start), rank - 0.46 + part * height
            box = Rectangle(corner, float(end - start), height, facecolor=colour, edgecolor=look.LIGHT, linewidth=0.5)
            axes.add_artist(box)  # limits are set below, so they need not be kept up to date with each
            if (end - start) * inches > 0.075 * len(str(op.microbatch)) + 0.02:
                middle = float(start + end) / 2, corner[1] + height / 2
                words = {"ha": "center", "va": "center_baseline", "fontsize": 7, "color": look.ink_on(colour)}
                axes.text(*middle, str(op.microbatch), clip_on=True, **words)  # clipped, the layout leaves it out
    axes.set(xlim=(0, float(end_of_axis)), ylim=(schedule.p - 0.4, -0.6), ylabel="rank", title=title)
    axes.set_yticks(range(schedule.p))
    axes.tick_params(axis="y", length=0)


def _boxes(timeline: Timeline, rank: int) -> Iterator[Box]:
    """Yield the passes of a rank; those that run at once share its row."""
    ops, times = timeline.schedule.operations[rank], timeline.times[rank]
    for i, (op, (start, end)) in enumerate(zip(ops, times, strict=True)):
        is_second = i > 0 and times[i - 1][1] > start
        is_first = i + 1 < len(ops) and times[i + 1][0] < end
        yield op, start, end, int(is_second), 1 + (is_first or is_second)


def _paler(colour: str, part: float) -> str:
    """Return "#rrggbb" mixed with white."""
    mixed = (round(int(colour[at : at + 2], 16) * (1 - 0.7 * part) + 255 * 0.7 * part) for at in (1, 3, 5))
    return "#" + "".join(f"{each:02x}" for each in mixed)
