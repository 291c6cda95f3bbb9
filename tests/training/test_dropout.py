"""A token's mask is the same whoever has it, and independent of those of other tokens, steps, places and seeds."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
from experiments.lab.changing import changed
from training import GPTSizes, Plan, train
from training.dropout import Dropout, random_numbers
from training_claims import SMALL, Case, claim_equals_one_rank, plans

DTYPES = [np.dtype(each) for each in ("f4", "f8", "f2", ml_dtypes.bfloat16)]
WHOLE = Dropout(0.25, 7, 5, np.arange(5))


@pytest.mark.parametrize("plan", [*plans(4)[::2], plans(6)[-1], Plan(microbatches=5)], ids=str)
def test_every_plan_trains_as_one_rank(plan: Plan) -> None:
    ranks.run(lambda comm: claim_equals_one_rank(comm, plan, Case(dropout=0.3)), plan.ranks)


def losses(plan: Plan, rate: float = 0.3, **more: Any) -> list[float]:
    """Return the losses of two steps."""
    keywords: dict[str, Any] = {"sizes": SMALL, "steps": 2, "seed": 1, "dropout": rate} | more
    return list(ranks.run(lambda comm: train(comm, plan, **keywords).losses, plan.ranks).results[0])


def test_a_rate_of_zero_is_no_dropout_and_any_other_is_one() -> None:
    without = ranks.run(lambda comm: train(comm, sizes=SMALL, steps=2, seed=1).losses, 1).results[0]
    assert losses(Plan(), 0.0) == losses(Plan(), 0) == without
    assert losses(Plan(), np.float32(1e-3))[0] != without[0]


def test_a_training_that_goes_on_draws_the_masks_of_the_next_step(tmp_path: Path) -> None:
    plan = Plan(tp=2, recompute="full")
    whole = losses(plan, steps=4)
    assert losses(plan, steps=1, folder=tmp_path) == whole[:1]
    assert losses(plan, steps=2, folder=tmp_path) == whole[:2]
    np.testing.assert_allclose(losses(Plan(dp=2), steps=4, folder=tmp_path), whole, rtol=1e-10)


@given(st.data())
def test_a_part_of_the_tokens_has_its_part_of_the_mask(data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, 4), unique=True)), np.int64)
    begin, end = sorted(data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))))
    features, dtype = data.draw(st.integers(0, 9)), data.draw(st.sampled_from(DTYPES))
    x = np.random.default_rng(0).standard_normal((6, 5, features)).astype(dtype)
    whole = WHOLE(3, 0, 2, x)
    part = np.asfortranarray(x[begin:end, positions])
    kept = part.copy()
    found = WHOLE._replace(positions=positions)(3, begin, 2, part)
    assert found.dtype == dtype
    assert (found == whole[begin:end][:, positions]).all()
    assert (part == kept).all()
    exact = x.astype(np.float64 if dtype == "f8" else np.float32) / 0.75
    assert ((whole == 0) | np.isclose(whole.astype(float), exact, rtol=float(ml_dtypes.finfo(dtype).eps))).all()


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.5, 0.9, 1 - 2**-52])
def test_the_share_that_is_dropped_is_the_rate(rate: float) -> None:
    n = 1 << 20
    mask = Dropout(rate, 0, 1024, np.arange(1024))(1, 0, 0, np.ones((4, 1024, n >> 12)))
    dropped = n - np.count_nonzero(mask)
    assert abs(dropped - n * rate) <= 5 * np.sqrt(n * rate * (1 - rate)) + 1e-3
    assert {*np.unique(mask)} <= {0.0, 1 / (1 - rate)}


def test_each_place_of_the_model_draws_a_mask_of_its_own_forward_and_backward() -> None:
    drawn: Counter[tuple[int, int, int]] = Counter()

    def recording(original: Any) -> Any:
        def drop(self: Dropout, step: int, first: int, place: int, x: Any) -> Any:
            drawn[step, first, place] += 1
            return original(self, step, first, place, x)

        return drop

    with changed(Dropout, __call__=recording):
        losses(Plan(microbatches=2), batch=5)
    places = range(1 + 2 * SMALL.layers)  # behind the embedding; in each block behind attention and MLP
    assert drawn == {(step, first, place): 2 for step in (1, 2) for first in (0, 3) for place in places}


def signs(dropout: Dropout, step: int = 1, first: int = 0, place: int = 0) -> Any:
    """Return a mask of 1,024 tokens and 256 features as -1 and 1, which have a mean of 0 at a rate of a half."""
    return dropout(step, first, place, np.ones((16, 64, 256))) - 1


def test_masks_of_seeds_steps_places_tokens_and_features_are_independent() -> None:
    one = Dropout(0.5, 3, 64, np.arange(64))
    mask = signs(one).reshape(1024, 256)
    others = [
        signs(one._replace(seed=4)), signs(one, step=2), signs(one, place=1), signs(one, first=16), signs(one, first=1),
    ]  # fmt: skip
    pairs = [(mask, each.reshape(1024, 256)) for each in others]
    pairs += [(mask[n:], mask[:-n]) for n in (1, 2, 3, 64)] + [(mask[:, n:], mask[:, :-n]) for n in (1, 2, 3, 128)]
    pairs += [(signs(one, place=a), signs(one, step=2, place=b)) for a, b in pairwise(range(4))]
    pairs += [(signs(one, step=2), signs(one._replace(seed=4))), (signs(one, place=1), signs(one._replace(seed=4)))]
    for a, b in pairs:
        assert abs((a * b).sum()) <= 5 * np.sqrt(a.size)
    # Of a token over all features, and of a feature over all tokens: as many as the binomial distribution has.
    for axis, n in ((0, 1024), (1, 256)):
        sums = mask.sum(axis) / np.sqrt(n)
        assert abs(sums.std() - 1) < 0.15
        assert abs(sums).max() < 4.5


@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
def test_what_is_kept_is_rounded_once(dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 64)).astype(dtype)
    exact = WHOLE(1, 0, 0, x.astype(np.float32))
    assert (WHOLE(1, 0, 0, x) == exact.astype(dtype)).all()


def test_all_bits_of_the_numbers_are_random() -> None:
    numbers = random_numbers(np.array([5], np.uint64), np.arange(256), 65).reshape(-1)
    bits = (numbers[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(numbers.size)
    assert abs(np.corrcoef(bits.T) - np.eye(32)).max() < 5 / np.sqrt(numbers.size)
    assert numbers.size - np.unique(numbers).size <= 2  # of n numbers n**2 / 2**33 are expected twice, 0.03 here


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1, np.nan, "0.1", None, True, np.inf])
def test_a_rate_that_makes_no_sense_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"train: got dropout=.*, expected a number from 0 up, below 1; remedy"):
        ranks.run(lambda comm: train(comm, sizes=SMALL, steps=0, dropout=rate), 1)


def test_dropout_makes_a_model_that_learns() -> None:
    sizes = GPTSizes(context=16, hidden=16, heads=2, kv_heads=2, ffn=32, layers=2)
    found = losses(Plan(), 0.1, sizes=replace(sizes), steps=40, dtype=np.float32)
    assert found[-1] < found[0] - 0.5
