"""Schedules of a pipeline: several on one clock, and what they come to against anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.pictures.palette import styles
from ranks import look
from training.pipeline import SCHEDULES, Timeline
from training.pipeline.drawing import draw_on, legend_of_passes


def on_one_clock(timelines: Mapping[str, Timeline]) -> Any:
    """Return a Figure of schedules by their titles: the same length is the same time in all of them."""
    heights = [0.3 * each.schedule.p + 0.5 for each in timelines.values()]
    figure = look.figure(10, sum(heights) + 0.9)
    grid = figure.add_gridspec(len(timelines), 1, height_ratios=heights)
    longest = max(each.length for each in timelines.values())
    for row, (title, each) in enumerate(timelines.items()):
        is_last = row == len(timelines) - 1
        axes = look.axes(figure, grid[row], **({"xlabel": "time"} if is_last else {}))
        draw_on(axes, each, title, longest)
        axes.tick_params(axis="x", labelbottom=is_last)
    legend_of_passes(figure, {op.kind for each in timelines.values() for op in each.schedule.places})
    return figure


def by_schedule(points: Mapping[str, Mapping[Any, Any]], **labels: str) -> Any:
    """Return a Figure with a line for each schedule, by its name: points[name][x] is y."""
    figure = look.figure(8, 4)
    axes = look.axes(figure, **labels)
    for name, each in points.items():
        colour, marker = styles(SCHEDULES)[name]
        style = {"color": colour, "marker": marker, "fillstyle": "none", "label": name}
        axes.plot([*map(float, each)], [*map(float, each.values())], **style)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    look.legend(axes)
    return figure
