"""Claims about pictures of pipelines and of what plans send: they draw what was given, on scales that compare."""

from experiments.pictures.pipelines import by_schedule, on_one_clock
from experiments.pictures.training import sent_by_tokens
from training.pipeline import make_schedule, play


def lines(figure):
    """Return the points of each line of a figure's only axes, by label."""
    (axes,) = figure.axes
    return {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_schedules_on_one_clock_have_the_time_axis_of_the_longest():
    timelines = {name: play(make_schedule(name, 3, 4)) for name in ("gpipe", "zb-h1")}
    figure = on_one_clock(timelines)
    assert [axes.get_title() for axes in figure.axes] == ["gpipe", "zb-h1"]
    assert {axes.get_xlim() for axes in figure.axes} == {(0, timelines["gpipe"].length)}
    ends = [max(box.get_x() + box.get_width() for box in axes.patches) for axes in figure.axes]
    assert ends == [each.length for each in timelines.values()]
    (legend,) = figure.legends
    assert [text.get_text()[0] for text in legend.get_texts()] == ["F", "B", "I", "W"]


def test_a_line_for_each_schedule_and_each_plan_has_its_points():
    points = {"1f1b": {4: 10, 8: 16}, "gpipe": {4: 6, 8: 6}}
    assert lines(by_schedule(points, xlabel="microbatches")) == points
    figure = sent_by_tokens({"data": {4096: 1e9, 8192: 1e9}, "tensor": {4096: 2e9, 8192: 4e9}}, "sent")
    assert lines(figure) == {"data": {4096: 1e9, 8192: 1e9}, "tensor": {4096: 2e9, 8192: 4e9}}
    (axes,) = figure.axes
    assert axes.yaxis.get_major_formatter()(1e8, 0) == "0.1 GB"
    assert {axes.get_xscale(), axes.get_yscale()} == {"log"}
