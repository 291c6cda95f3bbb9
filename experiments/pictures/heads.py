"""Attention shared out: who holds which tokens and heads, and who is busy when."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from parallel import token_positions
from parallel.attention.heads import split_heads
from parallel.costs import visible_pairs
from ranks import look

Array = np.ndarray[Any, np.dtype[Any]]


def cells(lengths: Sequence[int], heads: int) -> list[Array]:
    """Return for each rank the numbers of its cells, (1, tokens, heads, 1): token * heads + head, for all heads.

    cells([1, 1], 2)[1].ravel()  # array([2, 3])
    """
    ends = np.cumsum([0, *lengths])
    return [np.arange(a * heads, b * heads).reshape(1, b - a, heads, 1) for a, b in pairwise(ends)]


def transposition(before: Sequence[Array], after: Sequence[Array]) -> Any:
    """Return a Figure of the cells that each rank holds before and after an all-to-all, as `cells` numbers them.

    A cell has the colour of the rank that held it before, and a frame if it stays with that rank.
    """
    p, heads = len(before), before[0].shape[2]
    origin = {int(cell): rank for rank, held in enumerate(before) for cell in held.ravel()}
    figure = look.figure(9, 1.2 + 0.36 * (before[0].shape[1] + after[0].shape[1]))
    rows = figure.add_gridspec(2, p, height_ratios=[before[0].shape[1], after[0].shape[1]])
    stays = {int(cell) for pair in zip(before, after, strict=True) for cell in np.intersect1d(*pair)}
    for line, (what, held) in enumerate((("before", before), ("after", after))):
        for rank, grid in enumerate(held):
            axes = look.axes(figure, rows[line, rank], bare=True)
            _grid(axes, grid[0, :, :, 0], heads, origin, stays)
            axes.set_title(f"rank {rank}, {what}", fontsize="medium")
    return figure


def _grid(axes: Any, grid: Array, heads: int, origin: dict[int, int], stays: set[int]) -> None:
    """Draw the cells of one rank, tokens downwards, heads to the right."""
    for (y, x), cell in np.ndenumerate(grid):
        colour = look.rank_colour(origin[int(cell)])
        edge, z = (look.INK, 2) if int(cell) in stays else ("none", 1)
        axes.add_patch(_square(x, y, facecolor=colour, edgecolor=edge, linewidth=2.4, zorder=z))
        token, head = divmod(int(cell), heads)
        text = f"{token}{chr(ord('a') + head)}"
        axes.text(x, y, text, ha="center", va="center", fontsize="small", color=look.ink_on(colour), zorder=3)
    middle = (grid.shape[1] - 1) / 2
    axes.set(xlim=(middle - heads / 2 - 0.1, middle + heads / 2 + 0.1), ylim=(grid.shape[0] - 0.4, -0.6))
    axes.set_aspect("equal")


def _square(x: float, y: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, **style)


def assignment(heads: int, kv_heads: int, sizes: Sequence[int]) -> Any:
    """Return a Figure of which ranks attend with which query and K/V heads, a panel for each number of ranks."""
    figure = look.figure(10, 0.7 + 0.2 * max(sizes))
    columns = figure.add_gridspec(1, len(sizes))
    words = {"fontsize": "small", "color": look.INK}
    for index, p in enumerate(sizes):
        axes = look.axes(figure, columns[0, index], bare=True)
        for rank, mine in enumerate(split_heads(heads, kv_heads, p)):
            colour = look.rank_colour(rank)
            at = [*range(mine.lo, mine.hi)], [heads + 1 + each for each in range(mine.kv_lo, mine.kv_hi)]
            for x in range(heads + kv_heads + 1):
                if x != heads:
                    has = x in at[0] or x in at[1]
                    axes.add_patch(_square(x, rank, facecolor=colour if has else "none", edgecolor=look.FAINT, lw=0.5))
            axes.text(-0.9, rank, f"{rank}", ha="right", va="center", **words)
        axes.text((heads - 1) / 2, -0.9, "query heads", ha="center", **words)
        axes.text(heads + 1 + (kv_heads - 1) / 2, -0.9, "K/V", ha="center", **words)
        axes.set(xlim=(-2.5, heads + kv_heads + 1), ylim=(max(sizes) - 0.4, -2))
        axes.set_title(f"{p} ranks", fontsize="medium")
        axes.set_aspect("equal")
    return figure


def causal_work(layouts: Sequence[str], n: int, p: int) -> Any:
    """Return a Figure of the pairs that each rank computes in each step of a causal ring; the most of a step framed."""
    figure = look.figure(3.4 * len(layouts), 3.9)
    for index, layout in enumerate(layouts):
        positions = token_positions(layout, n, p)
        work = np.array(
            [[visible_pairs(positions[r], positions[(r - step) % p]) for step in range(p)] for r in range(p)]
        )
        axes = look.axes(figure, 1, len(layouts), index + 1)
        red, green, blue = (int(look.COLOURS[0][at : at + 2], 16) / 255 for at in (1, 3, 5))
        axes.imshow([[(red, green, blue, pairs and 0.5 + pairs / work.max() / 2) for pairs in line] for line in work])
        for (rank, step), pairs in np.ndenumerate(work):
            ink = look.LIGHT if pairs else look.INK
            axes.text(step, rank, f"{pairs}", ha="center", va="center", fontsize=8, color=ink)
            if pairs == work[:, step].max():
                axes.add_patch(_square(step, rank, facecolor="none", edgecolor=look.ACCENT, linewidth=1.2))
        axes.set_title(f"{layout}: {work.max(0).sum():,} in a row", fontsize="medium")
        axes.set_xlabel("step")
        axes.set_xticks(range(p))
        axes.set_yticks(range(p))
        axes.spines[["left", "bottom"]].set_visible(False)
        if index == 0:
            axes.set_ylabel("rank")
    return figure
