"""Messages and bytes that each rank sends in one step of training, by what they are for.

tensor    sums over features, and tokens gathered and scattered, around each pair of matrices; vocabulary
experts   tokens to the ranks of their experts and back, and how many; what tokens of the same sequences ask for
context   K and V on their way round the ring, or heads for tokens
pipeline  activations to the next stage, their gradients to the one before
data      gradients summed over the ranks with other tokens; parameters gathered under ZeRO
shared    gradients summed of what several tensor-parallel ranks or several stages have
loss      the loss and the norm of the gradient, over all ranks

With numbers of 16 bits, sums of gradients of parameters travel in float32, those of K and V round a ring, and what the
loss sums over a vocabulary. All else travels in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collectives.arrays import block_sizes
from parallel.costs import ring_traffic, ulysses_traffic
from training.costs.experts import Routed, exchanged, rows_of
from training.costs.share import Share
from training.plan import Plan
from training.precision import Widths, widths_of
from training.sizes import GPTSizes, is_of_experts

KINDS = ("tensor", "experts", "context", "pipeline", "data", "shared", "loss")


class Sent(NamedTuple):
    """Messages, and the numbers in them: those that layers compute with, sums that stay in float32, and counts."""

    messages: int
    numbers: int
    sums: int = 0
    counts: int = 0

    def plus(self, other: Sent) -> Sent:
        """Return both together."""
        return Sent(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: int) -> Sent:
        """Return `factor` times as many of the same messages."""
        return Sent(*(factor * each for each in self))

    def as_sums(self) -> Sent:
        """Return the same messages if all their numbers are sums."""
        return Sent(self.messages, 0, self.numbers + self.sums, self.counts)

    def n_bytes(self, widths: Widths) -> int:
        """Return the bytes of the messages."""
        return self.numbers * widths.compute + self.sums * widths.sums + self.counts * 8


NOTHING = Sent(0, 0)


@dataclass(frozen=True)
class Traffic:
    """What one rank sends in a step: messages and bytes of each kind of KINDS."""

    messages_of: dict[str, int] = field(default_factory=dict)
    bytes_of: dict[str, int] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        """All messages."""
        return sum(self.messages_of.values())

    @property
    def n_bytes(self) -> int:
        """The bytes of all messages."""
        return sum(self.bytes_of.values())


def step_traffic(
    plan: Plan, sizes: GPTSizes, batch: int, dtype: Any, label_smoothing: float = 0.0, routed: Routed | None = None,
    ranks: Iterable[int] | None = None,
) -> list[Traffic]:  # fmt: skip
    """Return what each rank sends in every step.

        step_traffic(Plan(dp=4), GPTSizes(), 8, "float64")[0].bytes_of["data"]  # 2472192: 2 * 3/4 of 1648128

    dtype:  that of `train`; or Widths, or the bytes of every number. label_smoothing: that of `train`; with it the loss
            over a vocabulary in parts sends one number more a token.
    routed: for each rank what its `Trainer.routed` says of the step; None: experts are asked for alike.
    ranks:  of which; None: of all.

    Raises: ValueError if the plan does not fit.
    """
    plan.check(plan.ranks, sizes, batch)
    schedule, widths, smoothed = plan.pipeline(), widths_of(dtype), label_smoothing > 0
    return [
        _traffic(Share.of(plan, sizes, batch, rank, schedule, smoothed), rank, widths, routed)
        for rank in (range(plan.ranks) if ranks is None else ranks)
    ]


def _traffic(share: Share, rank: int, widths: Widths, routed: Routed | None) -> Traffic:
    sent = dict.fromkeys(("tensor", "experts", "context", "pipeline"), NOTHING)
    for operation in share.schedule.operations[share.pp]:
        if operation.kind == "F":  # of each stage and microbatch there is one, and its backward is on the same rank
            for kind, more in _of_a_microbatch(share, operation.stage, operation.microbatch).items():
                sent[kind] = sent[kind].plus(more)
            if share.sizes.experts:
                more = _experts(share, routed, operation.stage, operation.microbatch)
                sent["experts"] = sent["experts"].plus(more)
    sent["data"], sent["shared"] = _data(share), _shared(share)
    messages = {kind: each.messages for kind, each in sent.items()}
    n_bytes = {kind: each.n_bytes(widths) for kind, each in sent.items()}
    loss = doubling_allreduce(3, share.plan.ranks, rank)
    return Traffic(messages | {"loss": loss.messages}, n_bytes | {"loss": loss.numbers * 8})


# -- collectives, in numbers sent ----------------------------------------------------------------------------------


def allgather(blocks: Sequence[int], rank: int) -> Sent:
    """Return what a ring all-gather sends: all blocks but the right neighbour's."""
    p = len(blocks)
    return Sent(p - 1, sum(blocks) - blocks[(rank + 1) % p])


