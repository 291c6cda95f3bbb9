"""Pictures of sorting networks: wires run right, comparators join two of them; and data on its way through.

Needs matplotlib, which is loaded when a picture is drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ranks import look
from sorting.keys import Array
from sorting.networks import ComparatorNetwork, Stage

_WIRE, _COMPARATOR, _SWAP = look.FAINT, look.COLOURS[0], look.ACCENT
_GAP = 0.7  # between stages, in columns


def columns(stage: Stage) -> list[list[tuple[int, int]]]:
    """Return the comparators of a stage in columns within which no two of them overlap in a drawing.

    columns(((0, 3), (1, 2), (4, 5)))  # [[(0, 3), (4, 5)], [(1, 2)]]
    """
    found: list[list[tuple[int, int]]] = []
    for i, j in sorted(stage):
        for column in found:
            if column[-1][1] < i:
                column.append((i, j))
                break
        else:
            found.append([(i, j)])
    return found


def draw(network: ComparatorNetwork, x: Array | None = None, title: str = "") -> Any:
    """Return a matplotlib Figure of `network`; with `x`, of its values on the wires too.

        draw(bitonic(8), np.array([5, 2, 7, 1, 8, 3, 6, 4])).savefig("bitonic.svg")

    x: n values, of which x[i] enters wire i. Wires are coloured by value between the stages; comparators that swap
       their values are orange, those that leave them are blue.
    Raises: ValueError if x is not one value a wire.
    """
    if x is not None and np.shape(x) != (network.n,):
        raise ValueError(
            f"draw: got x of shape {np.shape(x)}, expected ({network.n},), one value a wire; remedy: draw one column"
        )
    states = _states(network, x)
    length = sum(len(columns(stage)) + _GAP for stage in network.stages)
    figure = look.figure(max(4, 0.32 * length + 1.2), max(1.6, 0.28 * network.n + 0.8))
    axes = look.axes(figure, bare=True, title=title)
    words = {"fontsize": "small", "color": look.INK}
    start = 0.0
    for number, stage in enumerate(network.stages):
        _draw_stage(axes, network.n, stage, states[number], states[number + 1], start)
        start += len(columns(stage)) + _GAP
    for wire in range(network.n):
        axes.plot([start, start + _GAP], [wire, wire], **_wire_style(states[-1], wire))
        if x is not None:
            axes.text(-0.2, wire, f"{x[wire]:g}", ha="right", va="center", **words)
            axes.text(start + _GAP + 0.2, wire, f"{states[-1][wire]:g}", va="center", **words)
    axes.set(xlim=(-1.2, length + 2), ylim=(network.n - 0.4, -0.6))
    return figure


def _draw_stage(axes: Any, n: int, stage: Stage, before: Any, after: Any, start: float) -> None:
    """Draw the comparators of a stage, and the wires up to them and from there on."""
    placed = columns(stage)
    end = start + len(placed) + _GAP
    meets = dict.fromkeys(range(n), end)
    for column, comparators in enumerate(placed):
        place = start + _GAP + column
        for i, j in comparators:
            swapped = before is not None and before[i] != after[i]
            colour = _SWAP if swapped else _COMPARATOR
            axes.plot([place, place], [i, j], color=colour, marker="o", markersize=4, linewidth=1.5, zorder=3)
            meets[i] = meets[j] = place
    for wire, place in meets.items():
        axes.plot([start, place], [wire, wire], **_wire_style(before, wire))
        axes.plot([place, end], [wire, wire], **_wire_style(after, wire))


def _wire_style(values: Any, wire: int) -> dict[str, Any]:
    """Return how a wire is drawn: grey, or in the colour of the place that its value has among all."""
    if values is None:
        return {"color": _WIRE, "linewidth": 0.8, "zorder": 1}
    from matplotlib import colormaps

    share = np.count_nonzero(values < values[wire]) / max(1, len(values) - 1)
    # The first quarter of the colours cannot be seen on a dark page.
    return {"color": colormaps["viridis"](0.25 + 0.75 * share), "linewidth": 2.5, "zorder": 1}


def _states(network: ComparatorNetwork, x: Array | None) -> list[Any]:
    """Return the values on the wires before each stage, and at the end."""
    if x is None:
        return [None] * (network.depth + 1)
    states = [np.array(x)]
    for stage in network.stages:
        states.append(ComparatorNetwork(network.n, [stage]).apply(states[-1]))
    return states
