"""What one rank of a plan has: its place, its tokens, its heads, its features and how many numbers are learnt there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collectives.arrays import Array, block_sizes
from parallel.attention.heads import Heads, split_heads
from parallel.sequence.shards import token_positions
from training.pipeline import Schedule
from training.plan import Plan
from training.sizes import GPTSizes, experts_of, is_of_experts


@dataclass(frozen=True)
class Share:
    """One rank's share of a training: `pp`, `dp`, `cp`, `tp` are its place in the mesh; smoothed: whether labels are.

    Share.of(Plan(dp=2, tp=3), GPTSizes(), 8, 4).tp  # 1
    """

    plan: Plan
    sizes: GPTSizes
    batch: int
    schedule: Schedule
    pp: int
    dp: int
    cp: int
    tp: int
    smoothed: bool = False

    @classmethod
    def of(
        cls, plan: Plan, sizes: GPTSizes, batch: int, rank: int, schedule: Schedule | None = None,
        smoothed: bool = False,
    ) -> Share:  # fmt: skip
        """Return the share of `rank`; `schedule` is that of the plan, for those who have it already."""
        rest, tp = divmod(rank, plan.tp)
        rest, cp = divmod(rest, plan.cp)
        pp, dp = divmod(rest, plan.dp)
        return cls(plan, sizes, batch, schedule or plan.pipeline(), pp, dp, cp, tp, smoothed)

    # -- tokens ----------------------------------------------------------------------------------------------------

    @cached_property
    def sequences(self) -> list[int]:
        """The sequences of each microbatch."""
        return block_sizes(block_sizes(self.batch, self.plan.dp)[self.dp], self.plan.microbatches)

    @cached_property
    def runs(self) -> list[int]:
        """The runs of tokens in a row that each context-parallel rank has of a sequence."""
        return [int((np.diff(each) > 1).sum()) + (len(each) > 0) for each in self._positions]

    @cached_property
    def context_tokens(self) -> list[int]:
        """The tokens of a sequence that each context-parallel rank has."""
        return [len(each) for each in self._positions]

    @cached_property
    def _positions(self) -> list[Array]:
        layout = "zigzag" if self.plan.context == "ring" else "plain"
        return token_positions(layout, self.sizes.context, self.plan.cp)

    @property
    def inside(self) -> int:
        """The tokens of a sequence on which this rank's matrices work."""
        return self.context_tokens[self.cp]

    @cached_property
    def tensor_tokens(self) -> list[int]:
        """The tokens of a sequence that each tensor-parallel rank has between matrices."""
        return block_sizes(self.inside, self.plan.tp) if self.is_sp else [self.inside] * self.plan.tp

    @property
    def between(self) -> int:
        """The tokens of a sequence that this rank has between matrices."""
        return self.tensor_tokens[self.tp]

    @property
    def is_sp(self) -> bool:
        """Whether ranks have different tokens between matrices."""
        return self.plan.sp and self.plan.tp > 1

    # -- features --------------------------------------------------------------------------------------------------

    @cached_property
    def every_heads(self) -> list[Heads]:
        """The heads of each tensor-parallel rank."""
        return split_heads(self.sizes.heads, self.sizes.kv_heads, self.plan.tp)

    @property
    def heads(self) -> int:
        """The query heads of this rank."""
        return self.every_heads[self.tp].hi - self.every_heads[self.tp].lo

    @property
    def kv_heads(self) -> int:
        """The K/V heads of this rank, each of which other ranks may have too."""
        return self.every_heads[self.tp].kv_hi - self.every_heads[self.tp].kv_lo

    @property
    def attending_kv(self) -> int:
        """The K/V heads with which it attends: one for each query head if they serve unequal numbers of these."""
        return attending_kv(self.every_heads[self.tp], self.sizes.block.group)

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.sizes.block.head_dim

    @property
    def qkv(self) -> int:
        """Features of q, k and v together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def ffn(self) -> int:
        """Features inside the MLP for all tokens."""
        return block_sizes(self.sizes.dense_ffn, self.plan.tp)[self.tp]

    @property
    def expert_ffn(self) -> int:
        """Features inside of an expert."""
        return block_sizes(self.sizes.ffn, self.plan.tp)[self.tp]

    @property
    def vectors(self) -> int:
        """The vectors of `hidden` numbers that a block has: of both norms, and biases behind a sum."""
        return 6 if self.sizes.dense_ffn else 5

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return block_sizes(self.sizes.vocab, self.plan.tp)[self.tp]

    # -- units -----------------------------------------------------------------------------------------------------

    def numbers(self, unit: str) -> int:
        """Return how many numbers of a unit are learnt on this rank or its data-parallel peers."""
        h, ep = self.sizes.hidden, self.plan.ep
        if is_of_experts(unit):
            return block_sizes(self.sizes.experts, ep)[self.dp % ep] * 2 * h * self.expert_ffn
        if unit.startswith("block"):
            matrices = self.qkv + self.heads * self.head_dim + 2 * self.ffn + self.sizes.experts
            return h * matrices + self.qkv + self.ffn + self.vectors * h
        return {"table": self.rows * h, "positions": self.sizes.context * h, "norm": 2 * h}[unit]

    def peers(self, unit: str) -> tuple[int, int]:
        """Return how many ranks have the same part of a unit but other tokens, and which of them this is."""
        ep = self.plan.ep if is_of_experts(unit) else 1
        return self.plan.dp // ep * self.plan.cp, self.dp // ep * self.plan.cp + self.cp

    def shard(self, unit: str) -> int:
        """Return how many numbers of a unit are left to this rank if its peers share them out."""
        n, place = self.peers(unit)
        return block_sizes(self.numbers(unit), n)[place]

    def units_of(self, layer: str) -> tuple[str, ...]:
        """Return the units of a layer, that of its experts included."""
        has_experts = self.sizes.experts and layer.startswith("block")
        return (layer, experts_of(layer)) if has_experts else units_of(layer)

    def layers(self, stage: int) -> list[str]:
        """Return the layers of a stage in order: "embedding", "block.0", ..., "head"."""
        stages = self.schedule.stages
        counts = block_sizes(self.sizes.layers, stages)
        first = sum(counts[:stage])
        blocks = [f"block.{first + i}" for i in range(counts[stage])]
        return ["embedding"] * (stage == 0) + blocks + ["head"] * (stage == stages - 1)

    def units(self, pp: int) -> list[str]:
        """Return the units that the ranks at place `pp` of the pipeline have."""
        layers = [layer for stage in self.schedule.stages_of(pp) for layer in self.layers(stage)]
        return list(dict.fromkeys(unit for layer in layers for unit in self.units_of(layer)))

    def holders(self, unit: str) -> list[int]:
        """Return the places of the pipeline at which a unit is."""
        return [pp for pp in range(self.plan.pp) if unit in self.units(pp)]


def units_of(layer: str) -> tuple[str, ...]:
    """Return the units whose parameters a layer uses and for which it gives gradients, without those of experts."""
    return {"embedding": ("table", "positions"), "head": ("norm", "table")}.get(layer, (layer,))


def attending_kv(heads: Heads, group: int) -> int:
    """Return with how many K/V heads a rank attends: one for each query head where groups are not of one size."""
    served = np.bincount(np.arange(heads.lo, heads.hi) // group - heads.kv_lo)
    return heads.kv_hi - heads.kv_lo if len({*served.tolist()}) <= 1 else heads.hi - heads.lo
