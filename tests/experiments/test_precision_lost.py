"""Claims about `precision.py`: what rounding loses, that it is counted rightly, and what the tables must show."""

import json

import numpy as np
import pytest

import ranks
from experiments import precision
from experiments.lab.sixteen import (
    Gradients,
    WithoutMaster,
    rough_attention,
    rough_norm,
    rough_product,
    rough_sum,
    watched,
)  # fmt: skip
from parallel.precision import BFLOAT16, FLOAT16
from test_experiments import call
from training import AdamW, GPTSizes, Trainer

TINY = GPTSizes(vocab=7, context=6, hidden=8, heads=2, kv_heads=2, ffn=8, layers=2)


def test_sums_of_ones_stay_where_one_is_half_the_distance_of_numbers() -> None:
    for dtype, bits in precision.BITS.items():
        ones = np.ones((2, 5000), dtype)
        assert (rough_sum(ones) == 2**bits).all()
        assert (rough_product(ones, ones.T[:, :1]) == 2**bits).all()


def test_operations_of_which_each_step_is_rounded_are_those_operations() -> None:
    rng = np.random.default_rng(0)
    for dtype in precision.BITS:
        x, w = (rng.integers(-2, 3, shape).astype(dtype) for shape in ((4, 9), (9, 5)))
        assert (rough_product(x, w) == x.astype(float) @ w.astype(float)).all()
        q, k, v = (rng.standard_normal((8, 4)).astype(dtype) for _ in range(3))
        weights = np.exp(q.astype(float) @ k.astype(float).T)
        expected = weights @ v.astype(float) / weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(rough_attention(q, k, v).astype(float), expected, atol=0.1)
        normal = rough_norm(q).astype(float)
        np.testing.assert_allclose(normal.mean(-1), 0, atol=0.05)
        np.testing.assert_allclose(normal.std(-1), 1, atol=0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("operation", precision.OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_loses_what_one_rounding_does_and_more_if_each_step_is_rounded(operation, seed: int) -> None:
    for dtype in precision.BITS:
        _, once, always = precision.errors(operation, dtype, seed)  # it holds the first two to each other
        assert always > 5 * once


def test_an_error_that_is_not_as_expected_ends_the_run(monkeypatch) -> None:
    monkeypatch.setattr(precision, "ONE_ROUNDING", 0.6)
    with pytest.raises(AssertionError, match=r"product of 256 terms: loses 0.00\d+, expected"):
        precision.errors(precision.OPERATIONS[0], BFLOAT16, 0)


def test_gradients_are_counted_by_size_and_where_they_round_to_nothing() -> None:
    gradients = Gradients()
    x = np.array([0, 2**-25, -(2.0**-25) * 1.5, 2**-24, 3, -np.inf], np.float32)
    with np.errstate(under="ignore"):
        gradients.see(x, x.astype(FLOAT16))
    assert gradients.exponents == {-25: 2, -24: 1, 1: 1}
    assert (gradients.rounding.numbers, gradients.rounding.lost) == (4, 1)
    assert gradients.below(-24) == 0.5
    assert Gradients().below(0) == 0


def test_a_training_is_watched_as_long_as_it_is_asked_for() -> None:
    gradients = Gradients()

    def program(comm) -> list[int]:
        trainer, seen = Trainer(comm, sizes=TINY, dtype="float16"), []
        for watching in (False, True, False):
            if watching:
                with watched(gradients):
                    trainer.step()
            else:
                trainer.step()
            seen.append(gradients.rounding.numbers)
        return seen

    [(before, during, after)] = ranks.run(program, 1).results
    assert before == 0
    # Of logits, and behind each matrix, norm and attention of the model: the numbers of tokens times features.
    tokens, h = 8 * TINY.context, TINY.hidden
    assert during == after
    assert 0.9 < during / (tokens * (TINY.vocab + 2 * h + TINY.layers * (5 * h + 3 * h + TINY.ffn))) <= 1


def test_small_updates_are_lost_without_a_master_copy() -> None:
    optimizer = WithoutMaster(AdamW(rate=1e-3), BFLOAT16)

    def program(comm) -> list[float]:
        trainer = Trainer(comm, sizes=TINY, dtype="bfloat16", optimizer=optimizer)
        for _ in range(3):
            trainer.step()
        return trainer.states["norm"].updated_arrays()["x"].tolist()

    [values] = ranks.run(program, 1).results
    gains, biases = np.split(np.array(values), 2)
    assert (gains == 1).all()  # the next numbers are 2**-8 below and 2**-7 above
    assert (biases != 0).all()
    assert [*optimizer.by_step] == [1, 2, 3]
    assert all(0 < tally.share < 1 for tally in optimizer.by_step.values())


def test_tables_and_picture(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(precision, "SIZES", TINY)
    kept, picture = tmp_path / "kept.json", tmp_path / "precision.svg"
    assert call(precision, monkeypatch, "--steps", 12, "--json", kept, "--plot", picture) == 0
    operations, trainings = (table["rows"] for table in json.loads(kept.read_text())["tables"])
    assert [row["operation"] for row in operations] == [each.name for each in precision.OPERATIONS]
    rows = {row["training"]: row for row in trainings}
    assert [*rows] == [*precision.RUNS]
    assert [row["bytes_a_parameter"] for row in rows.values()] == [16, 16, 18, 14, 18, 18, 14]
    rough, fine = (rows[f"{dtype}, no master copy"]["updates_lost_in_all"] for dtype in ("bfloat16", "float16"))
    assert rough > 2 * fine > 0
    scaled, plain = (rows[name]["gradients_lost_measured"] for name in ("float16", "float16, loss not scaled"))
    assert plain > scaled
    assert "gains of norms begin at 1" in capsys.readouterr().out
    assert "no master copy" in picture.read_text()


def test_a_rate_with_which_training_fails_is_told(monkeypatch, capsys) -> None:
    monkeypatch.setattr(precision, "SIZES", TINY)
    assert call(precision, monkeypatch, "--steps", 30, "--rate", 1e9) == 2
    assert "--rate: got 1e+09, with which float" in capsys.readouterr().err