def reduce_scatter(blocks: Sequence[int], rank: int) -> Sent:
    """Return what a reduce-scatter sends, round a ring or in pairs: all blocks but its own."""
    return Sent(len(blocks) - 1, sum(blocks) - blocks[rank])


def allreduce(sizes: Sequence[int], p: int, rank: int) -> Sent:
    """Return what ring all-reduces of arrays of these sizes send: a reduce-scatter and an all-gather each."""
    total = NOTHING
    for n in sizes:
        blocks = block_sizes(n, p)
        total = total.plus(reduce_scatter(blocks, rank)).plus(allgather(blocks, rank))
    return total


def doubling_allreduce(n: int, p: int, rank: int) -> Sent:
    """Return what an all-reduce of n numbers by recursive doubling sends: all of them, in each of lg q rounds.

    q is the largest power of two up to p. Of the first 2(p - q) ranks each odd one hands its numbers to the even one
    before it, which sends it the result.
    """
    rounds = p.bit_length() - 1
    is_paired = rank < 2 * (p - (1 << rounds))
    messages = 1 if is_paired and rank % 2 else rounds + is_paired
    return Sent(messages, messages * n)


# -- of each microbatch --------------------------------------------------------------------------------------------


def _of_a_microbatch(share: Share, stage: int, microbatch: int) -> dict[str, Sent]:
    """Return what forward and backward of a stage send for one microbatch."""
    sequences, layers = share.sequences[microbatch], share.layers(stage)
    blocks = sum(layer.startswith("block") for layer in layers)
    tensor = NOTHING
    if share.plan.tp > 1:
        of_layer = _sequence_parallel if share.is_sp else _tensor_parallel
        for layer in layers:
            tensor = tensor.plus(of_layer(share, layer, sequences))
    context = _context(share).times(blocks)
    activations = sequences * share.between * share.sizes.hidden
    neighbours = [each for each in (stage - 1, stage + 1) if 0 <= each < share.schedule.stages]
    others = sum(share.schedule.rank_of(each, microbatch) != share.pp for each in neighbours)
    return {
        "tensor": tensor,
        "context": Sent(context.messages, context.numbers * sequences, context.sums * sequences),
        "pipeline": Sent(others, others * activations),
    }


def _tensor_parallel(share: Share, layer: str, sequences: int) -> Sent:
    """Return what a layer sends if every tensor-parallel rank has all tokens: f and g of Megatron are all-reduces."""
    tokens = sequences * share.inside
    whole = tokens * share.sizes.hidden
    times = {"embedding": 1, "head": 1}.get(layer, 2 * _forwards(share) + 2)
    sent = allreduce([whole] * times, share.plan.tp, share.tp)
    return sent.plus(_loss(share, tokens)) if layer == "head" else sent


def _loss(share: Share, tokens: int) -> Sent:
    """Return what a loss over a vocabulary in parts sends: the largest logit and the label's, and a sum."""
    sums = 2 * tokens + 1 if share.smoothed else tokens
    return allreduce([2 * tokens, sums], share.plan.tp, share.tp).as_sums()


def _sequence_parallel(share: Share, layer: str, sequences: int) -> Sent:
    """Return what a layer sends if each has some tokens: the all-reduces are cut in halves.

    A block gathers its tokens twice forward and, for its weight gradients, twice again, and twice the gradient. With
    full recomputation it goes forward twice.
    """
    tokens = sequences * share.inside
    blocks = [n * sequences * share.sizes.hidden for n in share.tensor_tokens]
    gather, scatter = allgather(blocks, share.tp), reduce_scatter(blocks, share.tp)
    if layer == "embedding":
        return scatter.plus(gather)
    if layer == "head":
        return gather.plus(scatter).plus(_loss(share, tokens))
    forward = gather.plus(scatter).times(2)
    return forward.times(_forwards(share)).plus(gather.times(4)).plus(scatter.times(2))


