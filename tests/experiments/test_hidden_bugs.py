"""Claims about `hidden_bugs.py`: what counts as shown, and that bugs which set in are told from healthy runs."""

import numpy as np
import pytest

from experiments import hidden_bugs
from experiments.hidden_bugs import WINDOW, shown_from, smooth
from test_experiments import call


def test_smooth_is_the_mean_of_a_window() -> None:
    losses = np.random.default_rng(0).random(25)
    expected = [losses[max(0, i - WINDOW + 1) : i + 1].mean() for i in range(25)]
    np.testing.assert_allclose(smooth(losses), expected)


def test_a_curve_shows_a_bug_from_where_it_stays_outside_of_all_healthy_ones() -> None:
    healthy = [np.full(40, 1.0), np.full(40, 2.0)]
    assert shown_from(np.full(40, 1.5), healthy) is None
    assert shown_from(np.full(40, 2.0), healthy) is None  # as high as one is not above all
    assert shown_from(np.full(40, 2.1), healthy) == 1
    assert shown_from(np.full(40, 0.9), healthy) == 1
    late = np.where(np.arange(40) < 20, 2.0, 3.0)
    assert shown_from(late, healthy) == 21
    assert shown_from(np.where(np.arange(40) < 31, 2.0, 3.0), healthy) is None  # for less than a window
    assert shown_from(np.where(np.arange(40) % 20 < 15, 3.0, 0.0), healthy) is None  # it comes back


def test_a_last_binary_digit_is_no_finding() -> None:
    healthy = [np.full(40, 1.0), np.full(40, 2.0)]
    assert shown_from(np.full(40, np.nextafter(2.0, 3.0)), healthy) is None
    assert shown_from(np.full(40, 1.0 - 1e-12), healthy) is None  # sums of ten round smaller differences away
    assert shown_from(np.full(40, 2.0 + 1e-6), healthy) == 1
    assert shown_from(np.full(40, 1.0 - 1e-6), healthy) == 1
    first_rounded = np.where(np.arange(40) < 1, np.nextafter(2.0, 3.0), 3.0)
    assert shown_from(first_rounded, healthy) == 2


def test_the_table_tells_a_loud_bug_from_a_silent_one(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(hidden_bugs, "SEEDS", 2)
    monkeypatch.setattr(hidden_bugs, "OPTIMIZERS", {"Adam, clipped": hidden_bugs.OPTIMIZERS["Adam, clipped"]})
    table, picture = tmp_path / "bugs.csv", tmp_path / "bugs.png"
    options = ["--bugs", "padding", "unclipped", "--steps", 24, "--csv", table, "--plot", picture]
    assert call(hidden_bugs, monkeypatch, *options) == 0
    assert "Under Adam, clipped, the curve shows 1 of 2 bugs in 24 steps." in capsys.readouterr().out
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert [row[-1] for row in rows[1:]] == ["2", ""]  # the first loss is that before an update
    assert [row[-2] for row in rows[1:]] == ["2", "2"]
    assert picture.stat().st_size > 10_000


def test_bugs_are_gone_after_the_run(monkeypatch) -> None:
    before = hidden_bugs.curve(hidden_bugs.Plan(), hidden_bugs.SGD(), 2, 0, "plain").losses
    with pytest.raises(ZeroDivisionError), hidden_bugs.FAULTS["undivided"].present():
        raise ZeroDivisionError
    assert (hidden_bugs.curve(hidden_bugs.Plan(), hidden_bugs.SGD(), 2, 0, "plain").losses == before).all()
