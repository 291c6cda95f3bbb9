"""The ring all-reduce as pictures: blocks that fill with the contributions of all ranks, as a strip and in motion.

A block is drawn as a column of p slots: slot r, in the colour of rank r, is filled once r's contribution is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from experiments.lab.provenance import Held, Passed
from experiments.pictures import gif
from ranks import look


def _block(axes: Any, corner: tuple[float, float], slot: tuple[float, float], held: frozenset[int], p: int) -> None:
    """Draw a block whose first slot has its corner here; complete ones are framed."""
    from matplotlib.patches import Rectangle

    (x, y), (width, height) = corner, slot
    for rank in range(p):
        colour = look.rank_colour(rank) if rank in held else look.EMPTY
        place = x, y + rank * height
        axes.add_patch(Rectangle(place, width, 0.93 * height, facecolor=colour))
        if rank in held:
            middle = place[0] + width / 2, place[1] + height / 2
            style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 7}
            axes.text(*middle, rank, color=look.ink_on(colour), **style)
    if len(held) == p:
        frame: dict[str, Any] = {"facecolor": "none", "edgecolor": look.INK, "linewidth": 1.8, "zorder": 3}
        axes.add_patch(Rectangle((x, y), width, p * height, **frame))


# -- all moments side by side ----------------------------------------------------------------------------------


def strip(moments: list[Held], steps: list[list[Passed]]) -> Any:
    """Return a Figure: a row for each rank, a column for each moment, and the messages of each step between them."""
    p = len(moments[0])
    figure = look.figure(7.9, 0.75 + 0.95 * p)
    axes = look.axes(figure, bare=True)
    wide, gap = 1.0, 0.62  # of a rank's blocks, and of the space for messages
    for moment, held in enumerate(moments):
        left = moment * (wide + gap)
        axes.text(left + wide / 2, -0.52, _caption(moment, p), ha="center", va="bottom", color=look.INK, fontsize=8.5)
        for rank in range(p):
            for block in range(p):
                corner = left + (block + 0.05) * wide / p, rank - 0.32
                _block(axes, corner, (0.9 * wide / p, 0.64 / p), held[rank][block], p)
    for step, messages in enumerate(steps):
        start = step * (wide + gap) + wide
        for message in messages:
            _arrow(axes, message, start + 0.05, start + gap - 0.05)
    for rank in range(p):
        axes.text(-0.1, rank, f"rank {rank}", ha="right", va="center", color=look.INK, fontsize=9)
        for block in range(p):
            at = (block + 0.5) * wide / p, rank + 0.36
            axes.text(*at, f"b{block}", ha="center", va="top", color=look.INK, fontsize=7)
    axes.set_xlim(-0.55, len(steps) * (wide + gap) + wide + 0.02)
    axes.set_ylim(p - 0.48, -0.95)
    return figure


def _arrow(axes: Any, message: Passed, start: float, end: float) -> None:
    colour = look.rank_colour(message.source)
    axes.annotate(
        "", (end, message.dest), (start, message.source),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    x, y = (start + end) / 2, (message.source + message.dest) / 2
    box = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}
    axes.text(x, y, f"b{message.block}", ha="center", va="center", fontsize=7.5, color=look.ink_on(colour), bbox=box)


def _caption(moment: int, p: int) -> str:
    if moment == 0:
        return "at the start"
    phase, number = ("reduce-scatter", moment) if moment < p else ("all-gather", moment - p + 1)
    return f"{phase},\nafter step {number}"


# -- in motion: coordinates are pixels, so that blocks can be cut out of the image and moved ---------------------

SIZE = 720, 560
DPI = 120
MOVES = 6  # images in which a block is on its way
STILL_MS, MOVING_MS, END_MS = 350, 60, 2000
LABEL = 14  # pixels under a block, for its number


def animation(moments: list[Held], steps: list[list[Passed]], encode: Callable[..., bytes] = gif.gif) -> bytes:
    """Return a GIF: the ranks in a circle, their blocks, and those that are on their way to the next rank.

    encode: `gif.gif`, or `gif.apng` for an animated PNG.
    """
    p, images, times_ms = len(moments[0]), [], []
    for step, messages in enumerate(steps):
        still = gif.image(_scene(moments[step], step))
        images += [still, *(_moved(still, messages, k / MOVES, p) for k in range(1, MOVES))]
        times_ms += [STILL_MS, *[MOVING_MS] * (MOVES - 1)]
    images, times_ms = [*images, gif.image(_scene(moments[-1], len(steps)))], [*times_ms, END_MS]
    # It goes round and round. What does not move shows its first image: blocks on their way in the second step.
    first = MOVES + MOVES // 2 if len(steps) > 1 else MOVES // 2
    return encode(images[first:] + images[:first], times_ms[first:] + times_ms[:first])


def _scene(held: Held, step: int) -> Any:
    """Return a Figure of the moment before a step."""
    p, (width, height) = len(held), SIZE
    figure = look.figure(width / DPI, height / DPI)
    figure.set_layout_engine("none")
    axes = look.axes(figure, bare=True)
    axes.set_position((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for rank, blocks in enumerate(held):
        x, y = _corner(rank, 0, p)
        axes.text(x + p * _slot(p)[0] / 2, y - 6, f"rank {rank}", ha="center", va="bottom", color=gif.INK, fontsize=9)
        for block, contributors in enumerate(blocks):
            x, y = _corner(rank, block, p)
            _block(axes, (x, y), _slot(p), contributors, p)
            below = {"ha": "center", "va": "center", "color": gif.INK, "fontsize": 6.5}
            axes.text(x + _slot(p)[0] / 2, y + p * _slot(p)[1] + LABEL / 2, f"b{block}", **below)
    axes.text(width / 2, height / 2, _headline(step, p), ha="center", va="center", color=gif.INK, linespacing=1.5)
    return figure


def _moved(still: Any, messages: list[Passed], progress: float, p: int) -> Any:
    """Return the image with the blocks that are sent, this share of their way from one rank to the next."""
    image, (width, height) = still.copy(), _slot(p)
    for message in messages:
        (x0, y0), (x1, y1) = (_corner(rank, message.block, p) for rank in (message.source, message.dest))
        sent = still.crop((x0, y0, x0 + width, y0 + p * height + LABEL))
        image.paste(sent, (round(x0 + progress * (x1 - x0)), round(y0 + progress * (y1 - y0))))
    return image


def _corner(rank: int, block: int, p: int) -> tuple[int, int]:
    """Return where a block of a rank begins; ranks go round clockwise from the top."""
    width, height = _slot(p)
    angle, (across, down) = math.tau * (rank / p - 0.25), SIZE
    x = across / 2 + 0.36 * across * math.cos(angle) - p * width / 2
    y = down / 2 + 0.36 * down * math.sin(angle) - p * height / 2
    return round(x) + block * width, round(y) + 10


def _slot(p: int) -> tuple[int, int]:
    """Return width and height of a slot, so that p blocks of p slots fit."""
    return min(28, 150 // p), min(20, 100 // p)


def _headline(step: int, p: int) -> str:
    if step == 2 * (p - 1):
        return "all-reduce:\nevery rank has every sum"
    phase = "reduce-scatter" if step < p - 1 else "all-gather"
    return f"{phase}\nstep {step % (p - 1) + 1} of {p - 1}"
