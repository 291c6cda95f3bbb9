"""Pictures of speed-ups: ratios with their intervals, how far a ratio of equals strays, two roads from one start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ranks import look

Range = tuple[float, float]
_REACH = 2.5  # how many times too large or too small a ratio may be before it is drawn at the edge


def forest(ratios: dict[str, tuple[float, Range]], title: str) -> Any:
    """Return a Figure with a row for each baseline: its time over ours, and the interval in which that lies.

    ratios: name -> (ratio, (low, high)). Right of 1 we are faster, left of it slower.
    """
    figure = look.figure(8, 0.42 * len(ratios) + 1.2)
    axes = look.axes(figure, title=title, xlabel="times as long as ours (log scale)")
    axes.set_xscale("log")
    axes.axvline(1, color=look.INK, linewidth=1)
    for row, (middle, (low, high)) in enumerate(ratios.values()):
        colour = look.COLOURS[0] if low > 1 else look.ACCENT if high < 1 else look.INK
        axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
        axes.plot([middle], [row], marker="o", color=colour, markersize=6)
        end, side, align = (high, 9, "left") if middle >= 1 else (low, -9, "right")  # away from the line
        style = {"textcoords": "offset points", "va": "center", "ha": align, "color": colour}
        axes.annotate(_short(middle), (end, row), xytext=(side, 0), **style)
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.margins(x=0.17)
    axes.grid(axis="x", alpha=0.3)
    return figure


def strays(ratios: dict[str, Sequence[float]], truth: float, title: str) -> Any:
    """Return a Figure with a row for each way of measuring: all ratios that it gave, and the middle 95 % of them.

    Ratios that are more than 2.5 times too large or too small are drawn at the edge.
    """
    figure = look.figure(8, 0.75 * len(ratios) + 1.1)
    axes = look.axes(figure, title=title, xlabel="ratio found")
    axes.set_xscale("log")
    axes.axvline(truth, color=look.INK, linewidth=1)
    heights = np.random.default_rng(0)
    for row, values in enumerate(ratios.values()):
        colour = look.rank_colour(row)
        shown = np.clip(values, truth / _REACH, truth * _REACH)
        axes.plot(shown, row + heights.uniform(-0.22, 0.22, len(values)), ".", color=colour, alpha=0.5, markersize=5)
        low, high = np.quantile(values, [0.025, 0.975])
        axes.plot([low, high], [row + 0.34] * 2, color=colour, linewidth=3)
        axes.text(
            min(high, 1.9 * truth),
            row + 0.34,
            f"  {low:.2f} to {high:.2f}",
            va="center",
            fontsize="small",
            color=look.INK,
        )
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.set_ylim(len(ratios) - 0.4, -0.5)
    axes.set_xlim(truth / _REACH / 1.05, truth * _REACH * 1.05)
    axes.set_xticks([truth * share for share in (0.5, 0.7, 1, 1.4, 2)], minor=False)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", alpha=0.3)
    return figure


def roads(ways: dict[str, dict[str, float]], title: str) -> Any:
    """Return a Figure of chains of steps, each from the same start: time on a log scale, the gain written on each step.

    ways: name of the road -> {what is run: ns an element}.
    """
    figure = look.figure(8, 1.5 * len(ways) + 0.9)
    axes = look.axes(figure, title=title, xlabel="ns an element (log scale; less is better)")
    axes.set_xscale("log")
    axes.invert_xaxis()
    for row, steps in enumerate(ways.values()):
        colour, times = look.rank_colour(row), list(steps.values())
        axes.plot(times, [row] * len(times), color=colour, linewidth=2, marker="o", markersize=8)
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
        for number, (name, time) in enumerate(steps.items()):
            side, va = (-11, "top") if number % 2 else (11, "bottom")
            text = f"{name}\n{_short(time)} ns"
            axes.annotate(text, (time, row), xytext=(0, side), va=va, fontsize="small", color=look.INK, **style)
        for slow, fast in pairwise(times):
            middle = float(np.sqrt(slow * fast))
            axes.annotate(f"{_short(slow / fast)}x", (middle, row), xytext=(0, 4), color=colour, **style)
    axes.set_yticks(range(len(ways)), list(ways))
    axes.set_ylim(len(ways) - 0.45, -0.6)
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _short(value: float) -> str:
    """Return a number in three digits, or whole: "9.45", "14,700"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
