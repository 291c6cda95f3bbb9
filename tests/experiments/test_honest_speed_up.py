"""Claims about timing in turns, ratios and their intervals, and the experiment that takes a speed-up apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import honest_speed_up as experiment
from experiments.lab.timing import imagined, interleaved, interval, once_s, one_after_the_other, page_faults, ratio
from experiments.pictures.ratios import forest, roads, strays
from ranks import look

SCRIPT = Path(__file__).parents[2] / "experiments" / "honest_speed_up.py"
TIMES = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)


def call(monkeypatch, *argv: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, argv)])
    return experiment.main()


# -- the stopwatch -------------------------------------------------------------------------------------------------


def test_all_take_turns_once_a_round_in_orders_that_differ_but_can_be_had_again():
    called: list[str] = []
    work = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = interleaved(work, 20, seed=3)
    rounds = [called[at : at + 3] for at in range(0, 60, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 20, "b": 20, "c": 20}
    assert all(time >= 0 for times in seconds.values() for time in times)
    first, called[:] = [*called], []
    interleaved(work, 20, seed=3)
    assert called == first


def test_one_after_the_other_calls_all_of_the_first_first():
    called: list[str] = []
    seconds = one_after_the_other({name: lambda name=name: called.append(name) for name in "ab"}, 3)
    assert called == [*"aaabbb"]
    assert [len(times) for times in seconds.values()] == [3, 3]
    assert once_s(lambda: None) >= 0


def test_pages_that_are_touched_first_are_counted():
    size = 2**28  # bytes: glibc's allocator keeps pieces up to 32 MiB, and as much again at the end of its heap
    assert min(page_faults(lambda: None) for _ in range(9)) == 0  # the system may move pages at any time
    assert page_faults(lambda: np.ones(size, np.uint8)) >= size // 2**21  # huge pages, at the least


# -- ratios --------------------------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_the_rounds_not_of_the_medians():
    assert ratio([2, 4, 9], [1, 2, 3]) == 2.0
    assert ratio([1, 10, 100], [1, 5, 100]) == 1.0
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio([1, 2], [1])


@given(TIMES)
def test_an_interval_holds_its_ratio_and_is_that_of_the_inverse_turned_round(times):
    fast = np.linspace(1, 2, len(times))
    low, high = interval(times, fast)
    assert low <= ratio(times, fast) <= high
    assert interval(np.multiply(times, 4), fast) == pytest.approx((4 * low, 4 * high))
    assert interval(times, times) == (1, 1)
    wide = interval(times, fast, share=0.99)
    assert wide[0] <= low
    assert high <= wide[1]


def test_of_a_hundred_intervals_about_95_hold_the_truth_if_rounds_are_enough():
    rng, held = np.random.default_rng(0), {3: 0, 15: 0}
    for rounds in held:
        for _ in range(200):
            calls = np.concatenate([rng.permutation(2) for _ in range(rounds)])
            shown = imagined([1, 1.1], calls, drift=0.3, spikes=0.2, rng=rng)
            low, high = interval(shown[calls == 1], shown[calls == 0])
            held[rounds] += low <= 1.1 <= high
    # 200 draws of a share of 0.95 are below 0.9 once in 500
    assert held[15] >= 180 > held[3]


# -- the imaginary machine -----------------------------------------------------------------------------------------


def test_an_imagined_stopwatch_shows_the_truth_and_what_spoils_it():
    calls = np.tile([0, 1], 500)
    quiet = imagined([1, 2], calls, drift=0, spikes=0, rng=np.random.default_rng(0))
    assert (quiet[::2] >= 1).all()
    assert quiet[::2].mean() == pytest.approx(1 + 0.01 * np.sqrt(2 / np.pi), abs=0.002)
    assert np.median(quiet[1::2]) / np.median(quiet[::2]) == pytest.approx(2, abs=0.01)
    drifting = imagined([1, 2], calls, drift=0.5, spikes=0, rng=np.random.default_rng(0))
    assert drifting / quiet == pytest.approx(np.linspace(1, 1.5, 1000))
    disturbed = imagined([1, 1], calls, drift=0, spikes=0.25, rng=np.random.default_rng(0))
    assert (disturbed > 1.05).mean() == pytest.approx(0.25, abs=0.05)
    assert disturbed.max() < 2.1


# -- the experiment ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-9, 9), max_size=40))
def test_merge_sort_sorts_and_keeps_its_argument(x):
    kept = [*x]
    assert experiment.merge_sort(x) == sorted(x)
    assert x == kept


def test_merge_sort_is_stable():
    pairs = [(value, place) for place, value in enumerate([2, 1, 2, 1, 2])]

    class First(tuple):
        def __lt__(self, other):
            return self[0] < other[0]

    assert experiment.merge_sort([First(pair) for pair in pairs]) == sorted(pairs, key=lambda pair: pair[0])


def test_all_contenders_sort_and_a_wrong_one_is_noticed():
    x = np.random.default_rng(0).standard_normal(100, np.float32)
    kept = x.copy()
    work = experiment.contenders(x)
    assert experiment.checked(x, work) is work
    assert set(work) - set(experiment.contenders(x, python=False)) == {
        "pairs, in a list", "pairs, in a list of NumPy scalars", "merge sort, pure Python"
    }  # fmt: skip
    assert np.array_equal(x, kept)
    with pytest.raises(AssertionError, match="as it came"):
        experiment.checked(x, {"as it came": lambda: x})


def test_equals_are_compared_in_three_ways():
    called = []
    found = experiment.strays_of_equals(lambda: called.append(0), rounds=2, repeats=3)
    assert {name: len(ratios) for name, ratios in found.items()} == {
        "one call each": 3, "one after the other": 3, "taking turns": 3
    }  # fmt: skip
    assert len(called) == 1 + 3 * (2 + 4 + 4)
    assert experiment.middle([*range(101)], 0.9) == pytest.approx((5, 95))


def test_the_script_shows_each_contender_with_interval_and_verdict_and_draws(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "ratios.png"
    assert call(monkeypatch, "--log2-size", 6, "--rounds", 3, "--plot", picture) == 0
    output = capsys.readouterr().out
    assert "64 float32, 3 rounds in which all take turns" in output
    x = np.zeros(2, np.float32)
    for name in experiment.contenders(x):
        assert f" {name} " in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert call(monkeypatch, "--log2-size", 6, "--rounds", 1, "--no-python") == 0
    assert "pure Python" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ("--log2-size 27", "--log2-size: got 27, expected 1 to 26"),
        ("--rounds 0", "got '0', expected a whole number from 1 up"),
        ("--plot x.gif", "expected a file name that ends in .png or .svg"),
    ],
)
def test_bad_input_is_one_line_and_status_2(argv, complaint, monkeypatch, capsys):
    assert call(monkeypatch, *argv.split()) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert complaint in error
    assert len(error.splitlines()) == 1


# -- the pictures --------------------------------------------------------------------------------------------------


def test_a_forest_tells_by_colour_who_is_slower_and_faster_and_what_cannot_be_told():
    ratios = {"slower": (3.0, (2.0, 4.0)), "faster": (0.25, (0.2, 0.5)), "like": (1.1, (0.9, 1.3))}
    axes = forest(ratios, "").axes[0]
    bars = [line for line in axes.lines if line.get_linewidth() == 5]
    assert [tuple(line.get_xdata()) for line in bars] == [limits for _, limits in ratios.values()]
    assert [line.get_color() for line in bars] == [look.COLOURS[0], look.ACCENT, look.INK]
    assert [text.get_text() for text in axes.texts] == ["3", "0.25", "1.1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(ratios)


def test_strays_show_every_ratio_and_where_the_middle_lies():
    values = {"one": [0.5, 1.0, 20.0], "other": [1.0, 1.0, 1.0]}
    axes = strays(values, 1.0, "").axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert [list(line.get_xdata()) for line in dots] == [[0.5, 1.0, 2.5], [1.0, 1.0, 1.0]]
    assert axes.texts[1].get_text().strip() == "1.00 to 1.00"


def test_roads_name_each_step_with_its_time_and_its_gain():
    axes = roads({"a": {"start": 8000.0, "end": 16.0}, "b": {"start": 8000.0, "middle": 2000.0, "end": 1.0}}, "").axes[
        0
    ]
    written = [text.get_text() for text in axes.texts]
    assert written == [
        "start\n8,000 ns", "end\n16 ns", "500x", "start\n8,000 ns", "middle\n2,000 ns", "end\n1 ns", "4x", "2,000x"
    ]  # fmt: skip
