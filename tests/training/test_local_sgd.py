"""Local SGD: the same as data parallelism where it should be, 1/H of its bytes, and as the paper says elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import ranks
from training import SGD, AdamW, CheckpointError, GPTSizes, Plan, Trainer, train, whole_parameters
from training.local import LocalTrainer
from training.planner import Device, play_step, predict_local
from training.text import text_batch
from training_claims import SMALL

PLAIN = SGD(rate=0.5)
AVERAGE = SGD(rate=1.0)


def locally(comm: Any, plan: Plan, steps: int, local_steps: int, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Train apart; return the history, and the parameters of this rank's copy."""
    local = LocalTrainer(comm, plan, local_steps=local_steps, sizes=SMALL, batch=6, seed=1, **options)
    history = local.train(steps, None, 0)
    return history, whole_parameters(local.trainer)


def together(comm: Any, plan: Plan, steps: int, optimizer: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Train with data parallelism."""
    trainer = Trainer(comm, plan, sizes=SMALL, batch=6, seed=1, optimizer=optimizer)
    for _ in range(steps):
        trainer.step()
    return trainer.history, whole_parameters(trainer)


PLANS = [
    Plan(dp=2), Plan(dp=3), Plan(dp=4), Plan(), Plan(dp=2, tp=2, sp=True), Plan(dp=2, cp=2, zero=1),
    Plan(dp=2, cp=2, zero=3), Plan(dp=2, pp=2, microbatches=3), Plan(dp=2, pp=2, schedule="zb-v", microbatches=3),
]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_one_step_of_sgd_and_the_average_are_data_parallelism(plan: Plan) -> None:
    """Also where copies have unequal shares of the batch: each token counts alike."""
    apart = ranks.run(partial(locally, optimizer=PLAIN, outer=AVERAGE), plan.ranks, plan, 3, 1).results
    expected, parameters = ranks.run(together, plan.ranks, plan, 3, PLAIN).results[0]
    for history, mine in apart:
        assert_allclose(history.losses, expected.losses, rtol=1e-12)
        for name, wanted in parameters.items():
            assert_allclose(mine[name], wanted, rtol=0, atol=1e-12)


def uneven(seed: int, step: int, sequences: int, context: int, vocab: int) -> Any:
    """Return a batch of which the first sequences count in part."""
    tokens, labels = text_batch(seed, step, sequences, context, vocab)
    labels = labels.copy()
    labels[0, 2:] = -1
    return type(text_batch(seed, step, sequences, context, vocab))(tokens, labels)


def test_tokens_that_do_not_count_do_not_count() -> None:
    plan = Plan(dp=2)

    def program(comm: Any) -> Any:
        return [
            train(comm, plan, sizes=SMALL, batch=4, steps=3, data=uneven, optimizer=PLAIN, **options).losses
            for options in ({}, {"local_steps": 1, "outer": AVERAGE})
        ]

    for dense, apart in ranks.run(program, 2).results:
        assert_allclose(apart, dense, rtol=1e-12)


def test_rounds_are_those_of_copies_that_train_alone() -> None:
    """Two rounds of DiLoCo, by hand: each copy from the anchor on, then Nesterov's step on the mean difference."""
    plan, inner, outer = Plan(dp=2), AdamW(rate=1e-2), SGD(rate=0.7, momentum=0.9, nesterov=True)
    found = ranks.run(partial(locally, optimizer=inner, outer=outer), 2, plan, 4, 2).results
    assert found[0][0] == found[1][0]
    alone = ranks.run(locally, 1, Plan(), 0, 1).results[0][1]

    def copies(comm: Any) -> Any:
        made = []
        for copy in range(2):
            local = LocalTrainer(
                comm, Plan(), local_steps=2, sizes=SMALL, batch=3, seed=1, optimizer=inner, outer=SGD(rate=1.0),
                data=lambda *given, copy=copy: half(copy, *given),
            )  # fmt: skip
            made.append(local.trainer)
        anchor = {name: each.copy() for name, each in alone.items()}
        momentum = {name: 0 * each for name, each in anchor.items()}
        for _ in range(2):
            for trainer in made:
                for _ in range(2):
                    trainer.step()
            after = [whole_parameters(trainer) for trainer in made]
            for name, x in anchor.items():
                step = x - (after[0][name] + after[1][name]) / 2
                momentum[name] = 0.9 * momentum[name] + step
                anchor[name] = x - 0.7 * (step + 0.9 * momentum[name])
            for trainer in made:
                for unit, state in trainer.states.items():
                    state.fill({part: anchor[f"{unit}.{part}"] for part in state.parts})
        return anchor

    expected = ranks.run(copies, 1).results[0]
    for name, wanted in expected.items():
        assert_allclose(found[1][1][name], wanted, rtol=0, atol=1e-12)


def half(copy: int, seed: int, step: int, sequences: int, context: int, vocab: int) -> Any:
    """Return the sequences of a copy out of twice as many."""
    whole = text_batch(seed, step, 2 * sequences, context, vocab)
    return type(whole)(*(each[copy * sequences : (copy + 1) * sequences] for each in whole))


def test_copies_with_the_same_sequences_have_the_history_of_one() -> None:
    def twice(seed: int, step: int, sequences: int, context: int, vocab: int) -> Any:
        made = text_batch(seed, step, 3, context, vocab)
        return type(made)(*(np.resize(each, (sequences, context)) for each in made))

    apart = ranks.run(partial(locally, optimizer=PLAIN, data=twice), 2, Plan(dp=2), 2, 2).results[0][0]
    alone = ranks.run(lambda comm: train(comm, sizes=SMALL, batch=3, seed=1, steps=2, optimizer=PLAIN), 1).results[0]
    assert_allclose(apart.losses, alone.losses, rtol=1e-12)
    assert_allclose(apart.grad_norms, alone.grad_norms, rtol=1e-12)


def test_an_outer_adam_counts_agreements_and_not_steps() -> None:
    """Its first update moves a number by the rate; with the bias correction of a third one it would be 0.6 of it."""
    options = {"optimizer": PLAIN, "outer": AdamW(rate=0.01, decay=0.0, clip=None)}
    begun, after = (ranks.run(partial(locally, **options), 2, Plan(dp=2), n, 3).results[0][1] for n in (0, 3))
    moved = max(abs(after[name] - begun[name]).max() for name in begun)
    assert moved == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("h", [2, 4])
def test_agreeing_once_in_h_steps_sends_an_h_th_of_the_bytes(h: int) -> None:
    plan, sizes = Plan(dp=3), GPTSizes(context=4, hidden=16, layers=1)

    def sent(steps: int, **options: Any) -> int:
        program = lambda comm: train(comm, plan, sizes=sizes, batch=3, steps=steps, **options).losses  # noqa: E731
        return sum(ranks.run(program, 3).bytes_sent)

    together = sent(2 * h) - sent(0)
    apart = sent(2 * h, local_steps=h) - sent(0, local_steps=h)
    # All send loss and norm of each step, 2(p - 1) times three numbers, or four.
    of_losses = 2 * h * 2 * 2 * 8
    assert apart - 4 * of_losses == (together - 3 * of_losses) / h


@pytest.mark.parametrize("plan", [Plan(dp=4), Plan(dp=2, pp=2, microbatches=2), Plan(dp=2, cp=2, zero=1)], ids=str)
@pytest.mark.parametrize("h", [1, 4])
def test_a_step_apart_takes_what_is_predicted(plan: Plan, h: int) -> None:
    sizes, device = GPTSizes(context=16, hidden=16, layers=2), Device("slow", 1e10, 1e9)
    arguments = plan, sizes, 8, "ethernet", device, "float32"
    apart = play_step(*arguments, local_steps=h)
    assert predict_local(*arguments, local_steps=h) == pytest.approx(apart, rel=0.05)
    if h > 1:
        assert apart < play_step(*arguments)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_training_goes_on_from_its_checkpoint_under_another_plan_of_each_copy(tmp_path: Any, dtype: str) -> None:
    sizes = GPTSizes(context=8, hidden=16, layers=2)

    def trained(plan: Plan, steps: int, folder: Any) -> list[float]:
        def program(comm: Any) -> list[float]:
            return train(
                comm, plan, sizes=sizes, batch=4, steps=steps, local_steps=2, folder=folder, save_every=2, dtype=dtype
            ).losses

        found = ranks.run(program, plan.ranks).results
        assert all(each == found[0] for each in found)
        return found[0]

    whole = trained(Plan(dp=2), 5, tmp_path / "whole")
    trained(Plan(dp=2), 2, tmp_path / "parts")
    again = trained(Plan(dp=2, tp=2, zero=1), 5, tmp_path / "parts")
    assert_allclose(again, whole, rtol=1e-9 if dtype == "float64" else 3e-3)
    (tmp_path / "parts" / "copy-0-of-2").rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match="checkpoints of copies after 0 and after"):
        trained(Plan(dp=2), 6, tmp_path / "parts")


