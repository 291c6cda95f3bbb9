"""Pictures of training: one curve of many plans, and what each sends and holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.lab.units import nice_bytes
from experiments.pictures.curves import tick
from ranks import look

Parts = Mapping[str, Mapping[str, float]]
Marks = Mapping[str, float | None]
_DASH = 3.0  # length of a curve's own dashes, in line widths
_EQUAL = 1e-17  # where a loss is drawn that does not differ


def one_curve(losses: Mapping[str, Sequence[float]], sent: Parts, was_sent: Marks, held: Parts, was_held: Marks) -> Any:
    """Return a Figure of all loss curves, how far each is from the first, and bytes sent and held by kind.

    losses: By way, the first being that of one rank. Each curve has dashes of its own, in gaps of the others: what
    looks like one line is all of them. sent, held: bars[way][kind]; was_sent, was_held: what was counted.
    """
    figure = look.figure(12, 4.6 + 0.26 * len(losses))
    grid = figure.add_gridspec(2, 3, height_ratios=[4, 0.26 * len(losses) + 1], width_ratios=[1, 1.2, 1.2])
    title = f"{len(losses)} curves, drawn in dashes that take turns"
    _curves(look.axes(figure, grid[0, :], xlabel="step", ylabel="loss", title=title), losses)
    first = look.axes(figure, grid[1, 0], xlabel="a loss differs by this share")
    _differences(first, losses)
    for column, (what, parts, marks) in enumerate([("sent in a step", sent, was_sent), ("held", held, was_held)], 1):
        axes = look.axes(figure, grid[1, column], xlabel=f"{what}, by the rank with most")
        bars(axes, parts, marks)
        axes.set_ylim(first.get_ylim())
        axes.tick_params(axis="y", labelleft=False)
    return figure


def _curves(axes: Any, losses: Mapping[str, Sequence[float]]) -> None:
    for place, values in enumerate(losses.values()):
        line = (place * _DASH, (_DASH, _DASH * (len(losses) - 1)))
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, color=look.rank_colour(place), linewidth=4, linestyle=line, dash_capstyle="butt")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)


def _differences(axes: Any, losses: Mapping[str, Sequence[float]]) -> None:
    """Draw a dot for each step of each way."""
    alone = next(iter(losses.values()))
    for place, values in enumerate(losses.values()):
        shares = [max(abs(got / right - 1), _EQUAL) for got, right in zip(values, alone, strict=True)]
        axes.plot(shares, [place] * len(shares), "o", color=look.rank_colour(place), markersize=4, alpha=0.5)
    axes.set_xscale("log")
    axes.set_xlim(_EQUAL / 3, 1e-9)
    axes.set_xticks([_EQUAL, 1e-15, 1e-13, 1e-11, 1e-9], ["none", "1e-15", "1e-13", "1e-11", "1e-9"])
    axes.set_yticks(range(len(losses)), [*losses])
    axes.set_ylim(len(losses) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)


def sent_by_tokens(points: Mapping[str, Mapping[int, float]], title: str) -> Any:
    """Return a Figure with a line for each plan: points[name][tokens of a step] are the bytes that a rank sends."""
    figure = look.figure(8, 4.5)
    axes = look.axes(figure, title=title, xlabel="tokens of a step", ylabel="sent in a step")
    for place, (name, each) in enumerate(points.items()):
        style = {"color": look.COLOURS[place], "marker": look.MARKERS[place], "fillstyle": "none", "label": name}
        axes.plot([*each], [*each.values()], **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda n_bytes, _: f"{n_bytes / 1e9:g} GB")
    axes.grid(alpha=0.3)
    look.legend(axes)
    return figure


def bars(axes: Any, parts: Parts, marks: Marks) -> None:
    """Draw a bar for each name, a part for each kind that there is, and a mark where the whole was counted."""
    kinds = [kind for kind in next(iter(parts.values())) if any(each[kind] for each in parts.values())]
    ends = dict.fromkeys(parts, 0.0)
    for index, kind in enumerate(kinds):
        widths = [each[kind] for each in parts.values()]
        places = range(len(parts))
        axes.barh(places, widths, left=[*ends.values()], height=0.7, color=look.COLOURS[index], label=kind)
        ends = {name: end + width for (name, end), width in zip(ends.items(), widths, strict=True)}
    marks_of(axes, [marks[name] for name in parts])
    longest = max(1.0, *ends.values())
    step = 2 ** math.ceil(math.log2(longest / 5))
    axes.set_xticks([place * step for place in range(math.ceil(longest / step) + 1)])
    axes.set_xlim(0, 1.05 * longest)
    axes.xaxis.set_major_formatter(lambda x, _: tick(nice_bytes(x)) if x else "0")
    look.legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")


def marks_of(axes: Any, counted: Sequence[float | None]) -> None:
    """Draw a mark in each row where something was counted."""
    there = [(mark, place) for place, mark in enumerate(counted) if mark is not None]
    edges = {"markerfacecolor": look.LIGHT, "markeredgecolor": look.DARK, "markersize": 5}
    if there:
        axes.plot(*zip(*there, strict=True), "D", linestyle="", label="counted", **edges)


def stages(
    sent: Mapping[str, float], was_sent: Marks, held: Parts, was_held: Marks,
    sizes: Sequence[int], by_ranks: Mapping[str, Sequence[float]],
) -> Any:  # fmt: skip
    """Return a Figure of ZeRO's stages: what each sends and holds, and its bytes of state a parameter against ranks."""
    figure = look.figure(12, 5.6 + 0.26 * len(sent))
    grid = figure.add_gridspec(2, 2, height_ratios=[0.26 * len(sent) + 1.4, 3.6])
    first = look.axes(figure, grid[0, 0], xlabel="sent in a step, over n(d-1)/d")
    first.barh(range(len(sent)), [*sent.values()], height=0.7, color=look.COLOURS[0], label="formula")
    marks_of(first, [was_sent[name] for name in sent])
    look.legend(first, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small")
    second = look.axes(figure, grid[0, 1], xlabel="held at most, by the rank with most")
    bars(second, held, was_held)
    for axes in (first, second):
        axes.set_yticks(range(len(sent)), [*sent])
        axes.set_ylim(len(sent) - 0.5, -0.5)
        axes.tick_params(axis="y", labelleft=axes is first)
    title = "State of Adam in mixed precision"
    below = look.axes(figure, grid[1, :], xlabel="ranks", ylabel="bytes a parameter", title=title)
    for place, (name, values) in enumerate(by_ranks.items()):
        below.plot(sizes, values, color=look.COLOURS[place], marker=look.MARKERS[place], fillstyle="none", label=name)
    below.set_xscale("log", base=2)
    below.set_xticks(sizes, [f"{p:,}" for p in sizes])
    below.set_ylim(bottom=0)
    below.grid(alpha=0.3)
    look.legend(below)
    return figure
