"""The bytes that each rank holds during a step under any plan: a walk through its operations with sizes from formulas.

Of a microbatch of b sequences a block keeps, on a rank with n = b * tokens between matrices and N inside of them (the
same but under sequence parallelism), h features, a heads of d, k K/V heads and f features of the MLP, in numbers:

    activations  2n(h+1) norms, 2nh inputs of matrices, N(a+2k)d q, k and v, N(ad+a) attention, 2Nf the MLP
    waiting      2nh + N(ad+f) inputs of the four matrices, N(a+2k)d + 2Nh + Nf gradients of their outputs

Under Ulysses attention keeps q, k and v of all tokens with some heads, and its output both ways. Selective
recomputation keeps 2nh + Nf fewer, and makes 2nh + 2Nf again; full recomputation keeps nh, and makes all again.

`experts.py` has what experts add; without an MLP beside them f is 0, and of the waiting gradients Nh and a bias less.

With numbers of 16 bits, 2n of the norms, Na of attention and gradients of parameters stay in float32.
"""

from __future__ import annotations

from typing import Any

from parallel.attention.heads import split_heads
from training.costs.experts import OfExperts, Routed, of_experts, rows_of
from training.costs.share import Share, attending_kv
from training.ledger import Account
from training.pipeline import Op
from training.plan import Plan
from training.precision import NUMBERS, Widths, widths_of
from training.sizes import GPTSizes

_TOKEN_BYTES = 8  # of a token number


def step_memory(
    plan: Plan, sizes: GPTSizes, batch: int, dtype: Any, moments: int = 2, routed: Routed | None = None
) -> list[Account]:
    """Return what each rank holds during a step; moments: arrays that the optimiser keeps for each parameter.

        step_memory(Plan(), GPTSizes(), 8, "float64")[0].peak["parameters"]  # 1648128: 8 bytes a parameter

    dtype:  that of `train`; or Widths, or the bytes of every number.
    routed: for each rank what its `Trainer.routed` says of the step; None: experts are asked for alike.

    Raises: ValueError if the plan does not fit.
    """
    plan.check(plan.ranks, sizes, batch)
    schedule = plan.pipeline()
    shares = [Share.of(plan, sizes, batch, rank, schedule) for rank in range(plan.ranks)]
    widths = widths_of(dtype)
    return [_Walk(share, widths, moments, routed).account for share in shares]


def model_state(whole: float, shard: float, zero: int, dtype: Any = "bfloat16", moments: int = 2) -> dict[str, float]:
    """Return the bytes of parameters, gradients and optimiser state on a rank.

        sum(model_state(7.5e9, 7.5e9 / 64, 1).values())  # 46406250000.0: 6 + 12/64 bytes a parameter

    whole: how many parameters there are on a rank without ZeRO. shard: how many of them with it.

    Source: Rajbhandari et al., arXiv 1910.02054, where gradients have 2 bytes: Widths(2, 2, 4, 4).
    """
    widths = widths_of(dtype)
    return {
        "parameters": widths.compute * (shard if zero == 3 else whole),
        "gradients": widths.sums * (shard if zero >= 2 else whole),
        "optimiser": (widths.master + moments * widths.moment) * (shard if zero else whole),
    }


