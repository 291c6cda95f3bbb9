"""Claims about experiments/ulysses.py and long_context.py: what they print, draw and refuse."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from experiments import long_context, traffic, ulysses
from experiments.pictures import heads
from test_experiments import row, run


def call(script: Any, monkeypatch: Any, *argv: object) -> int:
    """Return the exit status of the script, run in this process."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, argv)])
    status: int = script.main()
    return status


@pytest.fixture
def few(monkeypatch: Any) -> None:
    """Compare fewer networks and ranks than people do."""
    monkeypatch.setattr(ulysses, "WINNERS_NETWORKS", ("nvlink", "dgx-h100"))
    monkeypatch.setattr(ulysses, "WINNERS_RANKS", (8, 16, 64))


@pytest.mark.usefixtures("few")
def test_ulysses_shows_expected_beside_measured_and_writes_pictures_and_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    options = ["--ranks", 16, "--tokens", 1024, "--plot", "u.png", "--trace", "u.json", "--html", "u.html"]
    assert call(ulysses, monkeypatch, *options) == 0
    output = capsys.readouterr().out
    # 2 bytes * 1024 tokens * 4096 features * what the formulas of the head say for one token and feature
    assert row(output, "16 Ulysses")[:3] == ["16,384", "30 MiB", "30 MiB"]
    assert row(output, "16 ring")[:3] == ["16,384", "240 MiB", "240 MiB"]
    assert row(output, "16 USP")[:3] == ["16,384", "44 MiB", "44 MiB"]
    assert row(output, "16 Megatron")[:3] == ["16,384", "480 MiB", "480 MiB"]
    assert row(output, "dgx-h100 1,024 8")[0] == "Ulysses"
    assert row(output, "dgx-h100 1,024 16")
    assert " 64 " not in output.partition("fastest")[2], "no more ranks than were asked for"
    assert output.count("equal to dense attention") == 3
    assert max(map(len, output.splitlines())) <= 120
    for picture in ("u.png", "u-messages.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "u.json").read_text())["traceEvents"]
    assert "<h1>Ring attention, 8 ranks, " in (tmp_path / "u.html").read_text()


def test_numbers_that_are_not_those_of_dense_attention_end_the_experiment(monkeypatch):
    monkeypatch.setattr(ulysses, "WINNERS_NETWORKS", ())
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
    ended = run("long_context", "--memory", "8MiB", "--plot", "c.png", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    table = ended.stdout.partition("Ranks:")[2]
    longest = {name: int(row(table, name)[1].replace(",", "")) for name in long_context.METHODS}
    assert longest["dense"] * 3 < longest["blockwise"] < longest["Ulysses"], ended.stdout
    assert longest["blockwise"] < longest["ring"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("p", [1, 2, 3, 5])
@pytest.mark.parametrize("name", traffic.WAYS)
def test_every_way_to_share_out_attention_sends_what_its_formula_says(name, p):
    assert traffic.counted(name, p).sent == traffic.WAYS[name].formula(p)


def test_traffic_shows_that_who_keeps_more_sends_less(monkeypatch, capsys):
    assert call(traffic, monkeypatch) == 0
    output = capsys.readouterr().out
    # papers, then expected, forward, backward, both, kept and messages for 4 ranks
    assert row(output, "ring, common code") == ["4", "5.000", "1.500", "3.500", "5.000", "1.062", "10"]
    assert row(output, "ring that keeps all") == ["4", "3.000", "1.500", "1.500", "3.000", "2.562", "6"]
    assert row(output, "the same, keeping") == ["8 or 10", "6.000", "3.000", "3.000", "6.000", "5.594", "24"]


def test_a_way_that_is_not_attention_or_sends_something_else_ends_the_experiment(monkeypatch):
    def once_more(comm: Any) -> Any:
        comm.Sendrecv(b"more than it should", comm.rank, recvbuf=bytearray(19), source=comm.rank)
        return traffic.ring(comm)

    right = traffic.parallel.attention
    monkeypatch.setitem(traffic.WAYS, "ring", traffic.Way("4", lambda p: 6 * Fraction(p - 1, p), once_more))
    with pytest.raises(AssertionError, match="ring: sends "):
        call(traffic, monkeypatch)
    monkeypatch.setattr(traffic.parallel, "attention", lambda *arrays, **keywords: right(*arrays, **keywords) + 1e-9)
    with pytest.raises(AssertionError, match=r"off by .* from dense attention"):
        traffic.counted("Ulysses", 2)


def test_pictures_show_all_cells_all_heads_and_all_pairs():
    before = heads.cells([1, 2], 3)
    assert [held.ravel().tolist() for held in before] == [[0, 1, 2], [3, 4, 5, 6, 7, 8]]
    whole = np.concatenate(before, 1)
    after = [whole[:, :, :2], whole[:, :, 2:]]
    texts = [[text.get_text() for text in axes.texts] for axes in heads.transposition(before, after).axes]
    assert texts == [["0a", "0b", "0c"], ["1a", "1b", "1c", "2a", "2b", "2c"],
                     ["0a", "0b", "1a", "1b", "2a", "2b"], ["0c", "1c", "2c"]]  # fmt: skip
    filled = [patch for patch in heads.assignment(4, 2, [3]).axes[0].patches if patch.get_facecolor()[3]]
    assert len(filled) == 4 + 3  # rank 0 has two query heads of one K/V head, the others one of each
    title = heads.causal_work(["plain"], 128, 8).axes[0].get_title()
    assert title == "plain: 1,928 in a row"  # 1.87 times 128 * 129 / 2 / 8


def test_the_number_of_ranks_that_is_named_fills_its_nodes(monkeypatch, capsys):
    assert call(ulysses, monkeypatch, "--ranks", 80_000) == 2
    assert int(capsys.readouterr().err.split()[-1]) % ulysses.NODE == 0
    assert [ulysses.full_nodes(p) for p in (2, 8, 9, 17)] == [2, 8, 8, 16]


@pytest.mark.parametrize(
    ("script", "argv", "message"),
    [
        (ulysses, ["--tokens", 9], "--tokens: got 9, expected a multiple of 8"),
        (ulysses, ["--tokens", "many"], "argument --tokens: got 'many', expected a whole number from 1 up"),
        (ulysses, ["--ranks", 12], "--ranks: got 12, expected up to 8, or a multiple of 8: full nodes"),
        (
            ulysses,
            ["--mpi", "--plot", "x.png"],
            "--plot is for simulated ranks, and real MPI was asked for; remedy: leave one out",
        ),
        (ulysses, ["--mpi", "--tokens", 8], "--tokens is for simulated ranks, and real MPI was asked for"),
        (ulysses, ["--ranks", 80_000], "remedy: --ranks up to "),
        (
            long_context,
            ["--memory", "2MiB"],
            "--memory: got 2097152 bytes, expected 8MiB or more: the probes need as much",
        ),
        (long_context, ["--ranks", 99_999_999], "got --ranks 99999999 on real MPI, expected at most "),
        (ulysses, ["--mpi", "--ranks", 99_999_992], "got --ranks 99999992 on real MPI, expected at most "),
        (long_context, ["--network", "pcie"], "unrecognized arguments: --network pcie"),
        (traffic, ["--ranks", 1], "--ranks: got '1', expected a whole number from 2 up"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(script, argv, message, monkeypatch, capsys):
    assert call(script, monkeypatch, *argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
