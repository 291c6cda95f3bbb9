"""Claims about the experiment on stragglers: its formulas hold to the rounding, for any sizes, and it can fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ranks
from experiments import stragglers


def call(monkeypatch: Any, *argv: object) -> int:
    monkeypatch.setattr("sys.argv", ["stragglers.py", *map(str, argv)])
    return stragglers.main()


@pytest.mark.parametrize(
    ("p", "network"), [(4, "nvlink"), (4, "alpha-beta"), (8, "dgx-h100"), (16, "alpha-beta"), (32, "ethernet")]
)
@pytest.mark.parametrize(("n_bytes", "late_ps", "factor"), [(0, 1, 2), (4096, 10**9, 7), (2**18, 5_000_000, 16)])
def test_what_a_late_rank_and_a_slow_link_add_is_as_expected(
    p: int, network: str, n_bytes: int, late_ps: int, factor: int
) -> None:
    setting = stragglers.Setting(p, n_bytes, stragglers.bare(ranks.presets[network]), late_ps, factor)
    for algorithm in stragglers.ALGORITHMS.values():
        plain = stragglers.measured(algorithm, setting)
        late, slow = (stragglers.measured(algorithm, setting, **{kind: True}) for kind in ("late", "slow"))
        assert late - plain == pytest.approx(algorithm.late(setting, plain), abs=2 * p)
        assert slow - plain == pytest.approx(algorithm.slow(setting, plain), abs=2 * p * factor)


def test_with_ports_a_slow_link_makes_a_ring_of_large_messages_as_slow_and_the_others_less() -> None:
    network = replace(ranks.presets["alpha-beta"], ports=True)
    setting = stragglers.Setting(16, 2**22, network, 0, 8)
    times = {
        name: stragglers.measured(algorithm, setting, slow=True) / stragglers.measured(algorithm, setting)
        for name, algorithm in stragglers.ALGORITHMS.items()
    }
    assert times["ring"] > 7.5
    assert max(times["recursive doubling"], times["halving-doubling"], times["broadcast"]) < 5


def test_it_prints_expected_beside_measured_and_draws(monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    assert call(monkeypatch, "--ranks", 4, "--bytes", 1024, "--plot", tmp_path / "slow.svg") == 0
    out = capsys.readouterr().out
    for name in stragglers.ALGORITHMS:
        cells = re.split(
            r"\s{2,}", next(line for line in out.splitlines() if re.match(rf" {name}  .* µs", line)).strip()
        )
        assert cells[2] == cells[3]
        assert cells[4] == cells[5]
    assert (tmp_path / "slow.svg").read_text().startswith("<?xml")


def test_what_its_page_shows_is_a_ring_with_the_slow_link(monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    called = "--ranks", 4, "--bytes", 1024, "--factor", 8, "--network", "ethernet"
    assert call(monkeypatch, *called, "--html", tmp_path / "slow.html", "--trace", tmp_path / "slow.json") == 0
    page = (tmp_path / "slow.html").read_text()
    assert "<h1>A ring of 4 ranks whose link from rank 0 to 1 is 8 times as slow, with ports</h1>" in page
    arrows = [each for each in json.loads((tmp_path / "slow.json").read_text())["traceEvents"] if each["ph"] in "sf"]
    took: dict[Any, list[float]] = {}
    for each in arrows:
        took.setdefault(each["id"], []).append(each["ts"])
    assert len(took) == 4 * 6
    assert max(end - start for start, end in took.values()) > 8 * 20


def test_half_a_microsecond_and_half_as_slow_again_are_what_they_say(monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, "--ranks", 4, "--bytes", "1KiB", "--late", "0.5", "--factor", 1.5) == 0
    out = capsys.readouterr().out
    # A barrier takes 2 messages of 1 µs one after the other; late by 0.5, or one of them half as long again.
    assert re.search(r"barrier +2.000 µs +0.5000 µs +0.5000 µs +0.5000 µs +0.5000 µs", out)


def test_a_wrong_expectation_fails(monkeypatch: Any) -> None:
    ring = stragglers.ALGORITHMS["ring"]
    monkeypatch.setitem(stragglers.ALGORITHMS, "ring", replace(ring, slow=lambda s, t: 3 * ring.slow(s, t)))
    with pytest.raises(AssertionError, match="ring, slow"):
        call(monkeypatch, "--ranks", 4)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--ranks", "6"], "got 6, expected a power of two"),
        (["--ranks", "2"], "--ranks: got '2', expected a whole number from 4 up"),
        (["--ranks", "65536"], "remedy: --ranks up to "),
        (["--network", "dgx-h100", "--ranks", "16"], "got dgx-h100, whose 16 ranks have links of two kinds"),
        (["--factor", "0.5"], "--factor: got 0.5, expected 1 or more"),
        (["--factor", "1e300"], "got '1e300', expected a number above 0, such as 0.5 or 1e3, up to 1e9"),
        (["--bytes", "1001"], "so that 8 ranks share out float32 equally; remedy: --bytes 992"),
        (["--late", "nan"], "got 'nan', expected a number above 0, such as 0.5 or 1e3"),
        (["--bytes", "99999999999999"], "remedy: --bytes up to "),
        (["--plot", "x.gif"], "expected a file name that ends in .png or .svg"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(argv: list[str], says: str, monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, *argv) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1


def test_the_number_of_ranks_that_is_named_is_a_power_of_two(monkeypatch: Any, capsys: Any) -> None:
    assert call(monkeypatch, "--ranks", 65536) == 2
    p = int(re.findall(r"--ranks up to (\d+)", capsys.readouterr().err)[0])
    assert p == stragglers.power_of_two(p)
    assert [stragglers.power_of_two(n) for n in (0, 1, 7, 8, 9)] == [0, 1, 4, 8, 8]
