"""What a step sends and what ranks hold in memory: formulas of plan and sizes against what simulated ranks count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ranks
from parallel.costs import saved_elements
from training import SGD, GPTSizes, Ledger, Plan, Trainer
from training.costs import model_state, step_memory, step_traffic
from training.costs.memory import activations
from training.costs.share import Share
from training.pipeline.costs import messages, peak_activations
from training.precision import Widths, widths_of
from training_claims import SMALL, plans

BATCH = 11  # uneven over ranks and microbatches
SMOOTHING = 0.1
OTHER = GPTSizes(vocab=5, context=7, hidden=10, heads=5, kv_heads=1, ffn=7, layers=4)
EACH = [
    Plan(), Plan(dp=3), Plan(dp=3, zero=1), Plan(dp=2, zero=2, microbatches=3), Plan(dp=3, zero=3, microbatches=2),
    Plan(tp=2), Plan(tp=4, zero=3), Plan(tp=4, sp=True), Plan(tp=5, sp=True, zero=2), Plan(cp=3), Plan(cp=4, tp=1),
    Plan(cp=3, context="ulysses"), Plan(cp=4, context="ulysses"), Plan(cp=2, tp=2, context="ulysses", sp=True),
    Plan(cp=2, tp=4), Plan(pp=3, microbatches=4, schedule="gpipe"), Plan(pp=3, microbatches=5),
    Plan(pp=2, microbatches=4, chunks=2, schedule="interleaved"), Plan(pp=2, microbatches=4, schedule="zb-h1"),
    Plan(pp=2, microbatches=5, schedule="zb-h2"), Plan(pp=2, microbatches=4, chunks=2, schedule="breadth-first"),
    Plan(dp=2, pp=2, microbatches=4, schedule="zb-v", zero=3), Plan(pp=2, microbatches=5, schedule="dualpipe-v"),
    Plan(dp=2, pp=2, tp=2, microbatches=4, schedule="dualpipe-v", zero=2, sp=True),
    Plan(pp=4, microbatches=4, schedule="dualpipe", zero=1),
]  # fmt: skip
AGAIN = [replace(plan, recompute=("selective", "full")[i % 2]) for i, plan in enumerate(EACH[1::2])]


def step(comm: Any, plan: Plan, sizes: GPTSizes, dtype: str, steps: int) -> tuple[Ledger, Any]:
    """Train for some steps; return what this rank held in the last one, and what it sent to experts."""
    # Dropout neither sends nor keeps anything; smoothing sends more.
    shares = {"dropout": 0.3, "label_smoothing": SMOOTHING} if plan.recompute != "none" else {}
    trainer = Trainer(comm, plan, sizes=sizes, batch=BATCH, dtype=dtype, **shares)
    ledger = Ledger()
    for _ in range(steps):
        trainer.listen(ledger := Ledger())
        trainer.step()
    return ledger, trainer.routed() if steps else None


def claim_costs_are_as_predicted(plan: Plan, sizes: GPTSizes, dtype: str) -> None:
    """Messages, bytes and memory of every rank, after every operation, are those of the formulas."""
    before, after = (ranks.run(step, plan.ranks, plan, sizes, dtype, steps) for steps in (0, 1))
    smoothing = SMOOTHING if plan.recompute != "none" else 0.0
    ledgers, routed = zip(*after.results, strict=True)
    sent = step_traffic(plan, sizes, BATCH, dtype, smoothing, routed)
    assert [b - a for a, b in zip(before.sends, after.sends, strict=True)] == [each.messages for each in sent]
    assert [b - a for a, b in zip(before.bytes_sent, after.bytes_sent, strict=True)] == [each.n_bytes for each in sent]
    for ledger, expected in zip(ledgers, step_memory(plan, sizes, BATCH, dtype, routed=routed), strict=True):
        for counted, predicted in zip(ledger.moments, expected.moments, strict=True):
            assert counted == predicted
        assert ledger.peak == expected.peak


@pytest.mark.parametrize("plan", [*EACH, *AGAIN], ids=str)
def test_a_step_costs_what_formulas_say(plan: Plan) -> None:
    claim_costs_are_as_predicted(plan, SMALL, "bfloat16")


@pytest.mark.parametrize("plan", [*plans(4, OTHER), *plans(6, OTHER)][::3], ids=str)
def test_a_step_of_another_model_costs_what_formulas_say(plan: Plan) -> None:
    claim_costs_are_as_predicted(plan, OTHER, "f8")


# K/V heads that serve unequal numbers of a rank's query heads: each of these gets one of its own to attend with.
UNEQUAL = GPTSizes(vocab=5, context=7, hidden=12, heads=6, kv_heads=3, ffn=7, layers=2)


@pytest.mark.parametrize(
    "plan",
    [Plan(tp=2), Plan(cp=2, tp=2), Plan(cp=2, context="ulysses"), Plan(cp=2, tp=2, context="ulysses", sp=True)],
    ids=str,
)
def test_a_step_with_groups_of_unequal_size_costs_what_formulas_say(plan: Plan) -> None:
    claim_costs_are_as_predicted(plan, UNEQUAL, "f4")


EXPERTS = replace(SMALL, layers=4, experts=5, capacity_factor=0.8)
SHARED = replace(SMALL, layers=4, experts=3, shared_experts=2, ffn=7, balance=0.0)
OF_EXPERTS = [
    Plan(), Plan(dp=2, ep=2), Plan(dp=4, ep=2, zero=1), Plan(dp=3, ep=3, zero=2, microbatches=2),
    Plan(dp=4, ep=2, zero=3, microbatches=2), Plan(cp=3), Plan(dp=2, ep=2, cp=2, zero=3), Plan(cp=2, context="ulysses"),
    Plan(dp=2, ep=2, tp=3, zero=2), Plan(dp=2, ep=2, tp=2, sp=True, recompute="selective"),
    Plan(dp=2, ep=2, cp=2, recompute="full"), Plan(dp=2, ep=2, pp=2, microbatches=3, schedule="zb-h2", zero=3),
    Plan(dp=2, ep=2, pp=2, microbatches=4, schedule="dualpipe"),
]  # fmt: skip


@pytest.mark.parametrize("plan", OF_EXPERTS, ids=str)
def test_a_step_with_experts_costs_what_formulas_say_of_what_was_routed(plan: Plan) -> None:
    claim_costs_are_as_predicted(plan, EXPERTS, "bfloat16")
    claim_costs_are_as_predicted(plan, SHARED, "f8")


def test_experts_that_are_asked_for_alike_need_no_counting() -> None:
    sizes, plan = replace(EXPERTS, experts=3, top_k=3, capacity_factor=None), Plan(dp=3, ep=3, cp=2, microbatches=2)
    routed = [routed for _, routed in ranks.run(step, 6, plan, sizes, "f8", 1).results]
    assert step_traffic(plan, sizes, BATCH, "f8") == step_traffic(plan, sizes, BATCH, "f8", 0.0, routed)
    held, counted = (step_memory(plan, sizes, BATCH, "f8", routed=each) for each in (None, routed))
    assert [each.moments for each in held] == [each.moments for each in counted]


@pytest.mark.parametrize(("ep", "factor"), [(2, None), (4, None), (4, 1.25), (8, 0.5)])
def test_all_to_alls_of_balanced_experts_send_what_papers_say(ep: int, factor: float | None) -> None:
    k, n, h, layers = 2, 16, 16, 8
    sizes = replace(EVEN, experts=8, top_k=k, capacity_factor=factor, balance=0.0)
    for each in step_traffic(Plan(dp=ep, ep=ep), sizes, ep, 4):
        rows = min(k * n, 8 * sizes.routing.capacity(n)) if factor else k * n  # of a sequence, over all experts
        counts = 8 * (8 - 8 // ep)
        assert each.bytes_of["experts"] == layers * (4 * rows * h * (ep - 1) // ep * 4 + counts)
        assert each.messages_of["experts"] == layers * 5 * (ep - 1)


def test_the_second_step_holds_what_the_first_did() -> None:
    plan = Plan(pp=2, microbatches=3, schedule="zb-h1")
    once, twice = (ranks.run(step, 2, plan, SMALL, "f8", steps).results for steps in (1, 2))
    assert [each.moments for each, _ in once] == [each.moments for each, _ in twice]


# -- formulas against those of papers -------------------------------------------------------------------------------

EVEN = GPTSizes(vocab=16, context=16, hidden=16, heads=8, kv_heads=8, ffn=32, layers=8)


@pytest.mark.parametrize("d", [2, 4, 8])
def test_data_parallel_traffic_is_that_of_the_table(d: int) -> None:
    g, n, table = 3, EVEN.n_parameters, EVEN.vocab * EVEN.hidden
    positions = EVEN.context * EVEN.hidden
    # The table serves twice, so it has two gradients a microbatch, and is gathered once for the vectors and twice for
    # the head. Positions are looked up once, and their gradient needs no parameters.
    expected = [2 * n, 2 * n, (g + 1) * n + g * table, g * (3 * n + 2 * table - positions)]
    for zero, numbers in enumerate(expected):
        for each in step_traffic(Plan(dp=d, zero=zero, microbatches=g), EVEN, 3 * d, 4):
            assert each.bytes_of["data"] == numbers * (d - 1) * 4 // d
            assert each.n_bytes == each.bytes_of["data"] + each.bytes_of["loss"]


def test_pipeline_messages_are_those_of_the_schedules() -> None:
    for name, p, chunks in (("gpipe", 4, 1), ("1f1b", 3, 1), ("interleaved", 2, 3), ("zb-v", 4, 1), ("dualpipe", 4, 1)):
        plan = Plan(pp=p, microbatches=8, chunks=chunks, schedule=name)
        sent = step_traffic(plan, EVEN, 8, 4)
        assert sum(each.messages_of["pipeline"] for each in sent) == messages(name, p, 8, chunks)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_activations_of_a_block_are_those_of_parallel(p: int) -> None:
    ways = {"ring": Plan(cp=p), "ulysses": Plan(cp=p, context="ulysses"), "tensor_parallel": Plan(tp=p)}
    for strategy, plan in ways.items() if p > 1 else [("ring", Plan())]:
        share = Share.of(plan, EVEN, 3, 0)
        assert activations(share, "block.0", 3) == saved_elements(EVEN.block, 3 * EVEN.context, p, strategy)


@pytest.mark.parametrize(("name", "p", "chunks"), [("gpipe", 4, 1), ("1f1b", 4, 1), ("interleaved", 4, 2)])
def test_a_rank_keeps_as_many_activations_as_its_schedule_says(name: str, p: int, chunks: int) -> None:
    plan = Plan(pp=p, microbatches=8, schedule=name, chunks=chunks)
    of_stage = EVEN.layers // (p * chunks) * activations(Share.of(plan, EVEN, 8, 0), "block.0", 1) * 8
    memory = step_memory(plan, EVEN, 8, 8)
    for rank in range(p - 1):  # the last one has the head too
        most = max(each.held["activations"] for each in memory[rank].moments)
        assert most == peak_activations(name, p, 8, chunks)[rank] * of_stage


def test_bytes_of_model_state_are_those_of_the_paper() -> None:
    n, d, of_paper = 7.5e9, 64, Widths(compute=2, sums=2, master=4, moment=4)

    def in_gb(dtype: Any) -> list[float]:
        return [sum(model_state(n, n / d, zero, dtype).values()) / 1e9 for zero in range(4)]

    assert [round(each, 1) for each in in_gb(of_paper)] == [120.0, 31.4, 16.6, 1.9]
    for got, bytes_ in zip(in_gb("bfloat16"), (18, 6 + 12 / d, 2 + 16 / d, 18 / d), strict=True):
        assert got == pytest.approx(n * bytes_ / 1e9)
    assert in_gb("float32") == pytest.approx([n * bytes_ / 1e9 for bytes_ in (16, 8 + 8 / d, 4 + 12 / d, 16 / d)])


def test_activations_take_half_in_16_bits_but_for_statistics() -> None:
    share = Share.of(Plan(), EVEN, 3, 0)
    for layer, in_float32 in (("embedding", 0), ("block.0", 2 + EVEN.heads), ("head", 1)):
        numbers = activations(share, layer, 3)
        statistics = in_float32 * 3 * EVEN.context
        assert activations(share, layer, 3, widths_of("float16")) == 2 * numbers + 2 * statistics


def test_model_state_by_stage_of_zero() -> None:
    n, d = EVEN.n_parameters, 4
    held = [step_memory(Plan(dp=d, zero=zero), EVEN, d, 8)[0].peak for zero in range(4)]
    kinds = ("parameters", "gradients", "optimiser")
    expected = [(n, n, 2 * n), (n, n, 2 * n // d), (n, n // d, 2 * n // d), (n // d, n // d, 2 * n // d)]
    assert [tuple(each[kind] // 8 for kind in kinds) for each in held] == expected
    without = step_memory(Plan(), EVEN, d, 8, moments=len(SGD().moments))[0]
    assert without.peak["optimiser"] == 0


# -- the ledger -------------------------------------------------------------------------------------------------------


def test_a_ledger_sees_arrays_go() -> None:
    ledger, x = Ledger(), np.zeros(4)
    ledger.note("activations", (x[1:], {"again": x}))
    assert ledger.held["activations"] == 32
    ledger.note("waiting", [x.reshape(2, 2), y := np.zeros(1)])
    assert (ledger.held["activations"], ledger.held["waiting"]) == (0, 40)
    del x
    assert (ledger.held["waiting"], ledger.peak_bytes) == (8, 40)
    ledger.note("parameters", y)
    ledger.note("gathered", y)
    assert (ledger.held["parameters"], ledger.held["gathered"]) == (8, 0)
