"""The look that all pictures share: a colour per rank, on no paper of their own.

A picture lies on the page that shows it, be that light or dark: what is not coloured is drawn in a grey that reads
alike on both. Colours never carry a meaning alone: ranks and chunks are labelled too. Needs matplotlib, which is
loaded when a picture is drawn.
"""

from __future__ import annotations

import sys
from typing import Any

from ranks.words.extras import need

INK = "#767b82"  # text and axes: as far from white as from #0d1117
FAINT = "#8a8d9180"  # wires, what is only context
EMPTY = "#8a8d9138"  # a cell with nothing in it
DARK, LIGHT = "#22262b", "#ffffff"  # text on a coloured ground
ACCENT = "#d55e00"  # what the reader should see first

# Okabe and Ito's colours, which people who do not see red and green can tell apart too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a800", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def rank_colour(rank: int) -> str:
    """Return the colour of a rank, or of the chunk that it owns; beyond 8 ranks they repeat.

    rank_colour(8) == rank_colour(0)  # True
    """
    return COLOURS[rank % len(COLOURS)]


def ink_on(colour: str) -> str:
    """Return the ink, light or dark, that reads best on `colour`, "#rrggbb".

    ink_on("#0072b2")  # '#ffffff'
    """
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return DARK if 299 * red + 587 * green + 114 * blue > 130_000 else LIGHT


def time_unit(longest_ps: float) -> tuple[str, float]:
    """Return the unit in which a time of longest_ps is a number from 1 up, and its picoseconds.

    time_unit(30_000_000_000)  # ('ms', 1000000000.0)
    """
    units = (("s", 1e12), ("ms", 1e9), ("µs", 1e6), ("ns", 1e3))
    return next((unit for unit in units if longest_ps >= unit[1]), ("ps", 1.0))


def in_us(time_ps: float, form: str = "g") -> str:
    """Return a time in microseconds, with "us" for their name where the outputs of this process cannot show "µs".

    in_us(2_700_000)  # '2.7 µs'
    in_us(2_700_000_000, ",.3f")  # '2,700.000 µs'
    """
    encodings = [getattr(stream, "encoding", None) or "utf-8" for stream in (sys.stdout, sys.stderr)]
    shown = all("µ".encode(encoding, "ignore") for encoding in encodings)
    return f"{time_ps / 1e6:{form}} {'µs' if shown else 'us'}"


def figure(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, width and height in inches; NotInstalledError without matplotlib."""
    need("a picture", "matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="none")


def axes(parent: Any, *place: Any, bare: bool = False, **labels: str) -> Any:
    """Return axes in a figure, at place as add_subplot takes it; bare: nothing but what is drawn, for diagrams."""
    made = parent.add_subplot(*place, facecolor="none", **labels)
    made.spines[["top", "right"]].set_visible(False)
    made.spines[:].set_color(INK)
    made.tick_params(which="both", colors=INK)
    if bare:
        made.set_axis_off()
    for text in (made.title, made.xaxis.label, made.yaxis.label):
        text.set_color(INK)
    return made


def legend(parent: Any, **options: Any) -> Any:
    """Return the legend of axes or of a figure, without a frame."""
    made = parent.legend(frameon=False, labelcolor=INK, **options)
    made.get_title().set_color(INK)
    return made
