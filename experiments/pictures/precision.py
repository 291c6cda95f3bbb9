"""Pictures of 16 bits: loss curves beside float32's, how large gradients are, and which updates are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.pictures.palette import styles
from ranks import look

WINDOW = 10  # steps whose mean is drawn


def losses(
    curves: Mapping[str, Sequence[float]], exponents: Mapping[int, int], lost: Mapping[str, Sequence[float]]
) -> Any:
    """Return a Figure.

    curves:    Losses by training; the first is what the others are drawn against.
    exponents: How many gradients there are of each size, by the exponent of two.
    lost:      The share of updates that were lost, by training and step.
    """
    figure = look.figure(14, 5)
    colours = {name: colour for name, (colour, _) in styles(curves).items()}
    first = look.axes(figure, 1, 3, 1, title="loss less float32's", xlabel="step")
    _differences(first, curves, colours)
    ranges = {"float16, loss not scaled": 0, "float16": 16}
    axes = look.axes(
        figure, 1, 3, 2, title="gradients of activations, range of float16", xlabel="size; pale: fewer bits"
    )
    _sizes(axes, exponents, {name: (scale, colours[name]) for name, scale in ranges.items()})
    axes = look.axes(figure, 1, 3, 3, title="updates that round to nothing", xlabel="step", ylim=(0, 1))
    for name, shares in lost.items():
        axes.plot(range(1, len(shares) + 1), shares, color=colours[name])
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(alpha=0.3)
    look.legend(figure, handles=first.get_legend_handles_labels()[0], ncols=len(curves), loc="outside lower center")
    return figure


def _percent(y: float, _: Any) -> str:
    return f"{100 * y:.0f} %"


def _differences(axes: Any, curves: Mapping[str, Sequence[float]], colours: Mapping[str, str]) -> None:
    """Draw each curve less the first."""
    healthy = next(iter(curves.values()))
    for name, values in curves.items():
        away = np.asarray(values) - np.asarray(healthy)
        sums = np.concatenate([[0], np.cumsum(away)])
        ends = np.arange(1, len(away) + 1)
        begins = np.maximum(ends - WINDOW, 0)
        axes.plot(ends, (sums[ends] - sums[begins]) / (ends - begins), color=colours[name], label=name)
    axes.grid(alpha=0.3)


def _sizes(axes: Any, exponents: Mapping[int, int], ranges: Mapping[str, tuple[int, str]]) -> None:
    """Draw how many gradients have which size, and the range of float16 as it lies there: pale where bits are lost.

    ranges: The power of two by which the loss is multiplied, and the colour.
    """
    total = sum(exponents.values())
    axes.bar([*exponents], [n / total for n in exponents.values()], width=1, align="edge", color=look.COLOURS[7])
    high = axes.get_ylim()[1]
    for place, (name, (scale, colour)) in enumerate(ranges.items()):
        y = high * (1.05 + 0.17 * place)
        for begin, end, alpha in ((-25, -14, 0.4), (-14, 16, 1.0)):
            ends = [begin - scale, end - scale]
            axes.plot(ends, [y, y], color=colour, alpha=alpha, linewidth=5, solid_capstyle="butt")
        axes.text(16 - scale, y + 0.03 * high, name, color=look.INK, ha="right", va="bottom", fontsize="small")
    axes.set_ylim(0, 1.4 * high)
    axes.set_xlim(-50, 17)
    axes.set_xticks(range(-48, 17, 16), [f"$2^{{{e}}}$" for e in range(-48, 17, 16)])
    axes.yaxis.get_major_locator().set_params(steps=[1, 5, 10])
    axes.yaxis.set_major_formatter(_percent)
