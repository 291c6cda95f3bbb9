"""What a sum is made of: a bar for each algorithm, a part for each kind, and a mark where the whole was found to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.pictures.curves import tick
from ranks import look


def parts(
    title: str,
    bars: dict[str, dict[str, float]],
    marks: dict[str, float],
    marked: str,
    nice: Callable[[float], str],
) -> Any:
    """Return a Figure of bars[name][kind], laid end to end, and a mark at marks[name], which is called `marked`."""
    figure = look.figure(8, 1.6 + 0.4 * len(bars))
    axes = look.axes(figure, title=title)
    ends = dict.fromkeys(bars, 0.0)
    kinds = list(dict.fromkeys(kind for each in bars.values() for kind in each))
    for index, kind in enumerate(kinds):
        widths = [bars[name].get(kind, 0.0) for name in bars]
        axes.barh([*bars], widths, left=[*ends.values()], color=look.COLOURS[index], label=kind, height=0.6)
        ends = {name: end + width for (name, end), width in zip(ends.items(), widths, strict=True)}
    edges = {"markerfacecolor": look.LIGHT, "markeredgecolor": look.DARK}
    axes.plot([marks[name] for name in bars], [*bars], "D", linestyle="", label=marked, **edges)
    axes.set_xlim(0, 1.03 * max(*ends.values(), *marks.values()))  # a mark at the longest bar's end is whole
    axes.invert_yaxis()  # the first on top, as in the table
    axes.xaxis.set_major_formatter(lambda x, _: tick(nice(x)))
    look.legend(figure, loc="outside lower center", ncols=len(kinds) + 1)
    return figure
