"""The look that all pictures share: a colour per rank, dark ink on light paper.

The paper is opaque, so that a picture reads alike on light and on dark pages. Colours never carry a meaning alone:
ranks and chunks are labelled too. Needs matplotlib, which is loaded when a picture is drawn.
"""

from __future__ import annotations

from typing import Any

from ranks.words.extras import need

PAPER = "#fbfaf7"
INK = "#22262b"
FAINT = "#8a8d91"  # wires, what waits, what is only context
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

    ink_on("#0072b2")  # '#fbfaf7'
    """
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return INK if 299 * red + 587 * green + 114 * blue > 130_000 else PAPER


def figure(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure on paper, width and height in inches; NotInstalledError without matplotlib."""
    need("a picture", "matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor=PAPER)


def axes(parent: Any, *place: Any, bare: bool = False, **labels: str) -> Any:
    """Return axes in a figure, at place as add_subplot takes it; bare: nothing but what is drawn, for diagrams."""
    made = parent.add_subplot(*place, facecolor="none", **labels)
    made.spines[["top", "right"]].set_visible(False)
    if bare:
        made.set_axis_off()
    made.title.set_color(INK)
    return made