def _experts(share: Share, routed: Routed | None, stage: int, microbatch: int) -> Sent:
    """Return what the experts of a stage send for one microbatch."""
    total = NOTHING
    for layer in share.layers(stage):
        if layer.startswith("block"):
            rows = rows_of(share, routed, layer, microbatch)
            messages, numbers, counts = exchanged(share, rows, microbatch, _forwards(share))
            total = total.plus(Sent(messages, numbers, 0, counts))
    return total


def _context(share: Share) -> Sent:
    """Return what a block's attention sends for one sequence, forward and backward."""
    p, lengths, times = share.plan.cp, share.context_tokens, _forwards(share)
    if p == 1:
        return NOTHING
    if share.plan.context == "ring":
        of_ring = ring_traffic(lengths, share.attending_kv, share.head_dim)
        k_and_v = of_ring.forward[share.cp]  # go round once more in the backward, beside their gradients
        return Sent((times + 2) * (p - 1), (times + 1) * k_and_v, of_ring.backward[share.cp] - k_and_v)
    of_all = ulysses_traffic(lengths, share.heads, share.attending_kv, share.head_dim)
    return Sent(2 * (times + 1) * (p - 1), times * of_all.forward[share.cp] + of_all.backward[share.cp])


def _forwards(share: Share) -> int:
    """Return how often a block runs its forward for each microbatch."""
    return 2 if share.plan.recompute == "full" else 1


# -- of each step --------------------------------------------------------------------------------------------------


def _data(share: Share) -> Sent:
    """Return what the ranks with the same parameters and other tokens send."""
    zero, total, passes = share.plan.zero, NOTHING, _passes(share)
    for unit in share.units(share.pp):
        d, place = share.peers(unit)
        blocks = block_sizes(share.numbers(unit), d)
        gather, scatter = allgather(blocks, place), reduce_scatter(blocks, place).as_sums()
        if not zero:
            gather = gather.as_sums()  # the other half of an all-reduce
        gathered = scattered = 1
        if zero >= 2:
            scattered = sum(unit in share.units_of(layer) for layer in passes)
        if zero == 3:
            gathered = sum(_gathers(share, layer).count(unit) for layer in passes)
        total = total.plus(gather.times(gathered)).plus(scatter.times(scattered))
    return total


def _passes(share: Share) -> list[str]:
    """Return the layers through which this rank's microbatches go in a step, each as often as they do."""
    forwards = [each for each in share.schedule.operations[share.pp] if each.kind == "F"]
    return [layer for each in forwards for layer in share.layers(each.stage)]


def _gathers(share: Share, layer: str) -> tuple[str, ...]:
    """Return the units that a layer gathers for each microbatch under ZeRO-3: for the forward and for the input half.

    The vectors of tokens and positions are looked up once, and their backward needs no parameters.
    """
    return share.units_of(layer) * (1 if layer == "embedding" else 2)


def _shared(share: Share) -> Sent:
    """Return what is sent for gradients that tensor-parallel ranks, or both ends of the pipeline, have in parts."""
    plan, total, passes = share.plan, NOTHING, _passes(share)
    for unit in share.units(share.pp):
        summed = summed_over_tensor(share, unit)
        if summed:
            times = sum(unit in share.units_of(layer) for layer in passes) if plan.zero >= 2 else 1
            total = total.plus(allreduce([summed], plan.tp, share.tp).times(times))
        holders = share.holders(unit)
        if len(holders) > 1:
            n = share.shard(unit) if plan.zero else share.numbers(unit)
            total = total.plus(allreduce([n], len(holders), holders.index(share.pp)))
    return total.as_sums()


def summed_over_tensor(share: Share, unit: str) -> int:
    """Return of how many numbers of a unit the gradient is a sum over tensor-parallel ranks.

    These are those of a router, since each rank has some features of the experts. Under sequence parallelism these are
    norms, biases behind a sum and positions, since each rank has seen other tokens; and whenever a K/V head is on
    several ranks, all K/V heads with their biases.
    """
    if share.plan.tp == 1 or is_of_experts(unit):
        return 0
    h = share.sizes.hidden
    if not unit.startswith("block"):
        return share.numbers(unit) if share.is_sp and unit != "table" else 0
    copies = sum(each.kv_hi - each.kv_lo for each in share.every_heads) > share.sizes.kv_heads
    of_kv = copies * (h + 1) * 2 * share.sizes.kv_heads * share.head_dim
    return h * share.sizes.experts + share.is_sp * share.vectors * h + of_kv
