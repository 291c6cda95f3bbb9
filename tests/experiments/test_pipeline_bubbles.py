"""Claims of the experiment about pipelines: what it prints is counted, and what is not as expected ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import pipeline_bubbles
from training.pipeline import SCHEDULES, costs


def tables(tmp_path: Path, *argv: str) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a run by name."""
    kept = tmp_path / "kept.json"
    assert pipeline_bubbles.main(["pipeline_bubbles.py", *argv, "--json", str(kept)]) == 0
    return {each["name"]: each["rows"] for each in json.loads(kept.read_text())["tables"]}


def test_every_schedule_is_compared_and_latency_grows_with_microbatches_under_1f1b_only(tmp_path, capsys):
    found = tables(tmp_path)
    assert [row["schedule"] for row in found["schedules"]] == list(SCHEDULES)
    bubbles = {row["schedule"]: row["bubble_measured"] for row in found["schedules"]}
    assert bubbles == {
        "gpipe": 90, "1f1b": 90, "interleaved": 45, "breadth-first": 45, "zb-h1": 30, "zb-h2": 0, "zb-v": 0,
        "dualpipe": 10, "dualpipe-v": 15,
    }  # fmt: skip
    grows = {row["schedule"] for row in found["latency"] if row["m_8_measured"] < row["m_32_measured"]}
    assert grows == {"1f1b"}
    said = capsys.readouterr().out
    assert "\n3  ......F0B0  F1B1  F2B2  F3B3" in said


def test_the_readme_of_dualpipe_is_told_apart_from_the_count(tmp_path):
    rows = tables(tmp_path, "--schedules", "dualpipe", "--forward", "12")["at once"]
    assert [(row["bubble_readme"], row["bubble_measured"]) for row in rows] == [(22, 24), (10, 0)]


def test_the_search_shows_who_is_the_shortest_with_its_activations(tmp_path):
    small = ["--ranks", "2", "--microbatches", "3", "--input", "15"]
    found = tables(tmp_path, *small, "--schedules", "1f1b", "--shortest")
    two, three = found["search"][1:]
    assert two["shortest_b_whole"] == two["with_as_many_1f1b"]
    assert two["shortest_i_w_apart"] == two["with_as_many_zb_h1"] > three["shortest_i_w_apart"]
    assert three["shortest_i_w_apart"] == three["with_as_many_zb_h2"]
    of_v = {row["activations"]: row for row in found["search of two stages"]}
    assert of_v[2]["shortest_v_i_w_apart"] == of_v[2]["with_as_many_zb_v"] < of_v[1]["shortest_v_i_w_apart"]


def test_a_formula_that_is_wrong_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "messages", lambda *_: 47)
    with pytest.raises(AssertionError, match="gpipe, messages: counted 48, expected 47"):
        tables(tmp_path)


def test_the_picture_shows_every_schedule_on_one_clock_and_its_idle_time_against_m_latency_and_w():
    setting = pipeline_bubbles.Setting(p=2, m=4, v=2, F=2, I=2, W=2, latency=1)
    figure = pipeline_bubbles.picture(setting, ["1f1b", "zb-h1"])
    first, second, *curves = figure.axes
    assert (first.get_title(), second.get_title()) == ("1f1b", "zb-h1")
    assert first.get_xlim() == second.get_xlim()
    (m, latency, weight) = ([list(line.get_ydata()) for line in axes.lines] for axes in curves)
    assert all(line == sorted(line, reverse=True) for line in m)
    assert all(line == sorted(line) for line in latency)
    assert weight[0] == [pytest.approx(20)] * 6  # 1f1b does not split B: 6 of 30
    assert weight[1] == sorted(weight[1], reverse=True)
