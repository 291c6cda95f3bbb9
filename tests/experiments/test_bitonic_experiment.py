"""Claims about the experiment on bitonic sorting, the rungs of its ladder, and the drawing of networks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import processes
import ranks
from experiments import bitonic_sort as experiment
from experiments.lab.worlds import Simulated
from sorting import NETWORKS, bitonic, draw
from sorting.drawing import columns
from sorting.plain import sort_pairs, sort_views

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "bitonic_sort.py"


def run(*argv: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return how the script ended, started as a user does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, str(SCRIPT), *map(str, argv)]
    return processes.run(command, cwd=folder, env=environment)


def call(monkeypatch, *argv: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, argv)])
    return experiment.main()


def rows(output: str, name: str) -> list[list[str]]:
    """Return the cells of all rows whose first cell ends in `name`."""
    begin = re.compile(rf" *(\d+ +)?{name}  ")
    return [re.split(r"\s{2,}", begin.sub("", line).strip()) for line in output.splitlines() if begin.match(line)]


def test_shows_proof_ladder_and_ranks_and_writes_pictures_and_trace(tmp_path):
    ended = run(
        "--log2-size",
        11,
        "--ranks",
        8,
        "--plot",
        "s.png",
        "--trace",
        "s.json",
        "--animate",
        "s.gif",
        "--html",
        "s.html",
        folder=tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert rows(ended.stdout, "bitonic")[1] == ["16", "10", "10", "80", "80", "proved"]
    assert rows(ended.stdout, "odd_even_merge")[1] == ["1,024", "55", "55", "24,063", "24,063"]
    assert len(rows(ended.stdout, "two layouts, long rows")) == 1
    # 3 rounds to agree of 64, 128 and 256 B, then 6 exchanges of 2 KiB; 2.7 µs a message, 12 GB/s
    assert rows(ended.stdout, "bitonic_block_sort")[2] == ["9", "9", "25.36 µs", "25.36 µs"]
    assert max(map(len, ended.stdout.splitlines())) <= 100
    for picture in ("s.png", "s-network.png", "s-messages.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "s.json").stat().st_size > 1000
    assert (tmp_path / "s.gif").read_bytes().startswith(b"GIF89a")
    assert "<h1>Bitonic sort of 2,048 numbers, " in (tmp_path / "s.html").read_text()


@pytest.fixture
def only_ranks(monkeypatch):
    """Leave out what neither network nor ranks change: the proofs, which others of these tests see, and the ladder."""
    monkeypatch.setattr(experiment, "show_networks", lambda: None)
    monkeypatch.setattr(experiment, "climb", lambda k, seed: {})


@pytest.mark.usefixtures("only_ranks")
@pytest.mark.parametrize(
    ("network", "p"), [("ethernet", 1), ("alpha-beta", 3), ("dgx-h100", 16), ("dgx-a100-shared", 9)]
)
def test_runs_on_any_network_and_number_of_ranks(network, p, monkeypatch, capsys):
    assert call(monkeypatch, "--log2-size", 10, "--ranks", p, "--network", network) == 0
    assert re.search(rf"^ +{p} +sample_sort", capsys.readouterr().out, re.MULTILINE)


def test_another_seed_sorts_other_numbers():
    world = Simulated(3, ranks.presets["infiniband"])
    drawn = [experiment.measure(world, experiment.partition_sort, 3 * 4096, seed=seed).bytes_sent for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_on_real_mpi_counts_what_the_formulas_say(tmp_path):
    ended = run("--mpi", "--ranks", 2, "--log2-size", 14, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert rows(ended.stdout, "bitonic_block_sort")[0][:2] == ["2", "2"]
    assert rows(ended.stdout, "sample_sort")[0][:2] == ["4", "4"]
    assert "np.sort of all in one process" in ended.stdout


WRONG = {
    "--log2-size 0": "argument --log2-size: got '0', expected a whole number from 1 up",
    "--log2-size 29": "--log2-size: got 29, expected 1 to 28",
    "--log2-size 3 --ranks 9": "got 9 ranks and 8 numbers, expected a number for each; remedy: fewer",
    "--mpi --plot x.png": "--plot is for simulated ranks, and real MPI was asked for; remedy: leave one out",
    "--mpi --animate x.gif": "--animate is for simulated ranks, and real MPI was asked for",
    "--animate x.png": "got 'x.png', expected a file name that ends in .gif",
    "--sideways": "unrecognized arguments: --sideways",
}


@pytest.mark.parametrize("argv", WRONG)
def test_bad_input_is_one_line_and_status_2(argv, monkeypatch, capsys):
    assert call(monkeypatch, *argv.split()) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert WRONG[argv] in error
    assert len(error.splitlines()) == 1


def doubled(comm, x):
    """A sort that sorts twice: right, but it sends too much."""
    return experiment.bitonic_block_sort(comm, experiment.bitonic_block_sort(comm, x))


@pytest.mark.parametrize(
    ("name", "wrong", "complaint"),
    [
        ("sample_sort", lambda comm, x: experiment.sample_sort(comm, -x), "sample_sort: a result is wrong"),
        ("bitonic_block_sort", doubled, "bitonic_block_sort: sends"),
    ],
)
@pytest.mark.usefixtures("only_ranks")
def test_a_wrong_sort_and_a_wrong_count_are_noticed(name, wrong, complaint, monkeypatch):
    monkeypatch.setitem(experiment.SORTS, name, wrong)
    with pytest.raises(AssertionError, match=complaint):
        call(monkeypatch, "--log2-size", 8, "--ranks", 4)


def test_a_wrong_network_is_noticed(monkeypatch):
    monkeypatch.setitem(NETWORKS, "pairwise", bitonic)
    with pytest.raises(AssertionError, match="pairwise"):
        call(monkeypatch, "--log2-size", 8, "--ranks", 4)


def test_a_wrong_rung_is_noticed(monkeypatch):
    monkeypatch.setattr(experiment, "sort_views", lambda x: x)
    with pytest.raises(AssertionError, match="a stage at once"):
        call(monkeypatch, "--log2-size", 8, "--ranks", 4)


# -- the lower rungs ---------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-9, 9), max_size=70))
def test_pairs_and_views_sort_any_length(x):
    assert sort_pairs(x) == sorted(x)
    for dtype in ("i4", "f8", "f2", "M8[s]"):
        array = np.array(x, "i8").astype(dtype)
        kept = array.copy()
        assert np.array_equal(sort_views(array), np.sort(array))
        assert np.array_equal(array, kept)


def test_views_put_nan_last_and_refuse_what_they_cannot_sort():
    assert np.array_equal(sort_views(np.array([np.nan, 1, -np.inf])), [-np.inf, 1, np.nan], equal_nan=True)
    for x in (np.zeros((2, 2)), np.zeros(3, np.longdouble)):
        with pytest.raises(ValueError, match=r"sort_views: got x of shape .* remedy: use bitonic_sort"):
            sort_views(x)


# -- the drawing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_a_drawing_shows_every_comparator_once_and_those_that_swap_in_orange(name, n):
    network = NETWORKS[name](n)
    x = np.random.default_rng(n).permutation(n)
    for values in (None, x):
        axes = draw(network, values).axes[0]
        joins = [line for line in axes.lines if line.get_marker() == "o"]
        pairs = sorted(tuple(line.get_ydata()) for line in joins)
        assert pairs == sorted(pair for stage in network.stages for pair in stage)
        swaps = 0
        if values is not None:
            wires = x.tolist()
            for stage in network.stages:
                for i, j in stage:
                    swaps += wires[i] > wires[j]
                    wires[i], wires[j] = sorted((wires[i], wires[j]))
            written = [text.get_text() for text in axes.texts]
            assert written == [text for wire in range(n) for text in (f"{x[wire]}", f"{wire}")]
        assert sum(line.get_color() == "#d55e00" for line in joins) == swaps


@pytest.mark.parametrize("name", NETWORKS)
def test_comparators_in_one_column_do_not_overlap(name):
    for stage in NETWORKS[name](21).stages:
        placed = columns(stage)
        assert sorted(pair for column in placed for pair in column) == sorted(stage)
        for column in placed:
            assert all(a[1] < b[0] for a, b in pairwise(column))


def test_a_drawing_of_other_data_is_refused():
    with pytest.raises(ValueError, match=r"draw: got x of shape \(3,\), expected \(4,\), one value a wire; remedy"):
        draw(bitonic(4), np.zeros(3))
