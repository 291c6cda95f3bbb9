"""Who carries how much: bars of what each rank sends, one group for each algorithm."""

from __future__ import annotations

from typing import Any

from ranks import look


def loads(shares: dict[str, list[float]], bound: float, unit: str) -> Any:
    """Return a Figure of shares[name][rank] as bars in the ranks' colours, and a line at the least possible maximum."""
    figure = look.figure(7.9, 3.2)
    axes = look.axes(figure, ylabel=f"sent, {unit}")
    start, ticks = 0, []
    for name, of_ranks in shares.items():
        places = range(start, start + len(of_ranks))
        colours = [look.rank_colour(rank) for rank in range(len(of_ranks))]
        axes.bar(places, of_ranks, color=colours, width=0.86)
        for rank, place in enumerate(places):  # at the foot of each bar, where no line crosses it
            foot, ink = (place, 0), look.ink_on(colours[rank])
            axes.annotate(rank, foot, (0, 3), textcoords="offset points", ha="center", fontsize=7, color=ink)
        ticks.append((start + (len(of_ranks) - 1) / 2, f"{name}\nall together {sum(of_ranks):.4g}"))
        start += len(of_ranks) + 2
    axes.axhline(
        bound, color=look.ACCENT, linestyle="--", linewidth=1.3, label=f"the busiest sends at least {bound:.4g}"
    )
    axes.set_xticks(*zip(*ticks, strict=True), fontsize=8.5)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-1, start - 2)
    look.legend(axes, fontsize=9)
    return figure