class _Walk:
    """A rank's operations in order, and what each leaves in memory."""

    def __init__(self, share: Share, widths: Widths, moments: int, routed: Routed | None) -> None:
        self.share, self.widths, self.routed, self.account = share, widths, routed, Account()
        # Per rank of the pipeline: after which of its operations a message has arrived there, and its bytes.
        self._sent: dict[int, list[tuple[int, int]]] = {}
        units = share.units(share.pp)
        whole, shards = (sum(map(count, units)) for count in (share.numbers, share.shard))
        for kind, n_bytes in model_state(whole, shards, share.plan.zero, widths, moments).items():
            self._add(kind, int(n_bytes))
        self._add("batch", 2 * _TOKEN_BYTES * share.inside * sum(share.sequences))
        passes = {"F": [self._forward], "I": [self._input], "W": [self._weight], "B": [self._input, self._weight]}
        for operation in share.schedule.operations[share.pp]:
            for each in passes[operation.kind]:
                each(operation)
            self.account.mark(operation)

    def _add(self, kind: str, n_bytes: int) -> None:
        self.account.change(kind, n_bytes)

    def _during(self, gathered: int, activations: int = 0) -> None:
        """Hold a gathered unit, and activations that are made again, for one call."""
        held = {"gathered": gathered, "activations": activations}
        for kind, n_bytes in held.items():
            self._add(kind, n_bytes)
        for kind, n_bytes in held.items():
            self._add(kind, -n_bytes)

    def _forward(self, operation: Op) -> None:
        share, (_, stage, microbatch) = self.share, operation
        n = share.sequences[microbatch]
        came = self._take(operation, Op("F", stage - 1, microbatch)) if stage else 0
        for layer in share.layers(stage):
            if share.plan.zero == 3:
                self._during(self.widths.compute * _gathered_forward(share, layer))
            self._add("passing", -came)
            came = 0
            self._add("activations", kept(share, layer, n, self.widths) + self._experts(layer, microbatch).kept)
        if stage < share.schedule.stages - 1:
            self._give(operation, Op("F", stage + 1, microbatch))

    def _input(self, operation: Op) -> None:
        share, (_, stage, microbatch) = self.share, operation
        n, schedule = share.sequences[microbatch], share.schedule
        is_last = stage == schedule.stages - 1
        came = 0 if is_last else self._take(operation, schedule.backward(stage + 1, microbatch))
        for layer in reversed(share.layers(stage)):
            gathered = self.widths.compute * _gathered_backward(share, layer) if share.plan.zero == 3 else 0
            of_experts = self._experts(layer, microbatch)
            self._during(gathered, made_again(share, layer, n, self.widths) + of_experts.made_again)
            self._add("passing", -came)
            came = 0
            self._add("activations", -kept(share, layer, n, self.widths) - of_experts.kept)
            self._add("waiting", waiting(share, layer, n, self.widths) + of_experts.waiting)
        if stage:
            self._give(operation, schedule.backward(stage - 1, microbatch))

    def _weight(self, operation: Op) -> None:
        share, microbatch = self.share, operation.microbatch
        for layer in reversed(share.layers(operation.stage)):
            if share.plan.zero >= 2:
                self._during(self.widths.sums * max(map(share.numbers, share.units_of(layer))))
            n_bytes = waiting(share, layer, share.sequences[microbatch], self.widths)
            self._add("waiting", -n_bytes - self._experts(layer, microbatch).waiting)

    def _experts(self, layer: str, microbatch: int) -> OfExperts:
        """Return what the experts of a layer keep and make again."""
        if not self.share.sizes.experts or not layer.startswith("block"):
            return OfExperts(0, 0, 0)
        return of_experts(self.share, rows_of(self.share, self.routed, layer, microbatch), microbatch, self.widths)

    # -- from stage to stage ---------------------------------------------------------------------------------------

    def _bytes(self, operation: Op) -> int:
        """Return the bytes of a message for this operation's microbatch."""
        numbers = self.share.sequences[operation.microbatch] * self.share.between * self.share.sizes.hidden
        return self.widths.compute * numbers

    def _take(self, operation: Op, written_by: Op) -> int:
        """Return the bytes of a message that came; what its sender had received before it has arrived."""
        schedule, n_bytes = self.share.schedule, self._bytes(operation)
        source = schedule.places[written_by]
        if source == self.share.pp:
            return n_bytes  # they have been passing since they were made
        self._add("passing", n_bytes)
        at = schedule.turns[written_by]
        waits = self._sent.get(source, [])
        self._add("passing", -sum(n for place, n in waits if place <= at))
        self._sent[source] = [(place, n) for place, n in waits if place > at]
        return n_bytes

    def _give(self, operation: Op, read_by: Op) -> None:
        schedule, n_bytes = self.share.schedule, self._bytes(operation)
        to = schedule.places[read_by]
        if to != self.share.pp:
            self._sent.setdefault(to, []).append((schedule.turns[read_by], n_bytes))
        self._add("passing", n_bytes)


