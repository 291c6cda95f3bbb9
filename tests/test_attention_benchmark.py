"""The attention benchmark runs, compares results before it times them, and refuses what makes no sense."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from processes import HANG_S

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=HANG_S, check=False)


def test_a_child_gives_seconds_of_every_variant() -> None:
    done = run("_attention_child.py", "time", "300", "causal", "backward", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= {"blockwise", "dense", "bound"}
    assert min(min(times) for times in found.values()) > 0


def test_a_child_sees_that_dense_takes_more_memory() -> None:
    dense, ours = (
        json.loads(run("_attention_child.py", "memory", "1024", "full", "forward", name).stdout)["bytes"]
        for name in ("dense", "blockwise")
    )
    # Dense holds the scores of 8 heads, 4 B each, at least once.
    assert dense > 8 * 1024 * 1024 * 4 > ours


def test_a_child_gives_seconds_of_steps_of_training() -> None:
    done = run("_training_child.py", "16", "32", "2")
    assert done.returncode == 0, done.stderr
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in json.loads(done.stdout).values())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--runs", "0"], "--runs: got 0, expected 1 or"), (["--seq", "-5"], "--seq: got -5, expected")],
)
def test_bad_input_gives_status_2_and_one_clear_line(arguments: list[str], line: str) -> None:
    done = run("attention.py", *arguments)
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[-1]
