"""The benchmark against an earlier state runs, prints every row, tells slow from fast, and refuses what is no tree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import HANG_S

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PORTS = ("no ports", "ports")
ROWS = [
    *(f"{what}, p = 4, {ports}" for what in ("ring", "barriers", "fan-in", "task farm") for ports in PORTS),
    *(f"ring, messages of {kib} KiB, p = 2, {ports}" for kib in (1, 4, 16, 64) for ports in PORTS),
    "ring with trace=True, p = 4, ports",
    *(f"schedules of {what}" for what in ("fan_in_once, p = 4", "pairs, p = 6", "polls, p = 3")),
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=HANG_S, check=False)


@pytest.fixture
def against(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import against

    return against


def test_a_commit_is_measured_against_this_tree_row_by_row() -> None:
    done = run(str(BENCHMARKS / "against.py"), "--against", "HEAD", "--tiny")
    assert done.returncode == 0, done.stderr
    for title in ROWS:
        # Two rates, their ratio, and its middle half.
        rates = r"[\d.]+ [kM] │ +[\d.]+ [kM] │ +[\d.]+ │ +[\d.]+ to [\d.]+ │"
        assert re.search(rf"│ {re.escape(title)} +│ +{rates}", done.stdout), f"{title}:\n{done.stdout}"
    assert re.search(r"│ geometric mean of rings and barriers +│ +│ +│ +[\d.]+ │", done.stdout)
    assert re.search(r"Share of the bare ring.*\n.*\n.*\n.*\n│ 4 │ +[\d.]+ │ +[\d.]+ │", done.stdout)
    assert re.search(r"A rank parked in Recv.*\n.*\n.*\n.*\n│ 200 │ +[\d,]+ │ +[\d,]+ │", done.stdout)


def test_what_is_neither_a_folder_with_ranks_nor_a_commit_is_refused(tmp_path: Path) -> None:
    for wrong in ("no-such-tag", str(tmp_path)):
        done = run(str(BENCHMARKS / "against.py"), "--against", wrong)
        assert done.returncode == 2
        assert f"got {wrong!r}, expected a tag, a commit or a folder that holds ranks/" in done.stderr


def test_a_row_meets_what_is_asked_only_if_new_is_fast_enough_round_by_round(against: Any) -> None:
    from _measure import Variant

    def verdict(new_seconds: list[float], *, new_units: int = 100) -> list[str]:
        row = against.Row("ring", "ring", 4, "infiniband", 32, asked=0.9, in_mean=True)
        old = Variant("old", 100, lambda: 0.0, seconds=[1.0, 2.0, 4.0, 8.0])
        row.take([old, Variant("new", new_units, lambda: 0.0, seconds=new_seconds)])
        return against.speed_table([row], "").rows[0][3:]

    assert verdict([2.0, 4.0, 8.0, 16.0]) == ["0.50", "0.50 to 0.50", "≥ 0.9", "NO"]
    assert verdict([1.0, 2.0, 4.0, 8.0]) == ["1.00", "1.00 to 1.00", "≥ 0.9", "yes"]
    assert verdict([1.25, 2.5, 4.0, 8.0]) == ["0.90", "0.80 to 1.00", "≥ 0.9", "yes"]
    assert verdict([1.25, 2.5, 5.0, 8.0]) == ["0.80", "0.80 to 0.85", "≥ 0.9", "NO"]
    assert verdict([1.25, 2.5, 5.0, 2.0]) == ["0.80", "0.80 to 1.60", "≥ 0.9", "in spread"]
    # Twice the seconds for twice the schedules is the same speed.
    assert verdict([2.0, 4.0, 8.0, 16.0], new_units=200)[0] == "1.00"


def test_the_mean_of_rings_and_barriers_is_geometric_and_leaves_other_rows_out(against: Any) -> None:
    rows = [
        against.Row("ring", "ring", 4, "infiniband", 32, 0.9, True, [4.0, 4.0], {"old": [1.0], "new": [4.0]}),
        against.Row("barriers", "barriers", 4, "infiniband", 1, 0.9, True, [0.25, 0.25], {"old": [1.0], "new": [0.25]}),
        against.Row("fan-in", "fan-in", 4, "infiniband", 1, 0.0, False, [9.0, 9.0], {"old": [1.0], "new": [9.0]}),
    ]
    assert against.speed_table(rows, "").rows[-1][3] == "1.00"


def test_a_giant_may_be_neither_slower_nor_larger_and_a_parked_rank_holds_8_kib_at_most(
    against: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {
        "old": {"cpu_seconds": 10.0, "peak_bytes": 1e9, "held_bytes": 9000.0},
        "new": {"cpu_seconds": 10.0, "peak_bytes": 1e9, "held_bytes": 8192.0},
    }
    trees = [Path("old"), Path("new")]
    monkeypatch.setattr(against, "giant", lambda key, size, tree: figures[tree.name])

    def met() -> list[str]:
        giants = [row[-1] for row in against.giant_table(trees, 1).rows]
        return [*giants[:2], against.parked_table(trees, 1).rows[0][-1]]

    assert met() == ["yes", "yes", "yes"]
    figures["new"] = {"cpu_seconds": 10.5, "peak_bytes": 1.0005e9, "held_bytes": 8193.0}
    assert met() == ["in spread", "in spread", "NO"]
    figures["new"] = {"cpu_seconds": 11.5, "peak_bytes": 1.002e9, "held_bytes": 0.0}
    assert met() == ["NO", "NO", "yes"]


def test_the_exploring_benchmark_counts_the_schedules_of_a_fan_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import exploring

    search = exploring.search_of(exploring.fan_in_once, 4)
    assert len(exploring.outcomes(search)) == search.n_runs == 6  # 3! orders of three messages


def test_predictions_show_the_worst_size_of_an_algorithm_beside_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import real_predictions

    pairs = zip(real_predictions.SIZES[1:4], (2.0, 30.0, 40.0), (2.5, 33.0, 8.0), strict=True)
    rows = [
        {"operation": "reduce", "algorithm": "ring", "bytes": size, "predicted": said, "measured": found}
        for size, said, found in pairs
    ]
    [row] = real_predictions.prediction_table(2, rows).rows
    assert row == ["reduce", "ring", "", "2.0 / 2.5", "30 / 33", "40 / 8.0", "", "", "", "1.25x", "5.0x"]
