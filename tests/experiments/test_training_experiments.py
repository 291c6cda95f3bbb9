"""Claims of the experiments about training: one curve, costs as by formula, and an end if they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import experts, one_loss_curve, zero
from experiments.lab import trainings
from training import AdamW, Plan
from training.costs import step_traffic

FEW = ["--ranks", "2", "--steps", "2"]


def tables(script: Any, tmp_path: Path, *argv: str) -> list[dict[str, Any]]:
    """Return the rows of a run's table."""
    kept = tmp_path / "kept.json"
    assert script.main([script.__file__, *argv, "--json", str(kept)]) == 0
    return json.loads(kept.read_text())["tables"][0]["rows"]


def test_all_ways_have_one_curve_and_what_they_cost_is_counted(tmp_path, capsys):
    rows = tables(one_loss_curve, tmp_path, *FEW, "--plot", str(tmp_path / "curve.svg"))
    assert [row["way"] for row in rows] == ["one rank", *one_loss_curve.ways(2)]
    assert all(row["loss_differs"] < 1e-12 for row in rows)
    for row in rows:
        for what in ("sent_a_step_{}_bytes", "memory_{}_bytes"):
            assert row[what.format("expected")] == row[what.format("measured")], row
    assert "All 20 curves are one" in capsys.readouterr().out
    drawn = (tmp_path / "curve.svg").read_text()
    assert all(name in drawn for name in ("one rank", "data+pipeline", "activations", "counted"))


def test_ways_with_experts_have_one_curve_too_and_send_what_was_routed(tmp_path, capsys):
    ways = ["experts", "experts+tensor", "zero-3", "gpipe-full", "data+sequence"]
    rows = tables(one_loss_curve, tmp_path, *FEW, "--experts", "3", "--ways", *ways)
    assert {row["way"] for row in rows} == {"one rank", *ways}
    assert all(row["loss_differs"] < 1e-12 for row in rows)
    assert all(row["sent_a_step_expected_bytes"] == row["sent_a_step_measured_bytes"] for row in rows)
    assert "blocks of 3 experts" in capsys.readouterr().out
    assert one_loss_curve.main(["x.py", "--ranks", "3", "--experts", "2"]) == 2
    assert "got --experts 2 with --ranks 3" in capsys.readouterr().err


def test_mixed_precision_has_one_curve_too_and_costs_what_formulas_say(tmp_path):
    rows = tables(one_loss_curve, tmp_path, *FEW, "--dtype", "bfloat16", "--ways", "data", "tensor", "zero-3")
    assert max(row["loss_differs"] for row in rows[1:]) > 1e-9
    for row in rows:
        for what in ("sent_a_step_{}_bytes", "memory_{}_bytes"):
            assert row[what.format("expected")] == row[what.format("measured")], row


def test_dropout_has_one_curve_too_and_it_is_another(tmp_path, capsys):
    said = []
    for rate, ways in (("0", ["sequence"]), ("0.3", ["sequence", "ring", "gpipe-full"])):
        rows = tables(one_loss_curve, tmp_path, *FEW, "--dropout", rate, "--ways", *ways)
        assert len(rows) == 1 + len(ways)
        assert all(row["loss_differs"] < 1e-12 for row in rows)
        assert all(row["memory_expected_bytes"] == row["memory_measured_bytes"] for row in rows)
        said.append(capsys.readouterr().out)
    assert ("dropout 0.3" in said[0], "dropout 0.3" in said[1]) == (False, True)
    without, dropped = (text.split("Loss of one rank:")[1].splitlines()[0] for text in said)
    assert without != dropped
    assert one_loss_curve.main(["x.py", "--dropout", "1"]) == 2
    assert "got '1', expected a number from 0 up, below 1, such as 0.1" in capsys.readouterr().err


def test_every_way_fits_any_number_of_ranks():
    for p in (2, 3, 4, 5, 7, 8):
        for n_experts in (0, p, 2 * p):
            sizes, batch = one_loss_curve.model(p, n_experts)
            for name, plan in one_loss_curve.ways(p, n_experts).items():
                plan.check(p * (1 + ("+" in name)), sizes, batch)


def test_a_curve_that_is_another_ends_the_run(monkeypatch):
    rates = iter([0.01] * 2 + [0.02] * 4)  # a rank begins twice: for no step, and for all
    monkeypatch.setattr(trainings, "AdamW", lambda rate: AdamW(rate=next(rates)))
    with pytest.raises(AssertionError, match="data: losses differ by"):
        one_loss_curve.main(["x.py", *FEW, "--ways", "data"])


