"""Schedules drawn: every pass has its box, its time and its microbatch, in the picture and in the lines of text."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from ranks import look
from training.pipeline import SCHEDULES, draw, make_schedule, play, text
from training.pipeline.drawing import COLOURS


@pytest.mark.parametrize("name", SCHEDULES)
def test_lines_show_every_pass_in_order_and_dots_while_a_rank_idles(name: str) -> None:
    for p, m in [(1, 1), (3, 4), (2, 12)]:
        played = play(make_schedule(name, p, m), F=2, I=3, W=2)
        lines = text(played, 2000).splitlines()
        assert len(lines) == p
        for rank, line in enumerate(lines):
            assert line.split()[0] == str(rank)
            shown = re.findall(r"[FBIW]\d+", line)
            assert shown == [f"{op.kind}{op.microbatch}" for op in played.schedule.operations[rank]]
            assert line.count(".") == 2 * played.idle[rank]
    assert text(play(make_schedule("gpipe", 11, 1))).splitlines()[0].startswith(" 0  F")


def test_lines_fit_every_width_and_keep_their_scale() -> None:
    played = play(make_schedule("zb-h1", 4, 8), F=Fraction(1, 3), I=0.5, W=Fraction(1, 4), latency=1)
    for width in (1, 10, 40, 80, 200):
        lines = text(played, width).splitlines()
        assert len(lines) == 4
        assert max(map(len, lines)) <= max(width, 4)
    assert text(play(make_schedule("1f1b", 2, 2)), 12).splitlines() == ["0  FF..B0.B1", "1  .FB0FB1.."]


def test_passes_that_run_at_once_share_their_time() -> None:
    lines = text(play(make_schedule("1f1b", 2, 3), FB=4), 80).splitlines()
    assert lines[0] == "0  F0 .........F1    B0    .........F2    B1    .........B2"


@pytest.mark.parametrize("name", ["interleaved", "zb-v", "dualpipe"])
def test_a_picture_has_a_box_for_every_pass_and_says_what_colours_mean(name: str) -> None:
    chunks = 2 if name == "interleaved" else 1
    played = play(make_schedule(name, 4, 8, chunks), FB=3 if name == "dualpipe" else None)
    figure = draw(played, "a title")
    (axes,) = figure.axes
    ops = [op for ops in played.schedule.operations for op in ops]
    assert len(axes.patches) == len(ops) + 4  # and what lies behind each row
    assert [patch.get_x() for patch in axes.patches if patch.get_y() < 0.4][1:] == [t[0] for t in played.times[0]]
    assert sorted(int(words.get_text()) for words in axes.texts) == sorted(op.microbatch for op in ops)
    # Two that run at once have half of the row each; a later stage of a rank is paler.
    assert len({patch.get_y() for patch in axes.patches if patch.get_y() < 0.4}) == (2 if name == "dualpipe" else 1)
    first = played.schedule.operations[0]
    colours = {op[:2]: patch.get_facecolor() for op, patch in zip(first, axes.patches[1:], strict=False)}
    assert len(set(colours.values())) == len(colours) == len({op[:2] for op in first})
    (legend,) = figure.legends
    kinds = {op.kind for op in ops}
    assert {words.get_text()[0] for words in legend.get_texts()} == kinds
    assert {COLOURS[kind] for kind in kinds} <= set(look.COLOURS)
    assert axes.get_title() == "a title"