def test_a_folder_of_another_number_of_copies_is_refused(tmp_path: Any) -> None:
    """It held no checkpoint of these copies, so training would begin anew without a word."""

    def trained(copies: int, local_steps: int | None) -> None:
        keywords: Any = {"sizes": SMALL, "batch": 3, "steps": 1, "folder": tmp_path, "local_steps": local_steps}
        ranks.run(lambda comm: train(comm, Plan(dp=copies), **keywords), copies)

    trained(2, 1)
    trained(2, 1)
    with pytest.raises(CheckpointError, match="checkpoints of 2 copies that train apart, expected 3 copies"):
        trained(3, 1)
    with pytest.raises(CheckpointError, match=r"checkpoints of 2 copies .* expected a training without local_steps"):
        trained(2, None)
    for each in tmp_path.iterdir():
        each.rename(tmp_path / f"old-{each.name}")
    trained(2, None)
    with pytest.raises(CheckpointError, match="checkpoints of a training without local_steps, expected 2 copies"):
        trained(2, 1)


def test_a_loss_that_is_not_finite_on_one_copy_ends_all() -> None:
    def program(comm: Any) -> str:
        with np.errstate(all="ignore"):
            rate = SGD(rate=lambda step: 1e200 if comm.rank == 0 else 0.0)
            with pytest.raises(FloatingPointError) as caught:
                train(comm, Plan(dp=2), sizes=SMALL, batch=2, steps=4, optimizer=rate, local_steps=4, outer=AVERAGE)
            return str(caught.value)

    first, second = ranks.run(program, 2).results
    assert first.startswith("train: got loss")
    assert "another copy" in second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"local_steps": 0}, "local_steps=0, expected a whole number from 1 up"),
        ({"local_steps": 2, "outer": SGD}, "expected an optimiser"),
        ({"outer": AVERAGE}, "outer without local_steps"),
        ({"local_steps": 2, "batch": 1}, "a batch of 1 for 2 copies"),
        ({"local_steps": 2, "dropout": 0.1}, "no dropout"),
        ({"local_steps": 2, "dtype": "float16"}, "a fixed one"),
        ({"local_steps": 2, "save_every": 3, "folder": "x"}, "save_every=3 with local_steps=2, expected a multiple"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        ranks.run(lambda comm: train(comm, Plan(dp=2), **options), 2)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="SGD: got nesterov without momentum, expected both"):
        SGD(nesterov=True)
