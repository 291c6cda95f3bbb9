"""Recomputation trades work for memory: the same bits, fewer activations, and as many products more as formulas say."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import ranks
from experiments.lab.changing import changed
from training import Ledger, Plan, Trainer
from training.costs import step_memory
from training.pipeline import SCHEDULES
from training.plan import RECOMPUTE
from training_claims import SMALL, Case, trained

PLANS = [
    Plan(), Plan(tp=3), Plan(tp=2, sp=True, dp=2, zero=3), Plan(cp=2, tp=2), Plan(cp=3, context="ulysses", zero=2),
    *[Plan(pp=2, microbatches=4, schedule=name) for name in SCHEDULES if name not in ("interleaved", "breadth-first")],
    Plan(pp=2, microbatches=2, schedule="interleaved", chunks=2),
]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_bits_are_those_without(plan: Plan) -> None:
    dtype = ("float32", "float64", "bfloat16", "float16")[PLANS.index(plan) % 4]
    case = Case(dtype=dtype)
    without, *others = (
        ranks.run(lambda comm, each=each: trained(comm, replace(plan, recompute=each), case), plan.ranks).results
        for each in RECOMPUTE
    )
    for found in others:
        for (history, parameters), (history_without, parameters_without) in zip(found, without, strict=True):
            assert history == history_without
            assert all((parameters[name] == each).all() for name, each in parameters_without.items())


def products(recompute: str) -> tuple[int, int]:
    """Return the FLOPs of all products with matrices of blocks in a step, and those of a forward by formula."""
    counted, plan = [0], Plan(recompute=recompute, microbatches=2, schedule="zb-h1")

    def counting(factor: Any) -> Any:
        def make(original: Any) -> Any:
            def product(a: Any, b: Any, *bias: Any) -> Any:
                counted[0] += factor(a, b)
                return original(a, b, *bias)

            return product

        return make

    with changed(
        import_module("parallel.block"),
        linear=counting(lambda x, w: 2 * x.size * w.shape[1]),
        linear_input_backward=counting(lambda w, d_y: 2 * d_y.size * w.shape[0]),
        linear_weight_backward=counting(lambda x, d_y: 2 * x.size * d_y.shape[2]),
    ):
        ranks.run(lambda comm: Trainer(comm, plan, sizes=SMALL, batch=4).step(), 1)
    matrices = [shape for shape in SMALL.units()["block.0"].values() if len(shape) == 2]
    return counted[0], 2 * SMALL.layers * sum(rows * columns for rows, columns in matrices) * 4 * SMALL.context


def test_six_flops_a_parameter_and_token_become_eight() -> None:
    found = {each: products(each) for each in RECOMPUTE}
    assert {each: flops / forward for each, (flops, forward) in found.items()} == {
        "none": 3, "selective": 3, "full": 4,
    }  # fmt: skip


def held_after_forward(recompute: str) -> int:
    """Return the bytes that a rank of the middle of a pipeline keeps of a microbatch after its forward."""

    def program(comm: Any) -> int:
        trainer = Trainer(comm, Plan(pp=5, recompute=recompute), sizes=SMALL, batch=3, dtype=np.float32)
        trainer.listen(ledger := Ledger())
        trainer.step()
        return ledger.moments[0].held["activations"]

    return int(ranks.run(program, 5).results[2])


def test_a_block_keeps_what_the_papers_say() -> None:
    tokens, h, f = 3 * SMALL.context, SMALL.hidden, SMALL.ffn
    assert held_after_forward("full") == 4 * tokens * h  # "2sbh" of a paper that counts two bytes a number
    assert held_after_forward("none") - held_after_forward("selective") == 4 * tokens * (2 * h + f)


def test_a_step_holds_less_at_its_peak() -> None:
    plan = Plan(pp=2, microbatches=4, schedule="gpipe")
    peaks = [step_memory(replace(plan, recompute=each), SMALL, 8, 8)[0].peak_bytes for each in RECOMPUTE]
    assert peaks == sorted(peaks, reverse=True)
    assert len({*peaks}) == 3
