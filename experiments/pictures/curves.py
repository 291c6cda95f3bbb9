"""Time against size: what was expected as lines, what was measured as marks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ranks import look

Points = list[tuple[float, float]]


def tick(text: str) -> str:
    """Return a number and its unit as beside a tick of an axis: tick("1.000 µs") == "1 µs"."""
    return re.sub(r"\.0*(?= )", "", text)


def curves(
    title: str,
    horizontal: str,
    lines: dict[str, Points],
    points: dict[str, Points],
    nice_x: Callable[[float], str],
    nice_y: Callable[[float], str],
    vertical: str = "time",
) -> Any:
    """Return a Figure of points (x, y) as measured over lines as expected; without any lines, points are joined."""
    from matplotlib.ticker import LogLocator

    figure = look.figure(8, 4.5)
    axes = look.axes(figure, title=title, xlabel=horizontal, ylabel=vertical)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for index, name in enumerate(points):
        colour = look.rank_colour(index)
        if name in lines:
            axes.plot(*zip(*lines[name], strict=True), color=colour)
        mark: dict[str, Any] = {"marker": look.MARKERS[index], "markersize": 6 + 2 * index, "fillstyle": "none"}
        joined = "" if lines else ":"
        axes.plot(*zip(*points[name], strict=True), color=colour, linestyle=joined, **mark)
        axes.plot([], [], color=colour, linestyle="-" if name in lines else joined, **mark, label=name)
    axes.xaxis.set_major_formatter(lambda x, _: nice_x(x))
    axes.yaxis.set_major_formatter(lambda y, _: tick(nice_y(y)))
    low, high = axes.get_ylim()
    if high < 100 * low:  # too few powers of ten to read the scale by
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    look.legend(axes, title="lines expected, marks measured" if lines else "measured", alignment="left")
    return figure
