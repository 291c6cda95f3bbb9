"""The scale of the loss: an overflow on any rank skips the step on all, and checkpoints carry the scale on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
import training.trainer
from mixed_training import OPTIMIZER, TINY, trained, trainer_of
from parallel.precision import BFLOAT16
from training import (
    Batch,
    CheckpointError,
    DynamicScale,
    GPTSizes,
    History,
    Plan,
    Trainer,
    load_checkpoint,
    save_checkpoint,
    train,
    whole_parameters,
)


def claim_alike(found: Any, expected: Any) -> None:
    """Losses, norms, scales, skips and parameters are the same to the last bit."""
    assert found[0] == expected[0]
    for name, each in expected[1].items():
        assert (found[1][name] == each).all(), name


@pytest.mark.parametrize("plan", [Plan(), Plan(dp=2, zero=2, microbatches=2), Plan(tp=2, pp=2)], ids=str)
@pytest.mark.parametrize(
    ("sizes", "power"),
    [(TINY, 0.25), (replace(TINY, experts=3, z_loss=0.1, balance=0.5), 2.0**12)],
    ids=["dense", "experts"],
)
def test_a_power_of_two_changes_nothing_in_float32(plan: Plan, sizes: GPTSizes, power: float) -> None:
    """Gradients are unscaled before their norm is taken and clipped: here all of them are. Routers' are scaled, too."""
    scaled, plain = (trained(plan, sizes=sizes, dtype="float32", loss_scale=scale) for scale in (power, 1))
    assert min(plain[0].grad_norms) > OPTIMIZER.clip
    claim_alike((replace_scales(scaled[0]), scaled[1]), (replace_scales(plain[0]), plain[1]))


def replace_scales(history: History) -> History:
    """Return a history without its scales."""
    return replace(history, scales=[])


def same_batch(seed: int, step: int, *about: int) -> Batch:
    """Return the batch of the first step, in each step."""
    return training.trainer.text_batch(seed, 1, *about)


def test_skipped_steps_are_as_if_they_had_not_been() -> None:
    """Neither parameters nor moments change, and Adam counts only steps that were done."""
    keywords: dict[str, Any] = {"dtype": "float16", "data": same_batch}
    found, parameters = trained(Plan(dp=2), 7, loss_scale=DynamicScale(2.0**24), **keywords)
    skipped = len(found.skipped)
    assert found.skipped == [*range(1, skipped + 1)]
    assert 1 <= skipped < 6
    assert found.scales == [2.0 ** (24 - min(i, skipped)) for i in range(7)]
    assert found.grad_norms[:skipped] == [np.inf] * skipped
    expected, of_one = trained(Plan(dp=2), 7 - skipped, loss_scale=found.scales[-1], **keywords)
    assert found.losses[skipped:] == expected.losses
    assert found.grad_norms[skipped:] == expected.grad_norms
    claim_alike((expected, parameters), (expected, of_one))


def broken_on(rank: int, step: int, trainer: Trainer) -> None:
    """Let one number of a gradient of the activations overflow on one rank in one step."""
    if trainer.comm.rank != rank:
        return
    layer = next(layers[-1] for layers in trainer.stages.values())
    healthy: Any = layer.input_backward

    def input_backward(states: Any, saved: Any, d_y: Any) -> Any:
        d_x, left = healthy(states, saved, d_y)
        if len(trainer.history.losses) + 1 == step:
            d_x[0, 0, 0] = np.inf
        return d_x, left

    layer.input_backward = input_backward  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "plan",
    [Plan(dp=3, zero=zero) for zero in range(4)]
    + [Plan(tp=2), Plan(tp=2, sp=True), Plan(cp=2), Plan(pp=2, microbatches=2), Plan(dp=2, pp=2, zero=1), Plan()],
    ids=str,
)
def test_an_overflow_on_one_rank_skips_the_step_on_all(plan: Plan) -> None:
    broken = (plan.zero + plan.pp) % plan.ranks  # the first rank, the last, or one between

    def program(comm: Any) -> tuple[list[int], list[float]]:
        trainer = trainer_of(comm, plan, dtype="float16", loss_scale=DynamicScale(1024.0, every=2))
        broken_on(broken, 3, trainer)
        for _ in range(2):
            trainer.step()
        before = {unit: (state.x.copy(), copies(state)) for unit, state in trainer.states.items()}
        trainer.step()
        for unit, (x, kept) in before.items():
            state = trainer.states[unit]
            assert (state.x == x).all()
            assert all((each == kept[name]).all() for name, each in state.updated_arrays().items())
        trainer.step()
        assert any((trainer.states[unit].x != x).any() for unit, (x, _) in before.items())
        return trainer.history.skipped, trainer.history.scales

    # Doubled after two steps without an overflow, halved after one.
    assert ranks.run(program, plan.ranks).results == [([3], [1024.0, 1024.0, 2048.0, 1024.0])] * plan.ranks


def copies(state: Any) -> dict[str, np.ndarray]:
    return {name: each.copy() for name, each in state.updated_arrays().items()}


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=20))
def test_scales_follow_overflows(every: int, overflows: list[bool]) -> None:
    scaling, scales, scale, healthy = DynamicScale(64.0, every), [64.0], 64.0, 0
    for overflowed in overflows:  # with a counter, as it is told in papers
        healthy = 0 if overflowed else healthy + 1
        if overflowed:
            scale /= 2
        elif healthy == every:
            scale, healthy = scale * 2, 0
        scales.append(scaling.after(scales, overflowed))
        assert scales[-1] == scale
    assert scaling.after([2.0**24] * every, False) == 2.0**24


