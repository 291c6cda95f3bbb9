"""Pictures of sorting networks at work: data on its way, a sequence being split, what each comparator is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.pictures import gif
from ranks import look
from sorting import ComparatorNetwork
from sorting.drawing import columns

FRAME_MS, REST_MS, END_MS = 70, 500, 3000
_GAP = 1.2  # between stages, in columns
_TRAVEL, _SWAP = 3, 4  # frames
Array = Any


def flow(network: ComparatorNetwork, x: Array) -> tuple[list[Any], list[int]]:
    """Return images in which x travels along the wires of `network`, and milliseconds, for `gif.gif` or `gif.apng`.

    x: n different values, of which x[i] enters wire i.
    """
    scene, images, times_ms = _Scene(network, x), [], []
    for places, lit, last_ms in _frames(network, list(x)):
        scene.show(places, lit)
        images.append(scene.image())
        times_ms.append(last_ms)
    return images, times_ms


def _places(network: ComparatorNetwork) -> Iterator[tuple[float, float, dict[tuple[int, int], float]]]:
    """Yield where each stage starts and ends, and the place of each of its comparators."""
    start = 0.0
    for stage in network.stages:
        placed = columns(stage)
        at = {pair: start + _GAP + column for column, pairs in enumerate(placed) for pair in pairs}
        end = start + len(placed) - 1 + 2 * _GAP
        yield start, end, at
        start = end


def _frames(network: ComparatorNetwork, values: list[Any]) -> Iterator[tuple[dict[Any, Any], dict[Any, bool], int]]:
    """Yield the frames: places of the values, which comparators are lit (True: they swap), milliseconds.

    Frame by frame every value goes up to its comparator, along it if they swap, and on to the end of the stage.
    """
    end = 0.0
    yield {value: (end, wire) for wire, value in enumerate(values)}, {}, END_MS // 2
    for start, end, at in _places(network):
        meets = {wire: place for pair, place in at.items() for wire in pair}
        lit = {pair: values[pair[0]] > values[pair[1]] for pair in at}
        goal = {wire: wire for wire in range(network.n)}
        for (i, j), swaps in lit.items():
            goal |= {i: j, j: i} if swaps else {}
        stops = [meets.get(wire, end) for wire in range(network.n)]
        for part in np.arange(1, _TRAVEL + 1) / _TRAVEL:
            yield {v: (start + part * (stops[w] - start), w) for w, v in enumerate(values)}, {}, FRAME_MS
        for part in np.arange(1, _SWAP + 1) / _SWAP if any(lit.values()) else [1.0]:
            moved = {v: (stops[w], w + part * (goal[w] - w)) for w, v in enumerate(values)}
            yield moved, lit, REST_MS if part == 1 else FRAME_MS
        values = [value for _, value in sorted((goal[w], v) for w, v in enumerate(values))]
        for part in np.arange(1, _TRAVEL + 1) / _TRAVEL:
            yield {v: (stops[w] + part * (end - stops[w]), w) for w, v in enumerate(values)}, {}, FRAME_MS
    yield {value: (end, wire) for wire, value in enumerate(values)}, {}, END_MS


class _Scene:
    """A network on which values can be moved and comparators be lit."""

    def __init__(self, network: ComparatorNetwork, x: Array) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        stages = list(_places(network))
        length = stages[-1][1] if stages else 1.0
        self.figure = look.figure(max(4.0, 0.36 * length + 0.8), max(1.6, 0.38 * network.n + 0.5))
        self.figure.set_dpi(90)
        axes = look.axes(self.figure, bare=True)
        axes.set(xlim=(-0.9, length + 0.9), ylim=(network.n - 0.3, -0.7))
        axes.hlines(range(network.n), 0, length, color=look.FAINT, linewidth=0.8, zorder=1)
        self.joins = {}
        for number, (_, end, at) in enumerate(stages):
            for (i, j), place in at.items():
                join = axes.plot([place, place], [i, j], marker="o", markersize=4, linewidth=1.5, zorder=2)
                self.joins[number, (i, j)] = join[0]
            if number < len(stages) - 1:
                axes.axvline(end, color=look.FAINT, linewidth=0.6, linestyle=":", zorder=0)
        kinds = {"swaps its two values": look.ACCENT, "leaves them": look.COLOURS[0]}
        handles = [axes.plot([], [], color=colour, linewidth=2.5, label=label)[0] for label, colour in kinds.items()]
        options: dict[str, Any] = {"loc": "outside upper left", "ncols": 2, "fontsize": "small"}
        look.legend(self.figure, handles=handles, title="A comparator", **options)
        self.ends = [end for _, end, _ in stages]
        self.tokens = {}
        for value, share in zip(sorted(x), np.linspace(0, 1, len(x)), strict=True):
            colour = to_hex(colormaps["viridis"](share))
            dot = axes.plot([0], [0], marker="o", markersize=17, color=colour, zorder=4)[0]
            ink = look.ink_on(colour)
            self.tokens[value] = dot, axes.text(0, 0, f"{value:g}", ha="center", va="center", color=ink, zorder=5)
        # What changes lies above all else, so that the rest is laid out and drawn once.
        changing = [*self.joins.values(), *(artist for token in self.tokens.values() for artist in token)]
        self.changing = sorted(changing, key=lambda artist: artist.get_zorder())
        for artist in changing:
            artist.set_animated(True)
        gif.image(self.figure)
        self.background = self.figure.canvas.copy_from_bbox(self.figure.bbox)

    def show(self, places: dict[Any, Any], lit: dict[Any, bool]) -> None:
        """Put each value in its place; light the comparators of the stage in which they are: orange if they swap."""
        now = next((number for number, end in enumerate(self.ends) if max(x for x, _ in places.values()) <= end), 0)
        for (number, pair), join in self.joins.items():
            here = lit and number == now
            colour = (look.ACCENT if lit[pair] else look.COLOURS[0]) if here else look.FAINT
            join.set(color=colour, linewidth=2.5 if here else 1.2)
        for value, (x, y) in places.items():
            dot, text = self.tokens[value]
            dot.set_data([x], [y])
            text.set_position((x, y))

    def image(self) -> Any:
        """Return the scene as a Pillow Image."""
        self.figure.canvas.restore_region(self.background)
        for artist in self.changing:
            artist.axes.draw_artist(artist)
        return gif.pixels(self.figure.canvas)


def split_picture(before: Sequence[float], after: Sequence[float]) -> Any:
    """Return a Figure of a bitonic sequence as bars, and of what one half-cleaner makes of it: two bitonic halves.

    Bars are coloured by the half in which they end; both pictures have the line between the halves' values.
    """
    half = len(before) // 2
    low = set(after[:half])
    figure = look.figure(8, 2.8)
    titles = ("a bitonic sequence: up, then down", "after one half-cleaner: small | large")
    for place, values, title in zip((1, 2), (before, after), titles, strict=True):
        axes = look.axes(figure, 1, 2, place, title=title)
        colours = [look.COLOURS[0] if value in low else look.COLOURS[1] for value in values]
        axes.bar(range(len(values)), values, color=colours, width=0.8)
        axes.axhline((max(after[:half]) + min(after[half:])) / 2, color=look.FAINT, linewidth=1, linestyle="--")
        axes.axvline(half - 0.5, color=look.FAINT, linewidth=1, linestyle=":")
        axes.set(xticks=range(len(values)), yticks=[])
        axes.tick_params(labelsize="x-small", length=0)
        axes.spines["left"].set_visible(False)
    figure.supxlabel("wire", fontsize="small", color=look.INK)
    return figure


def need_picture(network: ComparatorNetwork, needed: dict[tuple[int, tuple[int, int]], int], title: str = "") -> Any:
    """Return a Figure of `network` in which each comparator says how many inputs would come out unsorted without it.

    needed: as experiments.lab.networks.needed_by gives it, or counted on other inputs, which the title then says.
            Where hardly an input notices that a comparator is missing, the comparator is orange.
    """
    length, most = list(_places(network))[-1][1], max(needed.values())
    figure = look.figure(8, 0.42 * network.n + 0.7)
    title = title or f"Of all {2**network.n} inputs of 0 and 1, so many come out unsorted without that comparator"
    axes = look.axes(figure, bare=True, title=title)
    axes.hlines(range(network.n), 0, length, color=look.FAINT, linewidth=0.8, zorder=1)
    for number, (_, _, at) in enumerate(_places(network)):
        for (i, j), place in at.items():
            count = needed[number, (i, j)]
            colour = look.ACCENT if count <= most / 50 else look.COLOURS[0]
            axes.plot([place, place], [i, j], color=colour, marker="o", markersize=5, linewidth=1.8, zorder=3)
            box = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "small", "color": look.ink_on(colour)}
            axes.text(place, (i + j) / 2, f"{count:,}", bbox=box, zorder=4, **style)
    axes.set(xlim=(-0.4, length + 0.4), ylim=(network.n - 0.4, -0.6))
    return figure
