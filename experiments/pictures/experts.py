"""Who gets how many tokens: each expert's share over the steps of a training, and what is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ranks import look


def routing(shares: Mapping[str, Any], dropped: Mapping[str, Any], at_random: float, factor: float) -> Any:
    """Return a Figure with a column for each way to train.

    shares: [step, expert] if all find room: a line for each expert. dropped: [step] with limited places; at_random:
    the same if tokens chose their experts at random.
    """
    figure = look.figure(max(3.6 * len(shares), 6), 5.6)
    grid = figure.add_gridspec(2, len(shares), height_ratios=[3, 2])
    top = max(float(each.max()) for each in shares.values())
    most = max(at_random, *(float(each.max()) for each in dropped.values()))
    for column, (name, values) in enumerate(shares.items()):
        steps = range(1, len(values) + 1)
        first = "share of tokens, by expert" if column == 0 else ""
        axes = look.axes(figure, grid[0, column], title=name, ylabel=first)
        for expert, (line, height) in enumerate(
            zip(values.T, _apart(values[-1], top / max(22, 1.5 * values.shape[1])), strict=True)
        ):
            axes.plot(steps, line, color=look.rank_colour(expert), linewidth=1.3)
            axes.annotate(
                str(expert), (len(values), height), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=7, color=look.rank_colour(expert), annotation_clip=False,
            )  # fmt: skip
        alike = axes.axhline(1 / values.shape[1], color=look.INK, linestyle="--", linewidth=1, label="all alike")
        axes.set_ylim(0, 1.05 * top)
        below = look.axes(figure, grid[1, column], xlabel="step", ylabel="dropped" if column == 0 else "")
        (line,) = below.plot(steps, dropped[name], color=look.ACCENT, label=f"dropped at capacity factor {factor:g}")
        chance = below.axhline(
            at_random, color=look.INK, linestyle=":", linewidth=1.3, label="if tokens chose at random"
        )
        below.set_ylim(0, 1.1 * most or 1)
        for each in (axes, below):
            each.yaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
            each.xaxis.get_major_locator().set_params(integer=True)
            each.grid(alpha=0.3)
    look.legend(figure, handles=[alike, line, chance], ncols=3, loc="outside lower center")
    return figure


def _apart(heights: Any, gap: float) -> Any:
    """Return heights for labels, each moved up until it is `gap` above the one below."""
    moved, least = np.array(heights, float), -np.inf
    for place in np.argsort(moved, kind="stable"):
        moved[place] = least = max(moved[place], least)
        least += gap
    return moved
