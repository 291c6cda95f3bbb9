"""Predicted steps: against the same steps played on simulated ranks, exact costs of memory, and all plans searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from statistics import median

import numpy as np
import pytest

import ranks
from collectives import CATALOGUE, Machine
from training import GPTSizes, Plan
from training.costs import step_memory, step_traffic
from training.pipeline import LOOPED, SCHEDULES
from training.plan import CONTEXTS
from training.planner import DEVICES, Device, Planner, best_plans, play_step, predict, sent_bytes
from training.planner.clock import order_of, run_of_sums
from training.planner.groups import group
from training.planner.predict import Prediction, _Predicted
from training.planner.search import Choices, _bounds, _enter, divisors, loads
from training_claims import SMALL

TINY = GPTSizes(context=32, hidden=32, heads=4, kv_heads=2, ffn=64, layers=4)
BATCH = 8
SLOW = Device("slow", 5e10, 1e9)  # computes for as long as it sends on these networks

ONE_WAY = [
    Plan(), Plan(dp=4), Plan(dp=3), Plan(dp=4, zero=1), Plan(dp=2, zero=2, microbatches=2),
    Plan(dp=2, zero=3, microbatches=2), Plan(tp=2), Plan(tp=4), Plan(tp=3), Plan(tp=4, sp=True), Plan(cp=2), Plan(cp=4),
    Plan(cp=4, context="ulysses"), Plan(cp=2, recompute="full"), Plan(pp=4, microbatches=4),
    Plan(pp=3, microbatches=8), Plan(pp=4, microbatches=8, schedule="gpipe"),
    Plan(pp=4, microbatches=8, schedule="zb-h1"), Plan(pp=2, microbatches=8, schedule="zb-h2"),
    Plan(pp=2, microbatches=8, schedule="zb-v"), Plan(pp=2, microbatches=4, schedule="interleaved", chunks=2),
    Plan(pp=2, microbatches=4, schedule="breadth-first", chunks=2),
    Plan(pp=2, microbatches=8, schedule="dualpipe-v", recompute="selective"),
    Plan(pp=2, microbatches=8, schedule="dualpipe"),
]  # fmt: skip
SEVERAL = [
    Plan(dp=2, tp=2), Plan(dp=2, cp=2, zero=1), Plan(dp=2, pp=2, microbatches=4, zero=1),
    Plan(tp=2, cp=2, sp=True), Plan(tp=2, pp=2, microbatches=4), Plan(cp=2, pp=2, microbatches=4, schedule="zb-h1"),
    Plan(dp=2, tp=2, pp=2, microbatches=4, sp=True), Plan(dp=2, tp=2, pp=2, microbatches=4, zero=2),
    Plan(dp=2, pp=2, microbatches=4, schedule="zb-v", zero=3, recompute="full"),
    Plan(dp=2, pp=2, chunks=2, microbatches=4, schedule="interleaved"),
]  # fmt: skip
CASES = [("infiniband", plan) for plan in ONE_WAY] + [
    (network, plan) for network in ("ethernet", "dgx-a100-shared") for plan in SEVERAL
]


@cache
def error(network: str, plan: Plan) -> float:
    """Return by which part of the played time the prediction is off."""
    predicted = predict(plan, TINY, BATCH, network, SLOW, "float32").time_ps
    return predicted / play_step(plan, TINY, BATCH, network, SLOW, "float32") - 1


@pytest.mark.parametrize(("network", "plan"), CASES, ids=str)
def test_a_prediction_is_near_what_is_played(network: str, plan: Plan) -> None:
    # Three ranks that share four heads wait for each other inside a layer; all others are within 2.1 %.
    assert abs(error(network, plan)) <= (0.07 if plan.tp == 3 else 0.025)


def test_sums_of_gradients_hold_up_messages_of_other_stages() -> None:
    """Passes of the first chunk go on while the gradients of the last one are summed, and ports are shared."""
    plan = Plan(dp=2, pp=2, schedule="breadth-first", chunks=2, microbatches=4)
    sizes, fast = replace(TINY, layers=8, hidden=64), replace(SLOW, flops_per_s=3e11)
    played = play_step(plan, sizes, 16, "ethernet", fast, "float32")
    assert predict(plan, sizes, 16, "ethernet", fast, "float32").time_ps == pytest.approx(played, rel=0.06)


def test_starting_the_sum_of_a_layer_keeps_its_rank_from_the_next_layer() -> None:
    """Where layers take as long as an overhead or two, eleven of them are a twentieth of the step."""
    sizes = GPTSizes(context=8, hidden=64, heads=8, kv_heads=4, ffn=128, layers=8)
    played = play_step(Plan(dp=2), sizes, 4, "dgx-h100", "toy")
    assert predict(Plan(dp=2), sizes, 4, "dgx-h100", "toy").time_ps == pytest.approx(played, rel=0.08)


def test_keys_values_and_their_gradients_share_ports_on_their_way_round_a_ring() -> None:
    sizes, fast = GPTSizes(context=256, ffn=64, layers=2), replace(SLOW, flops_per_s=2e11)
    played = play_step(Plan(cp=4), sizes, 2, "ethernet", fast, "float32")
    assert predict(Plan(cp=4), sizes, 2, "ethernet", fast, "float32").time_ps == pytest.approx(played, rel=0.02)


def test_the_median_error_is_below_one_percent() -> None:
    errors = [abs(error(*case)) for case in CASES]
    assert len(errors) >= 30
    assert median(errors) <= 0.01


MOE = replace(TINY, experts=4, top_k=2, shared_experts=1)


@pytest.mark.parametrize(
    "plan",
    [Plan(), Plan(dp=4, ep=2, zero=1), Plan(dp=2, ep=2, tp=2, sp=True), Plan(dp=2, ep=2, cp=2, recompute="full")],
    ids=str,
)
def test_experts_are_predicted_as_if_they_were_asked_for_alike(plan: Plan) -> None:
    predicted = predict(plan, MOE, BATCH, "ethernet", SLOW, "float32")
    played = play_step(plan, MOE, BATCH, "ethernet", SLOW, "float32")
    # They are not quite: who is asked for more often takes longer.
    assert 0.9 <= predicted.time_ps / played <= 1 + 1e-6
    exact = max(each.peak_bytes for each in step_memory(plan, MOE, BATCH, "float32"))
    assert predicted.memory == pytest.approx(exact, rel=0.03)


def test_alone_on_a_network_a_prediction_is_exact() -> None:
    for plan in (Plan(), Plan(recompute="full"), Plan(microbatches=4)):
        assert error("infiniband", plan) == pytest.approx(0, abs=1e-6)


def test_what_is_played_takes_the_time_of_the_products() -> None:
    """A device ten times as fast takes a tenth of the time, where nothing is sent."""
    fast, slow = (
        play_step(Plan(), TINY, BATCH, "infiniband", Device("d", speed, 1e9), "float32") for speed in (1e12, 1e11)
    )
    assert slow == pytest.approx(10 * fast, rel=1e-6)


# -- groups ----------------------------------------------------------------------------------------------------------

FUNCTIONS = {"allreduce": "allreduce_ps", "allgather": "allgather_ps", "reduce_scatter": "reduce_scatter_ps"}


@pytest.mark.parametrize("p", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("n", [0, 1, 6, 7_000, 10**7])
@pytest.mark.parametrize("network", ["infiniband", "ethernet", "alpha-beta"])
def test_collectives_on_equal_links_take_what_the_catalogue_says(network: str, n: int, p: int) -> None:
    machine = Machine.of(ranks.presets[network], p)
    for operation, method in FUNCTIONS.items():
        expected = CATALOGUE[operation]["ring"].cost(machine, n, 4).time_ps
        assert getattr(group(machine.network, p, p, 1), method)(n, 4) == expected


@pytest.mark.parametrize("p", [10, 16, 24])
@pytest.mark.parametrize("block", [10, 10_000, 60_000, 10**6])
@pytest.mark.parametrize("network", ["dgx-h100", "h100-100g"])
def test_collectives_across_nodes_take_nearly_what_the_catalogue_says(network: str, block: int, p: int) -> None:
    machine = Machine.of(ranks.presets[network], p)
    for operation, method in FUNCTIONS.items():
        expected = CATALOGUE[operation]["ring"].cost(machine, block * p, 1).expected_ps
        found = getattr(group(machine.network, p, p, 1), method)(block * p, 1)
        assert found == pytest.approx(expected, rel=0.08)


def test_links_are_those_that_a_mesh_has() -> None:
    dgx = ranks.presets["dgx-h100"]
    assert [group(dgx, 64, *each).far for each in ((8, 1), (8, 8), (16, 1), (16, 2), (4, 2), (3, 1))] == [
        0, 8, 2, 4, 0, 2,
    ]  # fmt: skip
    shared = ranks.presets["dgx-a100-shared"]
    # Eight ranks of a node send out at once; of a ring through all, one does.
    assert [group(shared, 64, *each).crowd for each in ((8, 8), (64, 1), (16, 2))] == [8, 1, 2]
    # Of each eight rings of three, two cross to another node, each with two hops.
    assert group(shared, 64, 3, 1).crowd == pytest.approx(4 / 3)


def test_ranks_with_the_same_experts_are_further_apart_than_those_with_the_same_layers() -> None:
    planner = Planner(MOE, BATCH, ranks.presets["dgx-h100"], SLOW, "float32", 16)
    sums = planner.sums(planner.layers(2, False, 1, "ring", "none", 2), 8, 0)
    assert (sums.data("block.0").p, sums.data("block.0").far) == (8, 2)
    assert (sums.data("block.0.experts").p, sums.data("block.0.experts").far) == (4, 2)  # 0, 4, 8 and 12


@pytest.mark.parametrize("schedule", ["zb-v", "dualpipe-v"])
def test_a_table_that_serves_twice_is_summed_after_both_ends(schedule: str) -> None:
    plan = Plan(dp=2, pp=2, schedule=schedule, microbatches=4)
    sizes = replace(TINY, vocab=50_000)  # its sum takes longer than all else
    predicted = _Predicted(Planner(sizes, BATCH, ranks.presets["ethernet"], SLOW, "float32", 4), plan)
    ends = predicted._ends()[0]
    assert set(ends) == {0, 3}
    assert predicted._summed(0, ends) >= max(ends.values()) + predicted.sums.sum_ps("table")


# -- the clock -------------------------------------------------------------------------------------------------------


def test_sums_wait_for_each_other_and_latencies_do_not() -> None:
    assert run_of_sums([]) == 0
    assert run_of_sums([(10, 5, 3)]) == 15
    assert run_of_sums([(0, 5, 3), (1, 5, 3), (2, 5, 3)]) == 9
    assert run_of_sums([(0, 3, 3), (10, 3, 3)]) == 13
    assert run_of_sums([(0, 100, 1), (1, 2, 1)]) == 100


LONG = [
    Plan(pp=pp, microbatches=m, schedule=name, chunks=chunks)
    for name, chunks in (("gpipe", 1), ("1f1b", 1), ("interleaved", 2), ("zb-h2", 1), ("zb-v", 1), ("dualpipe-v", 1))
    for pp, m in ((2, 64), (4, 48))
]


@pytest.mark.parametrize("plan", [Plan(microbatches=32), *LONG], ids=str)
def test_many_microbatches_take_what_few_of_them_show(plan: Plan) -> None:
    sizes = replace(TINY, layers=8)
    planner = Planner(
        sizes, 64 if plan.microbatches != 48 else 48, ranks.presets["infiniband"], SLOW, "float32", plan.ranks
    )
    short = _Predicted(planner, plan)
    assert short.is_long
    whole = _Predicted(planner, plan)
    whole.is_long, whole.order = False, order_of(plan.schedule, plan.pp, plan.microbatches, plan.chunks)
    assert short.prediction().time_ps == pytest.approx(whole.prediction().time_ps, rel=5e-3)
    assert short.memory() == pytest.approx(whole.memory(), rel=1e-3)


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [TINY, SMALL], ids=["tiny", "small"])
def test_memory_is_that_of_the_exact_count(sizes: GPTSizes) -> None:
    errors = []
    for plan in [*ONE_WAY, *SEVERAL]:
        exact = max(each.peak_bytes for each in step_memory(plan, sizes, BATCH, "float32"))
        errors.append(abs(predict(plan, sizes, BATCH, "infiniband", SLOW, "float32").memory / exact - 1))
    assert max(errors) <= 0.08  # of models so small that messages between stages are a tenth of all
    assert median(errors) <= 0.02


@pytest.mark.parametrize("plan", [*ONE_WAY[::3], *SEVERAL, Plan(pp=2, microbatches=8, schedule="dualpipe")], ids=str)
def test_bytes_are_those_of_the_rank_that_sends_most(plan: Plan) -> None:
    exact = max(each.n_bytes for each in step_traffic(plan, TINY, BATCH, "float32"))
    assert sent_bytes(plan, TINY, BATCH, "float32") == pytest.approx(exact, rel=0.02)
    if plan.tp == plan.dp == plan.cp == 1:
        assert sent_bytes(plan, TINY, BATCH, "float32") == exact


# -- the search ------------------------------------------------------------------------------------------------------


def every_plan(p: int, choices: Choices) -> list[Plan]:
    """Return all plans that a search considers, one by one."""
    found = []
    for tp in divisors(p):
        for cp in divisors(p // tp):
            for pp in divisors(p // tp // cp):
                dp = p // (tp * cp * pp)
                for m in divisors(BATCH // dp) if BATCH % dp == 0 else []:
                    for sp in {False, tp > 1}:
                        for schedule in choices.schedules if pp > 1 else ("1f1b",):
                            for zero in choices.zeros if dp * cp > 1 else (0,):
                                for recompute in choices.recompute:
                                    for context in choices.contexts if cp > 1 else ("ring",):
                                        plan = Plan(
                                            dp=dp, tp=tp, sp=sp, cp=cp, pp=pp, zero=zero, schedule=schedule,
                                            microbatches=m, context=context, recompute=recompute,
                                        )  # fmt: skip
                                        try:
                                            plan.check(p, TINY, BATCH)
                                        except ValueError:
                                            continue
                                        found.append(plan)
    return found


def even_plans(p: int, sizes: GPTSizes) -> Iterator[Plan]:
    """Yield all even cuts, and schedules that their papers describe, of p ranks; not all of them fit."""
    for tp, cp, pp, m, chunks in product(divisors(p), divisors(p), divisors(p), range(1, BATCH + 1), range(1, 5)):
        dp, left = divmod(p, tp * cp * pp)
        if left or sizes.heads % tp or BATCH % (dp * m):
            continue
        for schedule, context, sp in product(SCHEDULES, CONTEXTS, (False, True)):
            looped = schedule in LOOPED
            needless = (context != "ring" and cp == 1) or (sp and tp == 1) or (pp == 1 and schedule != "1f1b")
            tokens = (2 * cp if context == "ring" and cp > 1 else cp) * (tp if sp else 1)
            if needless or looped != (chunks > 1) or sizes.context % tokens or sizes.layers % chunks:
                continue
            if context == "ulysses" and sizes.heads % (tp * cp):
                continue
            if (looped and m % pp) or (schedule in ("zb-v", "dualpipe-v", "dualpipe") and m < 2 * pp):
                continue
            if schedule == "dualpipe" and (m % 2 or pp % 2):
                continue
            for ep, zero in product(divisors(dp), (0, 1, 2, 3) if dp * cp > 1 else (0,)):
                if ep == 1 or (sizes.experts and sizes.experts % ep == 0):
                    yield Plan(
                        dp=dp, tp=tp, sp=sp, cp=cp, pp=pp, ep=ep, zero=zero, schedule=schedule, chunks=chunks,
                        microbatches=m, context=context,
                    )  # fmt: skip


@pytest.mark.parametrize(("p", "sizes"), [(1, "TINY"), (4, "MOE"), (6, "TINY")])
def test_every_even_plan_that_is_accepted_is_searched_and_no_other(p: int, sizes: str) -> None:
    model = {"TINY": TINY, "MOE": MOE}[sizes]
    accepted = set()
    for plan in even_plans(p, model):
        try:
            plan.check(p, model, BATCH)
        except ValueError:
            continue
        accepted.add(plan)
    planner = Planner(model, BATCH, ranks.presets["ethernet"], replace(SLOW, memory=1e15), "float32", p)
    searched = [bound.plan() for bound in _bounds(planner, p, Choices(recompute=("none",)))]
    assert len(searched) == len(set(searched))
    assert set(searched) == accepted


@pytest.mark.parametrize("network", ["dgx-h100", "ethernet"])
@pytest.mark.parametrize("p", [4, 8])
def test_a_search_finds_what_trying_all_plans_finds(network: str, p: int) -> None:
    choices = Choices(schedules=("gpipe", "1f1b", "zb-h1", "zb-h2"), recompute=("none", "full"))
    planner = Planner(TINY, BATCH, ranks.presets[network], SLOW, "float32", p)
    every = sorted((planner.predict(plan) for plan in every_plan(p, choices)), key=lambda e: (e.time_ps, e.memory))
    found = best_plans(TINY, p, BATCH, network, SLOW, dtype="float32", keep=5, choices=choices)
    assert len(found.played) < len(every)
    assert [each.time_ps for each in found.best] == sorted({each.time_ps for each in every})[:5]
    front, least = [], np.inf
    for each in every:
        if each.memory < least and each.time_ps <= 2 * every[0].time_ps:
            front.append((each.time_ps, each.memory))
            least = each.memory
    assert [(each.time_ps, each.memory) for each in found.front] == front


@pytest.mark.parametrize("sizes", [TINY, MOE], ids=["dense", "experts"])
def test_no_plan_takes_less_than_its_bound(sizes: GPTSizes) -> None:
    planner = Planner(sizes, BATCH, ranks.presets["ethernet"], SLOW, "float32", 4)
    for bound in _bounds(planner, 4, Choices()):
        found = planner.predict(bound.plan())
        assert bound.time_ps <= found.time_ps * (1 + 1e-9)
        assert bound.memory <= found.memory


def test_a_search_knows_all_schedules_and_leaves_out_what_has_no_room() -> None:
    found = best_plans(TINY, 4, 64, "ethernet", SLOW, dtype="float32")
    tight = replace(SLOW, memory=found.best[0].memory * 0.9)
    fitting = best_plans(TINY, 4, 64, "ethernet", tight, dtype="float32")
    assert max(each.memory for each in fitting.best) <= tight.memory < found.best[0].memory
    assert fitting.best[0].time_ps > found.best[0].time_ps
    with pytest.raises(ValueError, match=r"best_plans: got 4 ranks, no plan of which fits into .*; remedy: "):
        best_plans(TINY, 4, 64, "ethernet", replace(SLOW, memory=1e4), dtype="float32")


def test_of_plans_that_take_as_long_the_one_that_holds_least_is_among_the_best() -> None:
    best: list[Prediction] = []
    for time_ps, memory in ((5, 2), (5, 1), (5, 3), (4, 9), (6, 1)):
        _enter(best, Prediction(Plan(), time_ps, 0, 0, memory, 0), 2)
    assert [(each.time_ps, each.memory) for each in best] == [(4, 9), (5, 1)]


def test_the_busiest_rank_has_most_blocks() -> None:
    assert loads("1f1b", 4, 1, 10) == (2, 3, 2)
    assert loads("interleaved", 2, 2, 7) == (1, 4, 3)
    assert loads("zb-v", 2, 2, 7) == (1, 4, 3)
    assert loads("dualpipe", 4, 1, 10) == (2, 2.5, 0)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device: got 'abacus', expected a Device or one of a100, .*; remedy: take"):
        predict(Plan(), TINY, BATCH, "ethernet", "abacus")
    with pytest.raises(ValueError, match=r"Device: got .*efficiency=2, expected .*; remedy: "):
        replace(DEVICES["h100"], efficiency=2)
