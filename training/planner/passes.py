"""The times of each layer's passes on the busiest rank: matrix products, and the messages that they wait for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from parallel.attention.heads import split_heads
from ranks import Network
from training.costs.experts import Rows, is_told, of_experts, rows_of
from training.costs.flops import Passes, block_passes
from training.costs.memory import kept, made_again, waiting
from training.costs.share import Share
from training.costs.traffic import summed_over_tensor
from training.pipeline import make_schedule
from training.plan import Plan
from training.planner.devices import Device
from training.planner.groups import Group, group
from training.precision import Widths
from training.sizes import GPTSizes


class Times(NamedTuple):
    """Picoseconds of a forward, of the half of a backward for the input, of that for weights, and of all products."""

    forward: float
    input: float
    weight: float
    products: float = 0.0

    @property
    def total(self) -> float:
        """The time of all passes."""
        return self.forward + self.input + self.weight

    def plus(self, other: Times) -> Times:
        """Return the times of both, one after the other."""
        return Times(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Setting:
    """The setting: a model, sequences of a step, a network of `world` ranks, devices, bytes of numbers."""

    sizes: GPTSizes
    batch: int
    network: Network
    device: Device
    widths: Widths
    world: int


class Layers:
    """Time and memory of layers on the rank that has most, of one way to cut them: tp, sp, cp, context, recompute, ep.

    Kinds of layers are "embedding", "block" and "head"; b is the sequences of a microbatch.
    """

    def __init__(self, setting: Setting, plan: Plan) -> None:
        self.setting, self.plan = setting, plan
        self.share = Share(plan, setting.sizes, setting.batch, make_schedule("1f1b", 1, 1), 0, 0, 0, 0)
        self.tensor = group(setting.network, setting.world, plan.tp, 1)
        self.context = group(setting.network, setting.world, plan.cp, plan.tp)
        self.experts = group(setting.network, setting.world, plan.ep, plan.cp * plan.tp)
        self.times = lru_cache(None)(self._times)
        self.held = lru_cache(None)(self._held)

    def _times(self, kind: str, b: int) -> Times:
        """Return the times of a layer for a microbatch."""
        if kind == "block":
            return self._block(b)
        share, h, tokens = self.share, self.setting.sizes.hidden, b * self.share.inside
        product = self.setting.device.time_ps(2 * tokens * h * share.rows) if kind == "head" else 0.0
        times = Times(product, product, product, 3 * product)
        if self.plan.tp == 1:
            return times
        gather, scatter = self._enter(b), self._leave(b)
        whole = self._allreduce(tokens * h)
        of_loss = sum(self.tensor.allreduce_ps(n, self.setting.widths.sums) for n in (2 * tokens, tokens))
        if self.plan.sp:
            return times.plus(Times(gather + of_loss, scatter, 0) if kind == "head" else Times(scatter, gather, 0))
        return times.plus(Times(of_loss, whole, 0) if kind == "head" else Times(whole, 0, 0))

    def _block(self, b: int) -> Times:
        plan, share, device = self.plan, self.share, self.setting.device
        tokens, s, d = b * share.inside, self.setting.sizes.context, share.head_dim
        h, experts = self.setting.sizes.hidden, self.setting.sizes.experts
        matrices = h * (share.qkv + share.heads * d + 2 * share.ffn + experts)  # a router has one column an expert
        pairs, heads = b * s * (s + 1) / 2, share.heads
        if plan.context == "ring":
            pairs /= plan.cp
        else:
            heads = self._ulysses_heads[0]
        alone = block_passes(tokens, matrices, 0, 0)
        scores = block_passes(0, 0, pairs, heads * d)
        of_experts, sent_forward, sent_back = self._experts(b)
        compute = [device.time_ps(a + b + of_experts) for a, b in zip(alone, scores, strict=True)]
        forward = compute[0] + self._sent_forward(b) + self._context(b, scores, is_forward=True) + sent_forward
        back = compute[1] + self._sent_input(b) + self._context(b, scores, is_forward=False) + sent_back
        again = plan.recompute == "full"
        products = sum(compute) + again * compute[0]
        weight = compute[2] + (2 * self._enter(b) if plan.sp and plan.tp > 1 else 0)
        return Times(forward, back + again * forward, weight, products)

    # -- experts -----------------------------------------------------------------------------------------------------

    def _rows(self, b: int) -> tuple[Share, Rows]:
        """Return the share of a rank with a microbatch of b sequences, and the rows that its router sends."""
        ep = self.plan.ep
        share = replace(self.share, plan=replace(self.plan, dp=ep, microbatches=1), batch=b * ep)
        return share, rows_of(share, None, "block.0", 0)

    def _experts(self, b: int) -> tuple[float, float, float]:
        """Return the FLOPs of a pass of the experts, and for how long forward and input half wait for rows."""
        sizes, widths = self.setting.sizes, self.setting.widths
        if not sizes.experts:
            return 0.0, 0.0, 0.0
        _, rows = self._rows(b)
        flops = 4.0 * rows.came * sizes.hidden * self.share.expert_ffn
        moved = 2 * self.experts.exchange_ps(max(*rows.to, *rows.come) * sizes.hidden * widths.compute)
        told = self.experts.exchange_ps(8 * -(-sizes.experts // self.plan.ep))
        if is_told(self.share):
            told += self.context.allgather_ps(sum(self.share.runs) * b * sizes.experts, 8)
        return flops, moved + told, moved

    # -- messages of tensor parallel ranks ---------------------------------------------------------------------------

    def _allreduce(self, n: int) -> float:
        return self.tensor.allreduce_ps(n, self.setting.widths.compute)

    def _block_of_tokens(self, b: int) -> int:
        return -(-self.share.inside // self.plan.tp) * b * self.setting.sizes.hidden

    def _enter(self, b: int) -> float:
        return self.tensor.allgather_ps(self._block_of_tokens(b) * self.plan.tp, self.setting.widths.compute)

    def _leave(self, b: int) -> float:
        return self.tensor.exchange_ps(self._block_of_tokens(b) * self.setting.widths.compute, reduces=True)

    def _sent_forward(self, b: int) -> float:
        if self.plan.tp == 1:
            return 0.0
        if self.plan.sp:
            return 2 * (self._enter(b) + self._leave(b))
        return 2 * self._allreduce(b * self.share.inside * self.setting.sizes.hidden)

    _sent_input = _sent_forward

    # -- messages of context parallel ranks --------------------------------------------------------------------------

    @cached_property
    def _ulysses_heads(self) -> tuple[int, int]:
        """The query heads with which a rank attends under Ulysses, and these with their K/V heads."""
        first = split_heads(self.share.heads, self.share.attending_kv, self.plan.cp)[0]
        return first.hi - first.lo, first.width

    def _context(self, b: int, scores: Passes, *, is_forward: bool) -> float:
        """Return for how long attention waits for messages, beside the time of its products."""
        p, share, o = self.plan.cp, self.share, self.setting.network.overhead_ps
        if p == 1:
            return 0.0
        of_a_head = b * share.inside * share.head_dim * self.setting.widths.compute
        if self.plan.context == "ulysses":
            queries, all_heads = self._ulysses_heads
            return self.context.exchange_ps(of_a_head * queries) + self.context.exchange_ps(of_a_head * all_heads)
        n_bytes = 2 * of_a_head * share.attending_kv
        moved = self.context.wire_ps(n_bytes)
        if is_forward:
            step = self.setting.device.time_ps(scores.forward / p)
            return (p - 1) * (2 * o + max(0.0, moved - step))
        step = self.setting.device.time_ps(scores.input / p)
        # From the second step on gradients move too: one of both travels while the other fills the port.
        of_sums = self.context.wire_ps(n_bytes * self.setting.widths.sums // self.setting.widths.compute)
        both = max(of_sums, moved + of_sums - 2 * self.context.wire_ps(0))
        return max(0.0, moved - step) + (p - 2) * max(0.0, both - step) + 4 * (p - 1) * o + of_sums

    def waits_ps(self, b: int, pp: int, dp: int) -> float:
        """Return for how long a rank of a pipeline waits at least for a message: all of its way, if not buffered."""
        setting, plan = self.setting, self.plan
        between = group(setting.network, setting.world, pp, dp * plan.cp * plan.tp)
        n_bytes = b * self.share.between * setting.sizes.hidden * setting.widths.compute
        return setting.network.overhead_ps + (0.0 if between.is_eager(n_bytes) else between.wire_ps(n_bytes))

    # -- memory ------------------------------------------------------------------------------------------------------

    def _held(self, kind: str, b: int) -> tuple[int, int, int]:
        """Return the bytes that a layer's forward leaves, that its weight half waits with, and that are made again."""
        layer = "block.0" if kind == "block" else kind
        arguments = self.share, layer, b, self.setting.widths
        held = kept(*arguments), waiting(*arguments), made_again(*arguments)
        if kind != "block" or not self.setting.sizes.experts:
            return held
        share, rows = self._rows(b)
        more = of_experts(share, rows, 0, self.setting.widths)
        return held[0] + more.kept, held[1] + more.waiting, held[2] + more.made_again