# -- of a layer, in bytes, or in numbers ---------------------------------------------------------------------------


def kept(share: Share, layer: str, sequences: int, widths: Widths = NUMBERS) -> int:
    """Return what a layer's forward leaves for its input half."""
    if layer.startswith("block") and share.plan.recompute == "full":
        return widths.compute * sequences * share.between * share.sizes.hidden
    less = 0
    if layer.startswith("block") and share.plan.recompute == "selective":
        less = sequences * (2 * share.between * share.sizes.hidden + share.inside * share.ffn)
    return activations(share, layer, sequences, widths) - widths.compute * less


def made_again(share: Share, layer: str, sequences: int, widths: Widths = NUMBERS) -> int:
    """Return what a layer's input half makes once more, before anything else."""
    if not layer.startswith("block") or share.plan.recompute == "none":
        return 0
    if share.plan.recompute == "full":
        return activations(share, layer, sequences, widths)
    return widths.compute * 2 * sequences * (share.between * share.sizes.hidden + share.inside * share.ffn)


def activations(share: Share, layer: str, sequences: int, widths: Widths = NUMBERS) -> int:
    """Return what the input half of a layer's backward needs of its forward."""
    between, inside, h = sequences * share.between, sequences * share.inside, share.sizes.hidden
    if layer == "embedding":
        return 0  # token numbers, which are there all the time
    if layer == "head":
        return widths.compute * (between * h + inside * (h + share.rows)) + widths.sums * between
    of_block = widths.compute * (4 * between * h + 2 * inside * share.ffn) + widths.sums * 2 * between
    return of_block + _attention(share, sequences, widths)


def _attention(share: Share, sequences: int, widths: Widths) -> int:
    """Return what attention keeps: q, k and v, its output, and for each head the logarithm of a sum."""
    n, heads, kv, d = sequences * share.inside, share.heads, share.attending_kv, share.head_dim
    narrow, wide = widths.compute, widths.sums
    if share.plan.cp == 1 or share.plan.context == "ring":
        copies = 2 * kv if kv != share.kv_heads else 0
        return n * (narrow * (share.qkv + copies * d + heads * d) + wide * heads)
    mine = split_heads(heads, kv, share.plan.cp)[share.cp]
    queries, of_kv, whole = mine.hi - mine.lo, mine.kv_hi - mine.kv_lo, sequences * share.sizes.context
    used = attending_kv(mine, heads // kv)
    copies = 2 * used if used != of_kv else 0
    held = whole * (narrow * (mine.width * d + copies * d + queries * d) + wide * queries)
    return held + narrow * n * heads * d


def waiting(share: Share, layer: str, sequences: int, widths: Widths = NUMBERS) -> int:
    """Return what a layer's input half leaves for its weight half."""
    between, inside, h = sequences * share.between, sequences * share.inside, share.sizes.hidden
    if layer == "embedding":
        return widths.compute * (inside * h + (between * h if share.is_sp else 0))
    if layer == "head":
        return widths.sums * 2 * h + widths.compute * inside * (h + share.rows)
    inputs = 2 * between * h + inside * (share.heads * share.head_dim + share.ffn)
    gradients = inside * (share.qkv + (2 * h if share.ffn else h) + share.ffn)
    of_norms_and_biases = share.vectors * h + share.qkv + share.ffn
    return widths.compute * (inputs + gradients) + widths.sums * of_norms_and_biases


def _gathered_forward(share: Share, layer: str) -> int:
    """Return the most numbers of whole units that a forward has at once: the tables of vectors one after the other."""
    sizes = [share.numbers(unit) for unit in share.units_of(layer)]
    return max(sizes) if layer == "embedding" else sum(sizes)


def _gathered_backward(share: Share, layer: str) -> int:
    """Return the same for an input half: of a head one after the other, none for vectors that were looked up."""
    sizes = [share.numbers(unit) for unit in share.units_of(layer)]
    return {"embedding": 0, "head": max(sizes)}.get(layer, sum(sizes))
