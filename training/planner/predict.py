"""A step of training under a plan, predicted: its time, the bytes that a rank sends, and the most that it holds.

    print(predict(Plan(dp=2, tp=4), GPTSizes(), batch=16, network="dgx-h100", device="h100"))

A product takes its FLOPs divided by the device's speed. Messages between stages, around matrices and in attention take
the time that the network's model gives for the links between those ranks. The pipeline is played with these times.
Gradients that are complete are summed over ranks with other tokens while passes go on; only the sums that are left
after the last pass add to the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from collectives import CATALOGUE, Machine
from collectives.arrays import block_bounds, block_sizes
from ranks import Network, network_named
from training.costs.flops import utilisation
from training.costs.memory import model_state
from training.costs.share import units_of
from training.costs.traffic import step_traffic
from training.plan import Plan
from training.planner.clock import Order, Wire, order_of, played, run_of_sums
from training.planner.devices import Device, device_named
from training.planner.groups import group
from training.planner.passes import Layers, Setting, Sums, Times
from training.precision import widths_of
from training.sizes import GPTSizes

_TOKEN_BYTES = 8
_LOSS = 3  # numbers, of 8 bytes


@dataclass(frozen=True)
class Prediction:
    """What a step is expected to take.

    time_ps:     From the beginning to the end of a step.
    products_ps: For how long the busiest rank of the pipeline computes.
    passes_ps:   Until the last pass of the last rank ends: products, messages inside of passes, and the bubble.
    memory:      The most bytes that a rank holds. mfu: The part of all devices' peak that the model's FLOPs are.
    """

    plan: Plan
    time_ps: float
    products_ps: float
    passes_ps: float
    memory: float
    mfu: float


class Planner:
    """Predicts steps of a model on so many ranks of a network; what plans have in common is worked out once.

    planner = Planner(GPTSizes(), 16, ranks.presets["dgx-h100"], DEVICES["h100"], "float32", world=8)
    planner.predict(Plan(dp=8)).time_ps
    """

    def __init__(self, sizes: GPTSizes, batch: int, network: Network, device: Device, dtype: Any, world: int) -> None:
        self.setting = Setting(sizes, batch, network, device, widths_of(dtype), world)
        self.layers = lru_cache(None)(self._layers)
        self.sums = lru_cache(None)(self._sums)
        self.played = lru_cache(4096)(played)
        self.loss_ps = lru_cache(None)(self._loss)

    def _layers(self, tp: int, sp: bool, cp: int, context: str, recompute: str, ep: int) -> Layers:
        return Layers(self.setting, Plan(dp=ep, tp=tp, sp=sp, cp=cp, context=context, recompute=recompute, ep=ep))

    def _sums(self, layers: Layers, dp: int, zero: int) -> Sums:
        return Sums(self.setting, replace(layers.plan, dp=dp, zero=zero), layers)

    def _loss(self, p: int) -> float:
        """Return the time in which p ranks sum loss and norm."""
        machine = Machine.of(self.setting.network, p)
        found = CATALOGUE["allreduce"]["recursive_doubling"].cost(machine, _LOSS, 8).expected_ps
        assert found is not None
        return found

    def predict(self, plan: Plan) -> Prediction:
        """Return the prediction for a plan that fits."""
        return _Predicted(self, plan).prediction()


class _Predicted:
    """A plan with its layers, sums and order, and what follows from them.

    few, more: Two smaller numbers of microbatches, if there are many and all are alike. From then on each one more
    takes as long as another, and holds as much more.
    """

    def __init__(self, planner: Planner, plan: Plan) -> None:
        self.planner, self.plan, self.setting = planner, plan, planner.setting
        self.layers = planner.layers(plan.tp, plan.sp, plan.cp, plan.context, plan.recompute, plan.ep)
        self.sums = planner.sums(self.layers, plan.dp, plan.zero)
        self.sequences = block_sizes(-(-self.setting.batch // plan.dp), plan.microbatches)
        period = 2 * plan.pp
        self.few, self.more = (times * period + plan.microbatches % period for times in (2, 3))
        self.is_long = self.more < plan.microbatches and len({*self.sequences}) == 1
        self.order = self._order(self.more if self.is_long else plan.microbatches)
        self.stages = self.order.schedule.stages
        self.blocks = block_sizes(self.setting.sizes.layers, self.stages)
        self._stage = lru_cache(None)(self._times_of_stage)

    def _order(self, microbatches: int) -> Order:
        return order_of(self.plan.schedule, self.plan.pp, microbatches, self.plan.chunks)

    def prediction(self) -> Prediction:
        """Return all of it."""
        plan, setting = self.plan, self.setting
        ends = self._ends()
        done = [self._summed(rank, of_rank) for rank, of_rank in enumerate(ends)]
        time_ps = max(self._ties(done)) + self.planner.loss_ps(plan.ranks) + max(map(self._update, range(plan.pp)))
        tokens_per_s = setting.batch * setting.sizes.context / (time_ps / 1e12)
        peak = setting.device.flops_per_s * plan.ranks
        return Prediction(
            plan, time_ps, self._products(), max(end for of_rank in ends for end in of_rank.values()), self.memory(),
            utilisation(tokens_per_s, setting.sizes, peak),
        )  # fmt: skip

    def _ends(self) -> list[dict[int, float]]:
        """Return for each rank when the last backward of each of its stages ends."""
        sizes = {*self.sequences}
        stages = {b: tuple(self._stage(stage, b)[:3] for stage in range(self.stages)) for b in sizes}
        wires = {b: self._wire(b) for b in sizes}
        sums = tuple(self._at_the_port(stage) for stage in range(self.stages))
        played = self.planner.played
        if not self.is_long:
            by = tuple(self.sequences)
            return played(self.order, tuple(stages[b] for b in by), tuple(wires[b] for b in by), sums)
        (b,) = sizes
        first, second = (played(self._order(m), (stages[b],) * m, (wires[b],) * m, sums) for m in (self.few, self.more))
        times = (self.plan.microbatches - self.more) / (self.more - self.few)
        return [
            {stage: end + times * (end - before[stage]) for stage, end in after.items()}
            for before, after in zip(first, second, strict=True)
        ]

    def _products(self) -> float:
        """Return for how long the rank computes that computes most."""
        times = Counter(self.sequences)
        each = [sum(n * self._stage(stage, b).products for b, n in times.items()) for stage in range(self.stages)]
        halves = 2 if self.plan.schedule == "dualpipe" and self.plan.pp > 1 else 1  # each stage is on two ranks
        return max(sum(each[stage] for stage in self.order.stages[r]) / halves for r in range(self.plan.pp))

    def _times_of_stage(self, stage: int, b: int) -> Times:
        """Return the times of a stage's passes for a microbatch of b sequences."""
        times = self._layer("block", b)
        n = self.blocks[stage]
        total = Times(*(n * each for each in times))
        if stage == 0:
            total = total.plus(self._layer("embedding", b))
        return total.plus(self._layer("head", b)) if stage == self.stages - 1 else total

    def _layer(self, kind: str, b: int) -> Times:
        return self.layers.times(kind, b).plus(self.sums.of_pass(kind))

    def _wire(self, b: int) -> Wire:
        """Return what a message to the next stage takes."""
        plan, setting = self.plan, self.setting
        between = group(setting.network, setting.world, plan.pp, plan.data * plan.tp)
        n_bytes = b * self.layers.share.between * setting.sizes.hidden * setting.widths.compute
        wire_ps = between.wire_ps(n_bytes)
        return Wire(wire_ps, setting.network.overhead_ps, between.is_eager(n_bytes))

    def _at_the_port(self, stage: int) -> tuple[float, float]:
        """Return for how long the sums of a stage's gradients keep a port in all, and at once: a block of each.

        Where a rank has one stage, it sends nothing to other stages after these sums have begun.
        """
        if self.plan.zero >= 2 or self.plan.data == 1 or len(self.order.stages[0]) == 1:
            return 0.0, 0.0
        units = [unit for unit in self._units(stage) if self.sums.data(unit).p > 1]
        itemsize = self.setting.widths.sums
        at_once = sum(self.sums.data(unit).port_ps(self.sums.shard(unit) * itemsize) for unit in units)
        return sum(map(self.sums.busy_ps, units)), at_once

    # -- after the passes --------------------------------------------------------------------------------------------

    def _units(self, stage: int) -> list[str]:
        """Return the units of a stage, the last layer's first; all blocks are called block.0."""
        return [unit for _, units in self._layers_of(stage) for unit in units]

    def _layers_of(self, stage: int) -> list[tuple[str, list[str]]]:
        """Return the kind and the units of each layer of a stage, the last layer first."""
        layers = [("block", [*self.layers.share.units_of("block.0")])] * self.blocks[stage]
        if stage == self.stages - 1:
            layers = [("head", [*units_of("head")]), *layers]
        return [*layers, ("embedding", [*units_of("embedding")])] if stage == 0 else layers

    def _after(self, stage: int, end: float) -> Iterator[tuple[float, list[str]]]:
        """Yield when the weight half of each layer of a stage ends, the last layer first, and the layer's units.

        end: when the last of them ends.
        """
        layers = self._layers_of(stage)
        takes = {kind: self._layer(kind, self.sequences[-1]).weight for kind, _ in layers}
        now = end - sum(takes[kind] for kind, _ in layers)
        for kind, units in layers:
            now += takes[kind]
            yield now, units

    def _summed(self, rank: int, ends: dict[int, float]) -> float:
        """Return when a rank has summed all its gradients over the ranks with other tokens."""
        stages = sorted(ends, key=lambda stage: (ends[stage], -stage))
        tables = sum(self._units(stage).count("table") for stage in stages)
        ready, last = [], 0.0
        for stage in stages:
            late = 0.0  # what the sums of later layers have kept the weight halves waiting for
            for end, units in self._after(stage, ends[stage]):
                last = max(last, end + late)
                for unit in units:
                    tables -= unit == "table"
                    if self.plan.zero < 2 and not (unit == "table" and tables):
                        begin = self.sums.finish_ps(unit)
                        ready.append((last + begin, self.sums.sum_ps(unit), self.sums.busy_ps(unit)))
                        begin += self.sums.start_ps(unit)
                        late += begin
                        last += begin
        return max(last, run_of_sums(ready))

    def _holders(self) -> dict[tuple[int, ...], list[str]]:
        """Return by the ranks of the pipeline that have the same units, if several, these units."""
        found: dict[tuple[int, ...], list[str]] = {}
        bounds = list(pairwise(block_bounds(self.setting.sizes.layers, self.stages)))
        of_stage: dict[int, list[int]] = {stage: [] for stage in range(self.stages)}
        for rank in range(self.plan.pp):
            for stage in self.order.stages[rank]:
                of_stage[stage].append(rank)
        ends = {0: ["positions"], self.stages - 1: ["norm"]}
        table = tuple(sorted({*of_stage[0], *of_stage[self.stages - 1]}))
        for ranks, units in [(table, ["table"])] + [
            (tuple(of_stage[stage]), [*self.layers.share.units_of("block.0")] * (high - low) + ends.get(stage, []))
            for stage, (low, high) in enumerate(bounds)
        ]:
            if len(ranks) > 1:
                found.setdefault(ranks, []).extend(units)
        return found

    def _ties(self, done: list[float]) -> list[float]:
        """Return when ranks have summed what several of the pipeline have."""
        plan, done = self.plan, [*done]
        for holders, units in self._holders().items():
            stride = (holders[1] - holders[0]) * plan.data * plan.tp
            between = group(self.setting.network, self.setting.world, len(holders), stride)
            end = max(done[rank] for rank in holders)
            for unit in units:
                n = self.sums.shard(unit) if plan.zero else self.sums.numbers(unit)
                end += between.allreduce_ps(n, self.setting.widths.sums)
            for rank in holders:
                done[rank] = end
        return done

    def _update(self, rank: int) -> float:
        """Return the time in which a rank gathers what others have updated."""
        if self.plan.zero not in (1, 2):
            return 0.0
        return sum(self.sums.gather_ps(unit) for unit in self._units_of(rank))

    def _units_of(self, rank: int) -> list[str]:
        units = [unit for stage in self.order.stages[rank] for unit in self._units(stage)]
        if units.count("table") > 1:
            units.remove("table")
        return units

    # -- memory ------------------------------------------------------------------------------------------------------

    def memory(self) -> float:
        """Return the most bytes that a rank of the pipeline holds."""
        return max(map(self._memory, range(self.plan.pp)))

    def _memory(self, rank: int) -> float:
        plan, setting, b = self.plan, self.setting, self.sequences[0]
        widths, whole, shards, largest = setting.widths, 0, 0, 0
        for unit in self._units_of(rank):
            n = self.sums.numbers(unit)
            whole, shards, largest = whole + n, shards + self.sums.shard(unit), max(largest, n)
        state = sum(model_state(whole, shards, plan.zero, widths).values())
        held = [self._held(stage, b) for stage in self.order.stages[rank]]
        counted = self._most_held(self.order, rank, held)
        if self.is_long:
            before = self._most_held(self._order(self.few), rank, held)
            counted += (plan.microbatches - self.more) * (counted - before) // (self.more - self.few)
        passing = b * self.layers.share.between * setting.sizes.hidden * widths.compute if self.stages > 1 else 0
        again = max(0, *(each[2] for each in held))
        gathered = largest * widths.sums if plan.zero >= 2 and plan.data > 1 else 0
        tokens = 2 * _TOKEN_BYTES * self.layers.share.inside * sum(self.sequences)
        return state + counted + passing + max(again, gathered) + tokens

    @staticmethod
    def _most_held(order: Order, rank: int, held: list[tuple[int, int, int]]) -> int:
        """Return the most bytes of activations, and of what waits, that a rank has at once."""
        kept, waits = order.counts[rank]
        return int((kept @ [each[0] for each in held] + waits @ [each[1] for each in held]).max())

    def _held(self, stage: int, b: int) -> tuple[int, int, int]:
        """Return what a stage keeps, what waits, and what is made again at once."""
        kinds = ["block"] * bool(self.blocks[stage]) + ["embedding"] * (stage == 0)
        kinds += ["head"] * (stage == self.stages - 1)
        each = {kind: self.layers.held(kind, b) for kind in kinds}
        times = {"block": self.blocks[stage]}
        kept, waits = (sum(times.get(kind, 1) * held[place] for kind, held in each.items()) for place in (0, 1))
        # The last layer's is made again while what the others left waits, and not yet its own.
        return kept, waits, max(again - max(0, wait - keep) for keep, wait, again in each.values())


