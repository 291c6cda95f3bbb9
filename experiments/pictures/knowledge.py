"""Who knows of whom: a square for each pair of ranks, filled when news of the one has reached the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranks import look


def spreading(rows: dict[str, Sequence[Any]]) -> Any:
    """Return a Figure of rows[name] = known[rank, other] moment by moment, one row of squares for each name."""
    moments = max(map(len, rows.values()))
    figure = look.figure(7.9, sum(0.55 + 0.235 * len(known[0]) for known in rows.values()))
    heights = [3 + len(known[0]) for known in rows.values()]
    grid = figure.add_gridspec(len(rows), moments, height_ratios=heights)
    for row, (name, known) in enumerate(rows.items()):
        for moment, matrix in enumerate(known):
            axes = look.axes(figure, grid[row, moment], bare=True)
            _squares(axes, matrix)
            axes.set_title("before" if moment == 0 else f"after receive {moment}", fontsize=9, color=look.INK)
            if moment == 0:
                axes.text(-1.1, (len(matrix) - 1) / 2, name, rotation=90, ha="right", va="center", color=look.INK)
    return figure


def _squares(axes: Any, known: Any) -> None:
    """Draw a line for each rank: those of whom it knows, in their colours, with their numbers."""
    from matplotlib.patches import Rectangle

    p = len(known)
    for rank in range(p):
        axes.text(-0.75, rank, rank, ha="right", va="center", fontsize=7, color=look.INK)
        for other in range(p):
            colour = look.rank_colour(other) if known[rank, other] else look.EMPTY
            axes.add_patch(Rectangle((other - 0.46, rank - 0.46), 0.92, 0.92, facecolor=colour, linewidth=0))
            if known[rank, other]:
                style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 6.5}
                axes.text(other, rank, other, color=look.ink_on(colour), **style)
    axes.set_xlim(-1.4, p - 0.4)
    axes.set_ylim(p - 0.4, -0.6)
    axes.set_aspect("equal")
