"""Time against size: what was expected as lines, what was measured as marks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from experiments.pictures.palette import styles
from ranks import look

Points = list[tuple[float, float]]


def tick(text: str) -> str:
    """Return a number and its unit as beside a tick of an axis: tick("1.000 µs") == "1 µs"."""
    return re.sub(r"(\.\d*?)0+(?= )", r"\1", text).replace(". ", " ")


def curves(
    title: str,
    horizontal: str,
    lines: dict[str, Points],
    points: dict[str, Points],
    nice_x: Callable[[float], str],
    nice_y: Callable[[float], str],
    vertical: str = "time",
) -> Any:
    """Return a Figure of points (x, y) as measured over lines as expected; points are joined by dots off the lines."""
    figure = look.figure(8, 4.5)
    axes = look.axes(figure, title=title, xlabel=horizontal, ylabel=vertical)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    has_dots = False
    for index, (name, (colour, marker)) in enumerate(styles(points).items()):
        is_covered = {x for x, _ in points[name]} <= {x for x, _ in lines.get(name, ())}
        joined = "" if is_covered else ":"
        has_dots |= not is_covered
        mark: dict[str, Any] = {"marker": marker, "markersize": 6 + 1.5 * index, "fillstyle": "none", "color": colour}
        if name in lines:
            axes.plot(*zip(*lines[name], strict=True), color=colour)
        axes.plot(*zip(*points[name], strict=True), linestyle=joined, **mark)
        axes.plot([], [], linestyle="-" if name in lines else ":", **mark, label=name)
    axes.xaxis.set_major_formatter(lambda x, _: nice_x(x))
    axes.yaxis.set_major_formatter(lambda y, _: tick(nice_y(y)))
    locate(axes)
    axes.grid(alpha=0.3)
    title = "lines expected, marks measured" if lines else "measured"
    if lines and has_dots:
        title += "\ndots join marks where no time is expected"
    if len(points) > 4:  # they would hide something
        look.legend(figure, title=title, alignment="left", loc="outside right upper")
    else:
        look.legend(axes, title=title, alignment="left")
    return figure


def locate(axes: Any) -> None:
    """Put so many ticks on the vertical axis that its scale can be read where it spans few powers of ten."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = axes.get_ylim()
    if high < 10 * low:
        axes.yaxis.set_major_locator(MaxNLocator(6))
    elif high < 100 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter("")