def test_bytes_that_are_not_as_by_formula_end_the_run(monkeypatch):
    other = step_traffic(Plan(dp=2, zero=1), *one_loss_curve.model(2), 8)
    monkeypatch.setattr(trainings, "step_traffic", lambda *about, routed: other[:1] * 2)
    with pytest.raises(AssertionError, match=r"one rank: ranks send \[0.0\], expected"):
        one_loss_curve.main(["x.py", *FEW, "--ways", "data"])


def test_stages_of_zero_send_and_hold_what_the_formulas_say(tmp_path, capsys):
    plot = tmp_path / "zero.svg"
    rows = tables(zero, tmp_path, "--ranks", "3", "--microbatches", "2", "--plot", str(plot))
    factors = {(row["stage"], row["microbatches"]): row["sent_over_n_d_1_d_measured"] for row in rows}
    assert [round(factors[stage, 1]) for stage in ("none", "ZeRO-1", "ZeRO-2", "ZeRO-3")] == [2, 2, 2, 3]
    assert [round(factors[stage, 2]) for stage in ("none", "ZeRO-1", "ZeRO-2", "ZeRO-3")] == [2, 2, 3, 6]
    lasting = [row["held_lasting_bytes"] for row in rows[:4]]
    assert lasting == sorted(lasting, reverse=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "120.0, 31.4, 16.6 and 1.9 GB a rank" in said
    assert "With 2 microbatches ZeRO-2 sends 1.5" in said
    assert "ZeRO-3, 2 microbatches" in plot.read_text()


@pytest.mark.parametrize("d", [2, 3, 4, 5, 8])
def test_zero_leaves_out_the_losses_for_any_number_of_ranks(d):
    for stage, g in product(range(4), (1, 3)):
        plan = Plan(dp=d, zero=stage, microbatches=g)
        sent = [each.n_bytes for each in step_traffic(plan, zero.SIZES, d * g, "float64")]
        assert zero.counted_factor(sent) == zero.factor(stage, g)


def test_experts_drop_what_they_have_no_place_for_and_ranks_send_what_was_routed(tmp_path, capsys):
    plot = tmp_path / "experts.svg"
    few = ["--ranks", "3", "--steps", "3", "--experts", "4", "--capacity", "0.5", "--balance", "0", "1"]
    rows = tables(experts, tmp_path, *few, "--plot", str(plot))
    assert [(row["weight"], row["capacity_factor"]) for row in rows] == [(0, None), (0, 0.5), (1, None), (1, 0.5)]
    for row in rows:
        assert row["dropped_measured"] == 0 if row["capacity_factor"] is None else row["dropped_measured"] >= 0.5
        assert row["tokens_over_the_mean_idlest"] <= 1 <= row["tokens_over_the_mean_busiest"] <= 2  # E/k
        assert (row["balance_loss"] is None) == (row["weight"] == 0)
    assert "weight of the balance loss 1" in plot.read_text()
    assert "for the routed tokens" in " ".join(capsys.readouterr().out.split())


def test_what_tokens_at_random_would_drop_is_what_they_drop():
    sizes = replace(experts.SIZES, context=12, experts=5, top_k=3, capacity_factor=1.0)
    rng, capacity = np.random.default_rng(0), sizes.routing.capacity(12)
    asked = [np.bincount(np.argsort(rng.random((12, 5)))[:, :3].reshape(-1), minlength=5) for _ in range(4000)]
    drawn = np.maximum(np.array(asked) - capacity, 0).sum(1) / (12 * 3)
    assert experts.at_random(sizes) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(4000))
    assert experts.at_random(replace(sizes, capacity_factor=None)) == 0


def test_more_ranks_or_more_of_them_than_experts_are_refused(capsys):
    for option in ("--ranks", "--top-k"):
        assert experts.main(["x.py", "--experts", "3", "--ranks", "1", option, "4"]) == 2
        assert f"got {option} 4 with --experts 3" in capsys.readouterr().err


@pytest.mark.parametrize("weight", ["-1", "nan", "much", "inf"])
def test_a_weight_of_the_balance_loss_that_is_none_is_one_line(weight, capsys):
    assert experts.main(["x.py", f"--balance={weight}"]) == 2
    assert f"got '{weight}', expected a number from 0 up, such as 0.01" in capsys.readouterr().err