def predict(
    plan: Plan, sizes: GPTSizes, batch: int, network: Network | str, device: Device | str = "h100",
    dtype: Any = "bfloat16",
) -> Prediction:  # fmt: skip
    """Return what a step of training is expected to take under a plan; dtype: that of `train`.

    Raises: ValueError if the plan does not fit model and batch.
    """
    plan.check(plan.ranks, sizes, batch)
    found = Planner(sizes, batch, network_named(network), device_named(device), dtype, plan.ranks)
    return found.predict(plan)


def predict_local(
    plan: Plan, sizes: GPTSizes, batch: int, network: Network | str, device: Device | str = "h100",
    dtype: Any = "bfloat16", *, local_steps: int,
) -> float:  # fmt: skip
    """Return the picoseconds of a step if the plan's copies train apart for so many steps, and then agree.

        predict_local(Plan(dp=4), GPTSizes(), 8, "ethernet", "toy", local_steps=16) < 3e8  # True: 289 µs, not 1291

    Copies send nothing to each other until they agree, unit by unit, on the differences and on their losses.
    """
    plan.check(plan.ranks, sizes, batch)
    network, device = network_named(network), device_named(device)
    share, copy = -(-batch // plan.dp), replace(plan, dp=1)
    planner = Planner(sizes, share, network, device, dtype, plan.ranks)
    step_ps = planner.predict(copy).time_ps
    alone = _Predicted(planner, copy)
    between = group(network, plan.ranks, plan.dp, plan.cp * plan.tp)
    agreed = []
    for rank in range(plan.pp):
        units = alone._units_of(rank)
        numbers = (alone.sums.shard(unit) if plan.zero else alone.sums.numbers(unit) for unit in units)
        sums_ps = sum(between.allreduce_ps(n, planner.setting.widths.sums) for n in numbers)
        agreed.append(sums_ps + alone._update(rank))
    return step_ps + (max(agreed) + between.allreduce_ps(4 * local_steps, 8)) / local_steps


def sent_bytes(plan: Plan, sizes: GPTSizes, batch: int, dtype: Any = "bfloat16") -> int:
    """Return the most bytes that the first rank of a place of the pipeline sends in a step.

        sent_bytes(Plan(dp=4), GPTSizes(), 8, "float64")  # 2472240: gradients, and three numbers of loss and norm

    Each of many microbatches sends as much as another.
    """
    firsts = [pp * plan.data * plan.tp for pp in range(plan.pp)]

    def sent(microbatches: int, batch: int) -> list[int]:
        some = replace(plan, microbatches=microbatches)
        return [each.n_bytes for each in step_traffic(some, sizes, batch, dtype, ranks=firsts)]

    few, more = 2, 4
    if plan.microbatches <= more or batch % (plan.dp * plan.microbatches):
        return max(sent(plan.microbatches, batch))
    each = batch // plan.microbatches
    pairs = zip(sent(few, few * each), sent(more, more * each), strict=True)
    return max(b + (plan.microbatches - more) * (b - a) // (more - few) for a, b in pairs)