def test_what_no_scale_can_help_is_an_error_before_anything_changes() -> None:
    cases: list[tuple[dict[str, Any], bool, str]] = [
        ({"dtype": "float16", "loss_scale": 4.0}, False, "gradient norm nan .*; remedy: lower loss_scale, which is 4;"),
        ({"dtype": "float16", "loss_scale": DynamicScale(1.0)}, False, "gradient norm nan .*; remedy: lower the lear"),
        ({"dtype": "float16"}, True, "loss nan, gradient norm nan in step 1, .*; remedy: lower the learning rate"),
        ({"dtype": "bfloat16"}, True, "loss nan, gradient norm nan in step 1, .*; parameters are as before the step"),
    ]
    for keywords, in_forward, match in cases:

        def program(comm: Any) -> None:
            trainer = trainer_of(comm, Plan(dp=2), **keywords)  # noqa: B023
            if in_forward:  # noqa: B023
                trainer.states["block.0"].x[:1] = np.nan
            else:
                broken_on(1, 1, trainer)
            before = {unit: copies(state) for unit, state in trainer.states.items()}
            with pytest.raises(FloatingPointError, match=f"train: got .*{match}"):  # noqa: B023
                trainer.step()
            for unit, kept in before.items():
                assert all((each == kept[name]).all() for name, each in trainer.states[unit].updated_arrays().items())
            assert trainer.history == History()

        ranks.run(program, 2)


# -- checkpoints ------------------------------------------------------------------------------------------------------

OVERFLOWING = {"dtype": "float16", "loss_scale": DynamicScale(2.0**23, every=2), "sizes": TINY, "seed": 1}


@pytest.mark.parametrize("there", [Plan(dp=2, zero=3, microbatches=1), Plan(pp=2, tp=2), Plan(cp=2, zero=1)], ids=str)
def test_a_loss_scale_goes_on_under_another_plan(there: Plan, tmp_path: Any) -> None:
    here = Plan(dp=2)

    def first(comm: Any) -> dict[str, np.ndarray]:
        trainer = trainer_of(comm, here, **OVERFLOWING)
        for _ in range(4):
            trainer.step()
        save_checkpoint(trainer, tmp_path)
        return whole_parameters(trainer)

    def second(comm: Any) -> tuple[History, float, dict[str, np.ndarray]]:
        trainer = trainer_of(comm, there, **OVERFLOWING)
        load_checkpoint(trainer, tmp_path)
        return trainer.history, trainer.scale, whole_parameters(trainer)

    saved = ranks.run(first, here.ranks).results[0]
    history, scale, loaded = ranks.run(second, there.ranks).results[-1]
    expected, _ = trained(here, 6, **OVERFLOWING)
    assert expected.skipped[:1] == [1]
    assert (history.losses, history.scales) == (expected.losses[:4], expected.scales[:4])
    assert history.skipped == [step for step in expected.skipped if step <= 4]
    assert scale == expected.scales[4]
    for name, each in saved.items():
        assert (loaded[name] == each).all()
    gone_on = ranks.run(lambda comm: train(comm, here, steps=6, folder=tmp_path, optimizer=OPTIMIZER, **OVERFLOWING), 2)
    assert gone_on.results[0] == expected


@pytest.mark.parametrize("way", [("float32", "bfloat16", "float16"), ("float16", "float32", "bfloat16")], ids=str)
def test_checkpoints_pass_between_dtypes_that_keep_float32(way: tuple[str, ...], tmp_path: Any) -> None:
    keywords: dict[str, Any] = {"sizes": TINY, "optimizer": OPTIMIZER, "seed": 1, "folder": tmp_path}
    for steps, dtype in enumerate(way, 1):
        history = ranks.run(lambda comm: train(comm, Plan(dp=2), steps=steps, dtype=dtype, **keywords), 2).results[0]  # noqa: B023
    assert len(history.losses) == 3
    assert history.scales == [2.0**16 if dtype == "float16" else 1.0 for dtype in way]
    wanted = "got dtype float32 in .*, expected float64, as this trainer has; .* with the dtype of the checkpoint"
    with pytest.raises(CheckpointError, match=wanted):
        ranks.run(lambda comm: train(comm, steps=4, dtype="float64", **keywords), 1)
    with pytest.raises(CheckpointError, match=r"got dtype float64 in .*, expected float32"):
        ranks.run(lambda comm: float64_then_bfloat16(comm, keywords | {"folder": tmp_path / "float64"}), 1)


def float64_then_bfloat16(comm: Any, keywords: dict[str, Any]) -> None:
    for dtype in ("float64", "bfloat16"):
        train(comm, steps=1, dtype=dtype, **keywords)


def test_names_of_dtypes() -> None:
    of = {name: trained(Plan(), 1, dtype=name)[0].losses for name in ("bfloat16", BFLOAT16.type, BFLOAT16)}
    assert len({*map(tuple, of.values())}) == 1
    assert trained(Plan(), 1, dtype=np.float16)[0] == trained(Plan(), 1, dtype="float16")[0]
