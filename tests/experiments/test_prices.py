"""Claims about `prices.py`: counts are those of the formulas, their sum is the time, and who is beaten never wins."""

from __future__ import annotations

from itertools import product

import pytest

import collectives
import ranks
from collectives import CATALOGUE, Machine, choose
from experiments import prices, who_wins
from experiments.lab.worlds import Simulated
from test_experiments import call, row

NAMES = ("ring", "recursive_doubling", "halving_doubling")


@pytest.mark.parametrize("p", [2, 4, 8])
def test_counts_are_those_of_the_textbook(p: int) -> None:
    lg, least, reduced = p.bit_length() - 1, 2 * (p - 1) / p, (p - 1) / p
    expected = {
        "ring": prices.Prices(2 * (p - 1), 4 * (p - 1), least, reduced),
        "recursive_doubling": prices.Prices(lg, 2 * lg, lg, lg),
        "halving_doubling": prices.Prices(2 * lg, 4 * lg, least, reduced),
    }
    assert {name: prices.paid("allreduce", name, p) for name in NAMES} == expected


@pytest.mark.parametrize(("p", "name"), [*product([4, 8], NAMES), (3, "ring"), (7, "ring")])
def test_the_time_is_the_sum_of_what_is_paid_where_nothing_is_paid_at_the_same_time(p: int, name: str) -> None:
    network, n_bytes = ranks.presets["ethernet"], 8 * p * 1000
    count = prices.paid("allreduce", name, p, n_bytes)
    in_bytes = prices.Prices(count.latency, count.overhead, count.byte * n_bytes, count.reduced * n_bytes)
    expected = prices.prices_of(network).times(in_bytes)
    measured = prices.time_ps("allreduce", name, p, n_bytes, network)
    assert measured == collectives.cost(f"{name}_allreduce", network, p, n_bytes // 4, 4).time_ps
    assert abs(expected - measured) <= 4 * p  # each message and reduction is rounded down to picoseconds


def test_who_is_beaten_pays_no_price_less_often() -> None:
    a, b, c = (prices.Prices(*counts) for counts in ((1, 2, 3, 4), (1, 2, 3, 5), (0, 2, 4, 4)))
    assert prices.beaten_by({"a": a, "b": b, "c": c, "again": a}) == {
        "a": [],
        "b": ["a", "again"],
        "c": [],
        "again": [],
    }


def test_who_is_beaten_is_chosen_nowhere() -> None:
    for p in (3, 4, 6, 7, 8):
        counts = {name: prices.paid("allreduce", name, p, 1680) for name in prices.contenders("allreduce")}
        beaten = {name for name, others in prices.beaten_by(counts).items() if others}
        assert "ring" in beaten
        # Every other size, for odd and even numbers of ranks in turn.
        for network, n_bytes in product(("infiniband", "ethernet", "pcie"), who_wins.BYTES[p % 2 :: 2]):
            call = choose("allreduce", Machine.of(ranks.presets[network], p), n_bytes // 4 // p * p or p, 4)
            assert call.algorithm not in beaten - {"ring"}, (p, network, n_bytes)


def test_a_picture_adds_up_what_is_paid_and_marks_what_was_measured(monkeypatch, tmp_path) -> None:
    found = prices.rows("allreduce", 4, ranks.presets["infiniband"])
    axes = prices.picture(Simulated(4, ranks.presets["infiniband"]), "allreduce", prices.N_BYTES, found).axes[0]
    ends = {}
    for bar in axes.patches:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0), bar.get_x() + bar.get_width())
    assert [*ends.values()] == pytest.approx([row[-2] for row in found])
    assert [*axes.lines[0].get_xdata()] == [row[-1] for row in found]
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 1.02 * max(*ends.values(), *axes.lines[0].get_xdata())  # no mark is cut in half
    argv = ["--ranks", 2, "--bytes", 64, "--operations", "reduce", "alltoall", "--plot", tmp_path / "p.png"]
    assert call(prices, monkeypatch, *argv) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-alltoall.png", "p-reduce.png"]


def test_prices_are_printed_for_any_operation(monkeypatch, capsys) -> None:
    assert call(prices, monkeypatch, "--ranks", 4) == 0
    assert row(capsys.readouterr().out, "ring")[:4] == ["6", "12", "1.5", "0.75"]
    assert call(prices, monkeypatch, "--operations", "alltoall") == 0
    assert "linear" in row(capsys.readouterr().out, "pairwise")
    assert set(prices.contenders("allreduce")) < set(CATALOGUE["allreduce"])
