"""Training a mixture of experts: under every plan what one rank makes of it, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ranks
from training import SGD, Plan, Trainer, train
from training_claims import DROPLESS, LIMITED, SMALL, Case, claim_equals_one_rank

ALL = replace(DROPLESS, experts=2, balance=0.0)
EACH = [
    Plan(microbatches=3), Plan(dp=5, ep=5), Plan(dp=2, ep=2), Plan(dp=4, ep=2, zero=1),
    Plan(dp=3, ep=3, zero=2, microbatches=2), Plan(dp=4, ep=2, zero=3, microbatches=2), Plan(tp=3),
    Plan(tp=2, sp=True), Plan(cp=3), Plan(cp=2, context="ulysses"),
    Plan(pp=2, microbatches=3, schedule="zb-h2"), Plan(dp=2, ep=2, cp=2, zero=3),
    Plan(dp=2, ep=2, tp=2, sp=True, zero=1), Plan(dp=2, ep=2, pp=2, microbatches=4, schedule="zb-v", zero=2),
    Plan(dp=2, ep=2, pp=2, microbatches=4, schedule="dualpipe"), Plan(dp=2, ep=2, tp=2, recompute="full"),
    Plan(dp=2, ep=2, tp=2, sp=True, recompute="selective"), Plan(dp=2, ep=2, cp=2, tp=2, microbatches=2),
    Plan(dp=2, ep=2, pp=2, chunks=2, microbatches=2, schedule="interleaved"),
]  # fmt: skip


@pytest.mark.parametrize("plan", EACH, ids=str)
def test_experts_train_as_on_one_rank(plan: Plan) -> None:
    models = [sizes for sizes in (DROPLESS, LIMITED, ALL) if plan.ep <= sizes.experts]
    case = Case(models[EACH.index(plan) % len(models)])
    ranks.run(lambda comm: claim_equals_one_rank(comm, plan, case), plan.ranks)


def test_a_block_has_a_router_its_experts_and_an_mlp_only_if_some_are_shared() -> None:
    h, names = SMALL.hidden, ("w_router", "w_up", "b_up", "w_down", "b_down")
    for sizes, shapes in (
        (SMALL, (None, (h, 19), (19,), (19, h), (h,))),
        (DROPLESS, ((h, 5), None, None, None, None)),
        (LIMITED, ((h, 3), (h, 14), (14,), (14, h), (h,))),
    ):
        units = sizes.units()
        assert tuple(units["block.1"].get(name) for name in names) == shapes
        experts = units.get("block.1.experts", {})
        assert len(experts) == 2 * sizes.experts
        assert {shape for name, shape in experts.items() if "up" in name} <= {(h, sizes.ffn)}
        assert {shape for name, shape in experts.items() if "down" in name} <= {(sizes.ffn, h)}
    per_block = 2 * 5 * h * 19 + 5 * h - (2 * h * 19 + 19 + h)  # five experts and their router for an MLP with biases
    assert DROPLESS.n_parameters == replace(SMALL, layers=4).n_parameters + 4 * per_block


def test_losses_are_without_those_of_routers_which_stand_beside_them() -> None:
    def history(comm: Any, **changed: Any) -> Any:
        return train(comm, sizes=replace(DROPLESS, **changed), steps=1, batch=4)

    both, balance, neither = (
        ranks.run(lambda comm, changed=changed: history(comm, **changed), 1).results[0]
        for changed in ({}, {"z_loss": 0.0}, {"z_loss": 0.0, "balance": 0.0})
    )
    assert both.losses == balance.losses == neither.losses
    # As training begins all experts are about as probable: E sum f P is 1, and the norm of their logits log E.
    assert balance.auxiliary[0] == pytest.approx(DROPLESS.layers * 0.5, rel=1e-2)
    assert both.auxiliary[0] - balance.auxiliary[0] == pytest.approx(DROPLESS.layers * 0.1 * np.log(5) ** 2, rel=1e-2)
    assert neither.auxiliary == [0.0]


def test_gradients_of_routers_losses_are_scaled_with_the_others() -> None:
    plan = Plan(dp=2, ep=2)
    keywords = {"sizes": LIMITED, "steps": 2, "batch": 4}
    plain, scaled = (
        ranks.run(lambda comm, s=scale: train(comm, plan, loss_scale=s, **keywords), 2).results[0]
        for scale in (1.0, 64.0)
    )
    assert (plain.losses, plain.grad_norms) == (scaled.losses, scaled.grad_norms)  # 64 is a power of two


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_experts_train_in_16_bits(dtype: str) -> None:
    plan = Plan(dp=2, ep=2, tp=2, zero=2)
    keywords = {"sizes": LIMITED, "steps": 3, "batch": 4}
    exact, rough = (
        ranks.run(lambda comm, dtype=each: train(comm, plan, dtype=dtype, **keywords), 4).results[0]
        for each in ("float64", dtype)
    )
    np.testing.assert_allclose(rough.losses, exact.losses, rtol=1e-2)
    np.testing.assert_allclose(rough.auxiliary, exact.auxiliary, rtol=5e-2)


def test_checkpoints_go_on_between_plans_with_and_without_ep(tmp_path: Any) -> None:
    plans = [Plan(dp=2, ep=2, tp=2, zero=3), Plan(), Plan(dp=3, ep=3, zero=1), Plan(dp=2, pp=2, microbatches=2, zero=2)]
    keywords = {"sizes": LIMITED, "batch": 6, "seed": 3}
    whole = ranks.run(lambda comm: train(comm, steps=len(plans), **keywords), 1).results[0]
    for steps, plan in enumerate(plans, 1):
        run = ranks.run(
            lambda comm, plan=plan, n=steps: train(comm, plan, steps=n, folder=tmp_path, **keywords), plan.ranks
        )
    for name in ("losses", "grad_norms", "auxiliary"):
        np.testing.assert_allclose(getattr(run.results[0], name), getattr(whole, name), rtol=1e-10)


def test_ranks_have_experts_of_their_own_and_the_optimiser_of_each_once() -> None:
    def sizes_of(comm: Any, plan: Plan) -> dict[str, tuple[int, int]]:
        trainer = Trainer(comm, plan, sizes=DROPLESS, batch=8, optimizer=SGD(momentum=0.9))
        return {unit: (state.n, state.moments["momentum"].size) for unit, state in trainer.states.items()}

    expert = 2 * DROPLESS.hidden * DROPLESS.ffn
    found = ranks.run(sizes_of, 8, Plan(dp=8, ep=4, zero=1)).results
    for rank, each in enumerate(found):
        n = (2, 1, 1, 1)[rank % 4] * expert
        assert each["block.0.experts"] == (n, n // 2)
        assert each["block.0"][0] == found[0]["block.0"][0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Plan(dp=4, ep=3), "Plan: got ep=3 for dp=4, expected ep that divides dp"),
        (lambda: Plan(ep=2), "Plan: got ep=2 for dp=1"),
        (lambda: Plan(dp=2, ep=2).check(2, SMALL, 4), "Plan: got ep=2 for a model without experts, expected ep=1"),
        (lambda: Plan(dp=6, ep=6).check(6, DROPLESS, 8), "Plan: got ep=6 for 5 experts, expected an expert for each"),
        (lambda: replace(DROPLESS, top_k=6), "Routing: got top_k=6 of 5 experts"),
        (lambda: replace(DROPLESS, experts=-1), "GPTSizes: got experts=-1, expected a whole number from 0 up"),
        (lambda: replace(SMALL, shared_experts=1), "GPTSizes: got shared_experts=1 without experts"),
        (lambda: replace(DROPLESS, capacity_factor="1"), "Routing: got capacity_factor='1'"),
    ],
)  # fmt: skip
def test_experts_that_do_not_fit_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*; remedy: "):
        make()
