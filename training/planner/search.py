"""All plans for a number of ranks, and the best of them. Plans whose bound shows that others are better are not played.

The bound of a plan's time is what its busiest rank computes and waits for inside of passes, and the time to fill the
pipeline. The bound of its memory is the state and the activations at their peak. Plans are played in the order of their
bounds. A plan is left out if another one, already played, takes no longer than its bound and holds no more.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from collectives.arrays import block_sizes
from parallel.arguments import refuse
from ranks import Network, network_named
from training.costs.memory import model_state
from training.pipeline import LOOPED, SCHEDULES
from training.plan import CONTEXTS, RECOMPUTE, Plan
from training.planner.devices import Device, device_named
from training.planner.passes import Layers, Sums
from training.planner.predict import Planner, Prediction
from training.sizes import GPTSizes

_WHOLE = ("gpipe", "1f1b", *LOOPED)  # whose last backwards go back through all ranks


@dataclass(frozen=True)
class Choices:
    """What plans may differ in, beside how many ranks each direction has; most_tp: the most tensor-parallel ranks."""

    schedules: tuple[str, ...] = SCHEDULES
    contexts: tuple[str, ...] = CONTEXTS
    zeros: tuple[int, ...] = (0, 1, 2, 3)
    recompute: tuple[str, ...] = RECOMPUTE
    most_chunks: int = 8
    most_tp: int | None = None


@dataclass(frozen=True)
class Found:
    """What a search has found: `best` by time, and `front`: no other plan takes less time and memory than one of it.

    bounds: of all plans that may have room, by time. played: what was predicted in full.
    """

    best: list[Prediction]
    front: list[Prediction]
    bounds: list[Bound]
    played: list[Prediction]


class Bound(NamedTuple):
    """The least that a plan can take: time in picoseconds, and bytes."""

    time_ps: float
    memory: float
    mesh: tuple[int, int, bool, int, int, str, str, int]
    rest: tuple[int, int, str, int]

    def plan(self) -> Plan:
        """Return the plan."""
        dp, tp, sp, cp, pp, context, recompute, ep = self.mesh
        zero, m, schedule, chunks = self.rest
        return Plan(
            dp=dp, tp=tp, sp=sp, cp=cp, pp=pp, context=context, recompute=recompute, ep=ep, zero=zero, microbatches=m,
            schedule=schedule, chunks=chunks,
        )  # fmt: skip


def divisors(n: int) -> list[int]:
    """Return the divisors of n, ascending.

    divisors(12)  # [1, 2, 3, 4, 6, 12]
    """
    low = [each for each in range(1, int(n**0.5) + 1) if n % each == 0]
    return low + [n // each for each in reversed(low) if each * each != n]


def best_plans(
    sizes: GPTSizes, ranks: int, batch: int, network: Network | str, device: Device | str = "h100",
    dtype: Any = "bfloat16", *, keep: int = 10, slowest: float = 2.0, choices: Choices | None = None,
    planner: Planner | None = None, track: Callable[[list[Bound]], Iterable[Bound]] = iter,
) -> Found:  # fmt: skip
    """Return the best plans of so many ranks: the `keep` fastest, and the front of time and memory.

        str(best_plans(GPTSizes(), 4, 16, "dgx-h100", "toy").best[0].plan)  # 'dp=4 microbatches=4'

    dtype: that of `train`. The front ends where plans take `slowest` times as long as the best. track: wraps a loop, to
    show how far it is.

    Searched are cuts that give each rank as much as another: tp divides the heads, dp the batch, microbatches the
    sequences of a copy, cp (under a ring 2 cp) and with sp also tp the tokens, ep the experts, and chunks the blocks.
    Only the blocks of stages may be uneven. Schedules get the numbers that their papers give: looped ones microbatches
    that pp divides, V-shaped ones and DualPipe at least 2 pp, and DualPipe even numbers. `train` accepts more plans.

    Raises: ValueError if no plan has room.
    """
    network, device = network_named(network), device_named(device)
    planner = planner or Planner(sizes, batch, network, device, dtype, ranks)
    bounds = sorted(_bounds(planner, ranks, choices or Choices()))
    best: list[Prediction] = []
    front: list[tuple[float, float]] = []  # memory and time, falling: of what was played
    played: list[Prediction] = []
    for bound in track(bounds):
        among_best = len(best) < keep or bound.time_ps < best[-1].time_ps
        if not among_best and bound.time_ps > slowest * best[0].time_ps:
            break
        if not among_best and _is_dominated(front, bound.memory, bound.time_ps):
            continue
        found = planner.predict(bound.plan())
        if found.memory > device.memory:
            continue
        played.append(found)
        _enter(best, found, keep)
        if not _is_dominated(front, found.memory, found.time_ps):
            front[:] = [each for each in front if each[0] < found.memory or each[1] < found.time_ps]
            insort(front, (found.memory, found.time_ps))
    if not played:
        got = f"{ranks:,} ranks, no plan of which fits into {device.memory / 1e9:,.3g} GB"
        refuse(ValueError, "best_plans", got, "one that does", "take more ranks, or a smaller model or batch")
    on_front = {
        (each.memory, each.time_ps): each for each in played if each.time_ps <= slowest * best[0].time_ps
    }  # fmt: skip
    falling = [on_front[place] for place in reversed(front) if place in on_front]
    return Found(best, falling, bounds, played)


def _enter(best: list[Prediction], found: Prediction, keep: int) -> None:
    """Enter a plan among the best; of plans that take exactly as long only the one that holds least stays."""
    alike = next((each for each in best if each.time_ps == found.time_ps), None)
    if alike is not None and alike.memory <= found.memory:
        return
    if alike is not None:
        best.remove(alike)
    insort(best, found, key=lambda each: each.time_ps)
    del best[keep:]


def best_of_cells(planner: Planner, found: Found, tries: int = 20) -> dict[tuple[int, int], Prediction]:
    """Return the fastest plan for each number of tensor-parallel ranks and stages, (tp, pp).

    found: What a search has found. Bounds come by time, so few of each have to be predicted: at most so many more.
    """
    best: dict[tuple[int, int], Prediction] = {}
    for each in sorted(found.played, key=lambda each: each.time_ps):
        best.setdefault((each.plan.tp, each.plan.pp), each)
    left: dict[tuple[int, int], int] = {}
    for bound in found.bounds:
        cell = bound.mesh[1], bound.mesh[4]
        if left.setdefault(cell, tries) and (cell not in best or bound.time_ps < best[cell].time_ps):
            left[cell] -= 1
            tried = planner.predict(bound.plan())
            has_room = tried.memory <= planner.setting.device.memory
            if has_room and (cell not in best or tried.time_ps < best[cell].time_ps):
                best[cell] = tried
    return best


def _is_dominated(front: list[tuple[float, float]], memory: float, time_ps: float) -> bool:
    """Return whether something on the front takes no more of both; along it memory grows and time falls."""
    place = bisect_right(front, (memory, float("inf")))
    return place > 0 and front[place - 1][1] <= time_ps


# -- all plans -----------------------------------------------------------------------------------------------------


def _bounds(planner: Planner, ranks: int, choices: Choices) -> Iterator[Bound]:
    """Yield the bound of every plan."""
    sizes, batch = planner.setting.sizes, planner.setting.batch
    for tp in divisors(ranks):
        if sizes.heads % tp or tp > min(sizes.ffn, sizes.vocab, choices.most_tp or ranks):
            continue
        for cp in divisors(ranks // tp):
            for pp in divisors(ranks // (tp * cp)):
                dp = ranks // (tp * cp * pp)
                if pp > sizes.layers or dp > batch or batch % dp:
                    continue
                for layers in _ways(planner, tp, cp, dp, choices):
                    yield from _of_mesh(planner, layers, dp, pp, choices)


def _ways(planner: Planner, tp: int, cp: int, dp: int, choices: Choices) -> Iterator[Layers]:
    """Yield the ways to cut layers over tp * cp ranks, and experts over some of dp."""
    sizes = planner.setting.sizes
    over = [ep for ep in divisors(dp) if sizes.experts % ep == 0] if sizes.experts else [1]
    for context in choices.contexts if cp > 1 else ("ring",):
        if sizes.context % (2 * cp if context == "ring" and cp > 1 else cp):
            continue
        if context == "ulysses" and sizes.heads % (tp * cp):
            continue
        for sp in (False, True) if tp > 1 else (False,):
            if sp and (sizes.context // cp) % tp:
                continue
            for recompute, ep in product(choices.recompute, over):
                yield planner.layers(tp, sp, cp, context, recompute, ep)


def _of_mesh(planner: Planner, layers: Layers, dp: int, pp: int, choices: Choices) -> Iterator[Bound]:
    """Yield the bounds of all plans of a mesh and a way: microbatches, ZeRO and schedules."""
    way, setting = layers.plan, planner.setting
    n_layers, each = setting.sizes.layers, setting.batch // dp
    mesh = (dp, way.tp, way.sp, way.cp, pp, way.context, way.recompute, way.ep)
    for zero in choices.zeros if dp * way.cp > 1 else choices.zeros[:1]:
        sums = planner.sums(layers, dp, zero)
        of_block = state_bytes(sums)
        if of_block * n_layers / pp > setting.device.memory:
            continue
        sum_ps = sums.busy_ps("block.0")
        after = n_layers // pp * sums.gather_ps("block.0") if zero in (1, 2) else 0.0
        for m in divisors(each):
            block, head = (layers.times(kind, each // m).plus(sums.of_pass(kind)) for kind in ("block", "head"))
            kept, waits, _ = layers.held("block", each // m)
            wait_ps = layers.waits_ps(each // m, pp, dp) if pp > 1 else 0.0
            for schedule, chunks in _schedules(pp, m, n_layers, choices):
                v = stages_of_rank(schedule, chunks)
                stage, most, of_last = loads(schedule, pp, v, n_layers)
                # The last rank, those in the middle, and the first one; each waits for its messages.
                busy = max(
                    m * (of_last * block.total + head.total + wait_ps),
                    m * (most * block.total + v * wait_ps),
                )
                fill = stage * (block.forward + block.input * (schedule in _WHOLE))
                busy += (pp - 1 if schedule != "dualpipe" else pp // 2 - 1) * fill
                peak = max(most_activations(schedule, pp, m, chunks) * kept, most_waiting(schedule, pp, m) * waits)
                blocks = 2 * (n_layers // pp) if schedule == "dualpipe" and pp > 1 else most
                memory = blocks * of_block + stage * peak
                if memory <= setting.device.memory:
                    yield Bound(busy + stage * sum_ps + after, memory, mesh, (zero, m, schedule, chunks))


@lru_cache(maxsize=4096)
def loads(schedule: str, pp: int, v: int, n_layers: int) -> tuple[int, float, float]:
    """Return the blocks of the smallest stage, those for which the busiest rank works, and the one with the head.

    loads("1f1b", 4, 1, 10)  # (2, 3, 2)
    """
    blocks = block_sizes(n_layers, pp * v)
    if schedule == "dualpipe" and pp > 1:
        ranks = [(blocks[r] + blocks[pp - 1 - r]) / 2 for r in range(pp)]
        return blocks[-1], max(ranks), 0
    if v == 2 and schedule not in LOOPED:
        ranks = [blocks[r] + blocks[2 * pp - 1 - r] for r in range(pp)]
        return blocks[-1], max(ranks), ranks[0]
    ranks = [sum(blocks[r::pp]) for r in range(pp)]
    return blocks[-1], max(ranks), ranks[-1]


@lru_cache(maxsize=4096)
def _schedules(pp: int, m: int, n_layers: int, choices: Choices) -> list[tuple[str, int]]:
    """Return schedules and chunks that make sense for so many ranks and microbatches."""
    if pp == 1:
        return [("1f1b" if "1f1b" in choices.schedules else choices.schedules[0], 1)]
    found = []
    for schedule in choices.schedules:
        if schedule in LOOPED:
            chunks = [v for v in divisors(n_layers) if 1 < v <= min(n_layers // pp, choices.most_chunks)]
            if m % pp:
                continue
        else:
            chunks = [1]
        if schedule == "dualpipe" and (pp % 2 or m % 2):
            continue
        if schedule in ("zb-v", "dualpipe", "dualpipe-v") and m < 2 * pp:
            continue
        for v in chunks:
            stages = pp * stages_of_rank(schedule, v)
            if stages <= n_layers:
                found.append((schedule, v))
    return found


def stages_of_rank(schedule: str, chunks: int) -> int:
    """Return in how many pieces a rank has its layers, each a stage of its own."""
    return 2 if schedule in ("zb-v", "dualpipe-v") else chunks


def most_activations(schedule: str, pp: int, m: int, chunks: int) -> int:
    """Return for how many microbatches and stages the first rank keeps activations, at the least."""
    v = stages_of_rank(schedule, chunks)
    if schedule in ("gpipe", "breadth-first"):
        return m * v
    counts = {
        "1f1b": pp, "interleaved": 2 * (pp - 1) + (v - 1) * pp + 1, "zb-h1": pp, "zb-h2": 2 * pp - 1, "zb-v": 2 * pp,
        "dualpipe": pp + 1, "dualpipe-v": 2 * pp + 1,
    }  # fmt: skip
    return min(m * v, counts[schedule])


def most_waiting(schedule: str, pp: int, m: int) -> int:
    """Return for how many microbatches the last rank of a zero-bubble schedule puts off its weight gradients."""
    return min(m, {"zb-h1": pp - 1, "zb-h2": 2 * pp - 2}.get(schedule, 0))


def state_bytes(sums: Sums) -> float:
    """Return the bytes of parameters, gradients and moments of a block."""
    units = sums.share.units_of("block.0")
    whole, shards = (sum(map(count, units)) for count in (sums.numbers, sums.shard))
    return sum(model_state(whole, shards, sums.plan.zero, sums.setting.widths).values())