class Sums:
    """What sharing parameters takes: ranks with other tokens sum gradients and gather parameters, unit by unit."""

    def __init__(self, setting: Setting, plan: Plan, layers: Layers) -> None:
        self.setting, self.plan, self.layers = setting, plan, layers
        self.share = replace(layers.share, plan=plan)
        self.numbers = lru_cache(None)(self.share.numbers)
        self.data = lru_cache(None)(self._data)
        self.gather_ps = lru_cache(None)(self._gather)
        self.scatter_ps = lru_cache(None)(self._scatter)
        self.finish_ps = lru_cache(None)(self._finish)
        self.of_pass = lru_cache(None)(self._of_pass)

    def _data(self, unit: str) -> Group:
        """Return the ranks that have the same part of a unit and other tokens."""
        p, _ = self.share.peers(unit)
        is_apart = p < self.plan.data and self.plan.cp == 1
        stride = self.plan.tp * (self.plan.ep if is_apart else 1)
        return group(self.setting.network, self.setting.world, p, stride)

    def shard(self, unit: str) -> int:
        """Return how many numbers of a unit a rank keeps if its peers share them out."""
        return -(-self.numbers(unit) // self.data(unit).p)

    def _gather(self, unit: str) -> float:
        return self.data(unit).allgather_ps(self.numbers(unit), self.setting.widths.compute)

    def _scatter(self, unit: str) -> float:
        return self.data(unit).reduce_scatter_ps(self.numbers(unit), self.setting.widths.sums)

    def _finish(self, unit: str) -> float:
        """Return the time of summing what tensor-parallel ranks have only parts of."""
        summed = summed_over_tensor(self.share, unit)
        return self.layers.tensor.allreduce_ps(summed, self.setting.widths.sums) if summed else 0.0

    def _of_pass(self, kind: str) -> Times:
        """Return what ZeRO-2 and 3 add to the passes of a layer."""
        zero, units = self.plan.zero, self.share.units_of("block.0" if kind == "block" else kind)
        if zero < 2:
            return Times(0, 0, 0)
        gathered = sum(map(self.gather_ps, units)) if zero == 3 else 0.0
        weight = sum(self.scatter_ps(unit) + self.finish_ps(unit) for unit in units)
        return Times(gathered, 0 if kind == "embedding" else gathered, weight)

    def sum_ps(self, unit: str) -> float:
        """Return the time of summing a unit's gradients after its last backward: with ZeRO-1, only a share's."""
        if self.plan.zero >= 2 or self.data(unit).p == 1:
            return 0.0
        if self.plan.zero:
            return self.scatter_ps(unit)
        return self.data(unit).allreduce_ps(self.numbers(unit), self.setting.widths.sums)

    def start_ps(self, unit: str) -> float:
        """Return for how long a rank is busy that starts such a sum: it sends a first message."""
        return self.setting.network.overhead_ps * (self.sum_ps(unit) > 0)

    def busy_ps(self, unit: str) -> float:
        """Return for how long such a sum keeps others from being made."""
        if self.plan.zero >= 2 or self.data(unit).p == 1:
            return 0.0
        return self.data(unit).busy_ps(self.numbers(unit), self.setting.widths.sums, gathers=not self.plan.zero)
