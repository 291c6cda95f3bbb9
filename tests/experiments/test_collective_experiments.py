"""Claims about `float_order.py`, `busbw.py` and `who_wins.py`: what they print and draw, and that they can fail."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import collectives
import ranks
from experiments import busbw, float_order, who_wins
from experiments.lab import operations, terminal
from experiments.lab.worlds import Simulated
from test_experiments import call, row, run

# -- float_order ---------------------------------------------------------------------------------------------


def test_errors_are_printed_beside_their_bounds_and_drawn(tmp_path: Path) -> None:
    ended = run("float_order", "--ranks", 8, "--plot", "order.png", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    last = ended.stdout[ended.stdout.rindex("8 ranks  ") - 200 :]
    naive, tree = row(last, "naive"), row(last, "recursive_doubling")
    assert naive[:2] == ["7", "7"]
    assert tree[:2] == ["3", "3"]
    for cells in (naive, tree):
        largest, expected, measured = map(float, cells[2:])
        assert measured < largest < int(cells[1])
        assert 0.8 < measured / expected < 1.25
    assert float(tree[4]) < float(naive[4])
    assert re.search(r"\(arrival order\) +no +no", ended.stdout)
    assert re.search(r"ring +yes +yes", ended.stdout)
    assert (tmp_path / "order.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("p", [2, 3, 5])
def test_float_order_takes_few_ranks(p, monkeypatch, capsys) -> None:
    assert call(float_order, monkeypatch, "--ranks", p) == 0
    assert "arrival order" in capsys.readouterr().out


def test_another_seed_adds_other_numbers() -> None:
    drawn = [float_order.seen("ring", 4, seed).rms for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_network_decides_which_ranks_share_a_node_and_so_in_which_order_two_levels_add() -> None:
    depths = [float_order.seen("two_level", 16, network=ranks.presets[name]).depth for name in ("pcie", "dgx-h100")]
    assert depths == [15, 8]


def test_depths_are_those_of_a_chain_and_a_tree() -> None:
    for p in (2, 3, 4, 7, 8):
        assert float_order.seen("naive", p).depth == float_order.seen("ring", p).depth == p - 1
        assert float_order.seen("recursive_doubling", p).depth == (p - 1).bit_length()


def test_a_less_exact_sum_and_a_sum_in_order_of_arrival_are_noticed(monkeypatch) -> None:
    def with_halves(comm, x, op=np.add):
        if x.dtype != np.float32:
            return collectives.ring_allreduce(comm, x, op)
        return collectives.ring_allreduce(comm, x.astype(np.float16)).astype(x.dtype)

    monkeypatch.setitem(float_order.ALGORITHMS, "ring", with_halves)
    with pytest.raises(AssertionError, match="ring, 4 ranks: an error above its bound"):
        float_order.seen("ring", 4)
    monkeypatch.setattr(float_order, "ALGORITHMS", {"arrival": float_order.arrival_order})
    monkeypatch.setattr(float_order, "growth", lambda world, sizes, seed: {})
    with pytest.raises(AssertionError, match="arrival: turns differ"):
        call(float_order, monkeypatch, "--ranks", 5)


def test_float_order_compares_bits_on_real_mpi(tmp_path: Path) -> None:
    ended = run("float_order", "--mpi", "--ranks", 3, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"ring +yes +yes", ended.stdout)


# -- operations and busbw ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_calls_are_right_for_every_algorithm_and_wrong_results_are_seen(p) -> None:
    for operation in operations.BUS_FACTORS:
        made = operations.Call.of_bytes(operation, p, 100)
        assert made.n == (100 // 4 // p * p if operation in ("allgather", "alltoall") else 25)
        for algorithm in collectives.CATALOGUE[operation].values():
            run = ranks.run(made.program(algorithm.function), p, network="nvlink")
            for rank, result in enumerate(run.results):
                assert made.is_right(rank, result)
                assert not made.is_right(rank, np.zeros(3))
                if result is not None:
                    assert not made.is_right(rank, result + (np.arange(result.size) == 0).reshape(result.shape))


def test_bus_factors_are_those_of_nccl_tests() -> None:
    factors = {name: float(factor(4)) for name, factor in operations.BUS_FACTORS.items()}
    assert factors == {
        "allreduce": 1.5, "reduce_scatter": 0.75, "allgather": 0.75, "alltoall": 0.75, "broadcast": 1, "reduce": 1,
    }  # fmt: skip


def test_the_bus_bandwidth_of_a_ring_is_nearly_that_of_its_link(monkeypatch, capsys) -> None:
    argv = ["--operations", "allreduce", "--algorithm", "ring", "--network", "alpha-beta", "--ranks", 4]
    assert call(busbw, monkeypatch, *argv, "--min", "16KiB", "--max", "4MiB", "--step-factor", 256) == 0
    output = capsys.readouterr().out
    assert "allreduce\n (bus: x 3/2)" in output.replace("  ", "") or "bus: x 3/2" in output
    # 6 (1 µs + n/4 at 10 GB/s): 7.638 µs and 635.1 µs
    assert row(output, "16 KiB") == ["ring", "8.458 µs", "8.458 µs", "1.94", "2.91"]
    assert row(output, "4 MiB") == ["ring", "635.1 µs", "635.1 µs", "6.60", "9.91"]
    assert "The link's own bandwidth: 10.00 GB/s." in output
    axes = busbw.picture(Simulated(4, ranks.presets["alpha-beta"]), {"allreduce": [(1024, 2.0), (4096, 9.0)]}).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata())] == [[2.0, 9.0], [10.0, 10.0]]


def test_busbw_shows_every_operation_and_also_on_real_mpi(tmp_path: Path) -> None:
    for argv in (["--ranks", 3], ["--mpi", "--ranks", 2]):
        ended = run("busbw", *argv, "--max", "4KiB", folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        for operation in operations.BUS_FACTORS:
            assert re.search(rf"^ {operation} ", ended.stdout, re.MULTILINE)
        assert "Every element of every result was compared, and is right." in ended.stdout
        assert ended.stdout.count("native") == (6 if "--mpi" in argv else 0)


def test_a_wrong_result_ends_busbw(monkeypatch) -> None:
    rows = collectives.CATALOGUE["allreduce"]
    monkeypatch.setitem(rows, "ring", replace(rows["ring"], function=lambda comm, x, out: x))
    with pytest.raises(AssertionError, match="ring allreduce, 1024 B: a result is wrong"):
        call(busbw, monkeypatch, "--operations", "allreduce", "--algorithm", "ring", "--ranks", 2)


@pytest.mark.parametrize(
    ("script", "argv", "text"),
    [
        (
            busbw,
            ["--algorithm", "bruck"],
            "--algorithm: got 'bruck', expected auto or one of those for allreduce: naive,",
        ),
        (busbw, ["--min", "8KiB", "--max", "4KiB"], "expected 0 < min <= max"),
        (busbw, ["--step-factor", 1], "a factor from 1.1"),
        (
            busbw,
            ["--algorithm", "staged", "--operations", "allreduce"],
            "staged cannot run here: the ranks are on several",
        ),
        (busbw, ["--operations", "scan"], "invalid choice: 'scan'"),
        (busbw, ["--max", "1000GiB"], "remedy: --max up to "),
        (who_wins, ["--mpi", "--plot", "x.png"], "--plot is for simulated ranks, and real MPI was asked for"),
        (who_wins, ["--network", "pcie", "--every-network"], "expected one of them"),
        (float_order, ["--mpi", "--plot", "x.png"], "--plot is for simulated ranks"),
        (float_order, ["--trace", "x.json"], "unrecognized arguments: --trace x.json"),
    ],
)
def test_bad_input_is_one_line_and_status_2(script, argv, text, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(script, monkeypatch, *argv) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert text in error
    assert len(error.splitlines()) == 1


# -- who_wins ------------------------------------------------------------------------------------------------


@pytest.fixture
def few_cells(monkeypatch):
    monkeypatch.setattr(who_wins, "BYTES", [256, 65_536, 2**24])
    monkeypatch.setattr(who_wins, "REAL_BYTES", [1024, 65_536])


def test_the_diagram_is_printed_and_drawn(few_cells, tmp_path, monkeypatch, capsys) -> None:
    path = tmp_path / "who.png"
    argv = ["--ranks", 5, "--network", "ethernet", "--operations", "broadcast", "reduce", "--plot", path]
    argv += ["--csv", tmp_path / "who.csv"]
    assert call(who_wins, monkeypatch, *argv) == 0
    output = capsys.readouterr().out
    assert re.search(r"^broadcast on ethernet: A binomial, ", output, re.MULTILINE)
    assert row(output, "5")[:2] == ["A", "A"]
    assert row(output, "5")[2].islower()  # 80 MiB are predicted only
    kept = (tmp_path / "who.csv").read_text().splitlines()
    assert kept[4].startswith("broadcast on ethernet,5,binomial,binomial,")
    assert kept[4].endswith(" (predicted)")
    cells = len(list(product((2, 3, 4, 5), (256, 65_536)))) * 2
    assert f"Of {cells} cells measured, the formulas name the fastest in {cells}." in output
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_map_of_many_ranks_says_that_all_of_it_is_predicted(few_cells, monkeypatch, capsys) -> None:
    assert call(who_wins, monkeypatch, "--ranks", 65, "--operations", "broadcast") == 0
    assert "All of this is predicted: with more than 64 ranks, nothing is run." in capsys.readouterr().out


def test_a_map_stays_a_map_on_a_narrow_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setattr(terminal, "width", lambda: 60)
    cells = {(p, n): who_wins.Cell("ring", {}) for p in (2, 16_384) for n in who_wins.BYTES}
    who_wins.show("allreduce", ranks.presets["infiniband"], cells)
    heading, names, _, *lines = capsys.readouterr().out.splitlines()[2:]
    assert heading.split() == ["B", "KiB", "MiB"]
    assert names.split() == ["ranks", "256", "1", "4", "16", "64", "256", "1", "4", "16"]
    assert lines[1].split() == ["16,384", *"bbbbbbbbb"]


def test_an_algorithm_has_one_letter_in_all_diagrams_printed_or_drawn(capsys) -> None:
    network, letters = ranks.presets["infiniband"], []
    for names in (("ring", "bcube"), ("naive", "bcube")):
        diagram = {(2, 256 << place): who_wins.Cell(name, {}) for place, name in enumerate(names)}
        figure = who_wins.picture(["allreduce"], [network], [2], {("allreduce", network.name): diagram})
        who_wins.show("allreduce", network, diagram)
        drawn = [each.get_text() for each in figure.axes[0].get_legend().get_texts()]
        assert capsys.readouterr().out.startswith(f"allreduce on infiniband: {', '.join(drawn)}")
        letters += [label for label in drawn if label.endswith("bcube")]
    assert letters == ["G bcube"] * 2


def test_every_network_has_its_diagram(few_cells, monkeypatch, capsys) -> None:
    assert call(who_wins, monkeypatch, "--ranks", 2, "--operations", "alltoall", "--every-network") == 0
    output = capsys.readouterr().out
    assert re.findall(r"^alltoall on (.*):", output, re.MULTILINE) == list(ranks.presets)


def test_a_formula_that_names_the_wrong_one_is_noticed(few_cells, monkeypatch) -> None:
    rows = collectives.CATALOGUE["broadcast"]
    collectives.choose.cache_clear()
    monkeypatch.setitem(
        rows, "chain", replace(rows["chain"], cost=lambda machine, n, size: rows["binomial"].cost(machine, 0, 1))
    )
    with pytest.raises(
        AssertionError, match=r"broadcast on infiniband, 4 ranks, 256 B: chain was expected to win, and"
    ):
        who_wins.cell("broadcast", ranks.presets["infiniband"], 4, 256)
    collectives.choose.cache_clear()


def test_a_cell_knows_what_its_prediction_loses() -> None:
    assert who_wins.Cell("a", {"b": 100, "a": 100}).fastest == "a"
    cell = who_wins.Cell("a", {"a": 103, "b": 100})
    assert (cell.fastest, round(cell.loss, 9)) == ("b", 0.03)


def test_who_wins_on_real_mpi(few_cells, tmp_path: Path) -> None:
    argv = ("--mpi", "--ranks", 2, "--operations", "reduce", "--csv", "x.csv")
    ended = run("who_wins", *argv, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "x.csv").read_text().startswith("bytes,predicted_to_win,")
    assert row(ended.stdout, "1 KiB")[0] in collectives.CATALOGUE["reduce"]
