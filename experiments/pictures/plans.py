"""Pictures of plans: time over memory, and which cut by matrices and layers is the best."""

from __future__ import annotations

import math
from typing import Any

from experiments.lab.units import nice_bytes, nice_time
from experiments.pictures.curves import tick
from ranks import look
from training.planner import Found, Prediction

_SLOWEST = 4  # times the best: what is slower is not drawn


Cells = dict[tuple[int, int], Prediction]


def landscape(found: Found, cells: Cells, memory: float) -> Any:
    """Return a Figure: a dot for each plan that was predicted in full, the front, and the best for each tp and pp."""
    figure = look.figure(13, 5.2)
    left, right = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
    _dots(look.axes(figure, left, title="a dot a plan; the line: no plan has less of both"), found, memory)
    title = "the best step of each cut, over the best of all"
    _cells(
        look.axes(figure, right, xlabel="pp, pipeline", ylabel="tp, tensor", title=title), cells, found.best[0].time_ps
    )
    return figure


def _dots(axes: Any, found: Found, memory: float) -> None:
    """Draw plans by time and memory, in a colour for each number of stages."""
    from matplotlib.ticker import MultipleLocator

    best = found.best[0]
    shown = [each for each in found.played if each.time_ps <= _SLOWEST * best.time_ps]
    for place, pp in enumerate(sorted({each.plan.pp for each in shown})):
        some = [each for each in shown if each.plan.pp == pp]
        style = {"color": look.rank_colour(place), "marker": look.MARKERS[place % len(look.MARKERS)]}
        axes.plot(*_places(some), linestyle="none", markersize=5, alpha=0.6, label=f"pp={pp}", **style)
    axes.plot(*_places(found.front), color=look.INK, drawstyle="steps-post", linewidth=1.5)
    middle = sum(axes.get_xlim()) / 2
    for each, below in ((found.front[0], -16), (found.front[-1], 10)):
        side = "right" if each.memory > middle else "left"
        axes.plot([each.memory], [each.time_ps], "o", markersize=11, fillstyle="none", color=look.ACCENT)
        axes.annotate(
            str(each.plan).replace(" schedule=", "\n").replace(" microbatches=", " m="), (each.memory, each.time_ps),
            (8 if side == "left" else -8, below), textcoords="offset points", fontsize="small", color=look.INK, ha=side,
        )  # fmt: skip
    if any(each.memory > 0.5 * memory for each in shown):
        axes.axvline(memory, color=look.ACCENT, linestyle="--", linewidth=1)
    axes.margins(y=0.12)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(MultipleLocator(2.0 ** round(math.log2((high - low) / 5))))
    axes.xaxis.set_major_formatter(lambda value, _: tick(nice_bytes(value)))
    axes.yaxis.set_major_formatter(lambda value, _: tick(nice_time(value)))
    axes.set_xlabel("held by the rank with most")
    axes.set_ylabel("step")
    axes.grid(alpha=0.3)
    look.legend(axes, fontsize="small")


def _places(predictions: list[Prediction]) -> tuple[list[float], list[float]]:
    ordered = sorted(predictions, key=lambda each: each.memory)
    return [each.memory for each in ordered], [each.time_ps for each in ordered]


def _cells(axes: Any, cells: Cells, best: float) -> None:
    """Draw a cell for each tp and pp: how much longer its best plan takes than the best of all."""
    across, along = (sorted({key[place] for key in cells}) for place in (0, 1))
    times = [[cells[tp, pp].time_ps / best if (tp, pp) in cells else None for pp in along] for tp in across]
    values = [[min(each, _SLOWEST) if each else float("nan") for each in line] for line in times]
    axes.imshow(values, origin="lower", aspect="auto", cmap="YlGnBu_r", vmin=1, vmax=_SLOWEST)
    for y, line in enumerate(times):
        for x, each in enumerate(line):
            if each:
                axes.text(
                    x, y, f"{each:.2f}", ha="center", va="center", color=look.LIGHT if each < 2 else look.DARK,
                    weight="bold" if each == 1 else None,
                )  # fmt: skip
    axes.set_xticks(range(len(along)), [*map(str, along)])
    axes.set_yticks(range(len(across)), [*map(str, across)])
