"""Claims about experiments/ulysses.py and long_context.py: what they print, draw and refuse."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from experiments import long_context, ulysses
from test_experiments import row, run


def call(script: Any, monkeypatch: Any, *argv: object) -> int:
    """Return the exit status of the script, run in this process."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, argv)])
    status: int = script.main()
    return status


@pytest.fixture
def few(monkeypatch: Any) -> None:
    """Compare fewer networks and ranks than people do."""
    monkeypatch.setattr(ulysses, "WINNERS", (("nvlink", "dgx-h100"), (1024,), (8, 16)))


@pytest.mark.usefixtures("few")
def test_ulysses_shows_expected_beside_measured_and_writes_pictures_and_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    options = ["--ranks", 16, "--tokens", 1024, "--plot", "u.png", "--trace", "u.json"]
    assert call(ulysses, monkeypatch, *options) == 0
    output = capsys.readouterr().out
    # 2 bytes * 1024 tokens * 4096 features * what the formulas of the head say for one token and feature
    assert row(output, "16 Ulysses")[:3] == ["16,384", "30 MiB", "30 MiB"]
    assert row(output, "16 ring")[:3] == ["16,384", "240 MiB", "240 MiB"]
    assert row(output, "16 USP")[:3] == ["16,384", "44 MiB", "44 MiB"]
    assert row(output, "16 Megatron")[:3] == ["16,384", "480 MiB", "480 MiB"]
    assert row(output, "dgx-h100")[:2] == ["1,024", "8"]
    assert output.count("equal to dense attention") == 3
    assert max(map(len, output.splitlines())) <= 120
    for picture in ("u.png", "u-messages.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "u.json").read_text())["traceEvents"]


def test_numbers_that_are_not_those_of_dense_attention_end_the_experiment(monkeypatch):
    monkeypatch.setattr(ulysses, "WINNERS", ((), (), ()))
    right = ulysses.parallel.attention
    monkeypatch.setattr(ulysses.parallel, "attention", lambda *arrays, **keywords: right(*arrays, **keywords) + 1e-9)
    with pytest.raises(AssertionError, match="Ulysses: not the numbers of dense attention"):
        call(ulysses, monkeypatch, "--ranks", 2, "--tokens", 64)


def test_traffic_that_is_not_the_formulas_ends_the_experiment(monkeypatch):
    monkeypatch.setattr(ulysses, "sent", lambda name, p, tokens: 1)
    with pytest.raises(AssertionError, match=r"Ulysses, 2 ranks: sent \d+"):
        call(ulysses, monkeypatch, "--ranks", 2, "--tokens", 64)


def test_ulysses_computes_on_real_mpi(tmp_path):
    ended = run("ulysses", "--mpi", "--ranks", 2, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("equal to dense attention within 1e-12") == 3


def test_long_context_runs_the_longest_sequence_that_fits(tmp_path):
    ended = run("long_context", "--mib", 8, "--plot", "c.png", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    table = ended.stdout.partition("Ranks:")[2]
    longest = {name: int(row(table, name)[1].replace(",", "")) for name in long_context.METHODS}
    assert longest["dense"] * 3 < longest["blockwise"] < longest["Ulysses"], ended.stdout
    assert longest["blockwise"] < longest["ring"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("script", "argv", "message"),
    [
        (ulysses, ["--tokens", 9], "--tokens: got 9, expected a multiple of 8"),
        (ulysses, ["--tokens", "many"], "argument --tokens: got 'many', expected a whole number from 1 up"),
        (ulysses, ["--ranks", 12], "--ranks: got 12, expected up to 8, or a multiple of 8: full nodes"),
        (ulysses, ["--mpi", "--plot", "x.png"], "--plot is for simulated ranks; remedy: leave it out"),
        (long_context, ["--mib", 2], "--mib: got 2, expected 8 or more: the probes need as much"),
        (long_context, ["--network", "pcie"], "--network and --trace are for simulated ranks"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(script, argv, message, monkeypatch, capsys):
    assert call(script, monkeypatch, *argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
