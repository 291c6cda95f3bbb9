"""The router of a mixture of experts: which experts a token asks for, which of them have room, and its two losses.

A token's experts are those with the largest logits, of equal ones the first. Its gates are their probabilities, a
softmax over all experts. The tokens of one sequence compete for places with each other only: an expert takes the first
C = ceil(k T cf / E) of those that ask for it, in the order of the sequence of T tokens. So what a token gets depends
neither on the rest of the batch, nor on tokens behind it, nor on how many ranks and microbatches there are.

Source: groups of tokens that compete: Lepikhin et al., GShard, arXiv 2006.16668.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from collectives import ring_allgather
from collectives.arrays import Array
from parallel.arguments import refuse


@dataclass(frozen=True, slots=True)
class Routing:
    """How tokens are routed: to `top_k` of `experts`.

        Routing(experts=8, top_k=2, capacity_factor=1.25).capacity(64)  # 20

    capacity_factor: how many tokens an expert takes, over its share if all experts were asked for equally often. None:
        it takes all that ask (dropless).
    balance, z_loss: weights of the two losses beside the model's own.
    """

    experts: int
    top_k: int = 2
    capacity_factor: float | None = None
    balance: float = 0.01
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        if type(self.experts) is not int or self.experts < 1:
            refuse(ValueError, "Routing", f"experts={self.experts!r}", "a whole number from 1 up", "change experts")
        if type(self.top_k) is not int or not 1 <= self.top_k <= self.experts:
            got = f"top_k={self.top_k!r} of {self.experts} experts"
            refuse(ValueError, "Routing", got, f"a whole number from 1 to {self.experts}", "change top_k")
        for name in ("capacity_factor", "balance", "z_loss"):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
            if not is_number and (name != "capacity_factor" or value is not None):
                refuse(ValueError, "Routing", f"{name}={value!r}", "a number from 0 up", f"change {name}")

    def capacity(self, tokens: int) -> int | None:
        """Return how many tokens of a sequence an expert takes; None: all."""
        if self.capacity_factor is None:
            return None
        # Take the factor as it is written: the float of 1.2 is slightly above 6/5 and would be rounded up too far.
        return math.ceil(Fraction(str(self.capacity_factor)) * self.top_k * tokens / self.experts)


class Choice(NamedTuple):
    """What the router said of T tokens: `chosen`, `gates` and `kept` are (T, top_k), the best expert first.

    kept:  whether the expert had room. asked: how many tokens of each whole sequence ask for each expert.
    norms: for each token the logarithm of the sum of exponentials of its logits.
    """

    probabilities: Array
    norms: Array
    chosen: Array
    gates: Array
    kept: Array
    asked: Array


def route(routing: Routing, logits: Array, sequences: int, comm: Any, positions: Sequence[Array]) -> Choice:
    """Return what the router says of this rank's tokens, those of some sequences one after the other.

    logits:    (tokens, experts). comm: the ranks that have other tokens of the same sequences, or None.
    positions: for each rank of comm the places of its tokens in a sequence, ascending.

    Cost: an all-gather of as many counts as there are experts, for each sequence and each run of tokens in a row,
          unless nobody reads them.
    """
    probabilities, norms = softmax(logits)
    chosen = largest(logits, routing.top_k)
    gates = np.take_along_axis(probabilities, chosen, 1)
    capacity = routing.capacity(sum(map(len, positions)))
    mine = 0 if comm is None else comm.rank
    run = _runs(positions[mine])
    n_runs = int(run[-1]) + 1 if run.size else 0
    # The queues in which slots stand: of a sequence, of a run of tokens in a row, and of an expert.
    queue = (np.arange(sequences)[:, None] * n_runs + run).reshape(-1, 1) * routing.experts + chosen
    lengths = np.bincount(queue.reshape(-1), minlength=sequences * n_runs * routing.experts)
    of_runs = lengths.reshape(sequences, n_runs, routing.experts)
    if comm is None or comm.size == 1 or (capacity is None and not routing.balance):
        every, first = of_runs, np.arange(n_runs)
    else:
        every, first = _of_all_ranks(comm, of_runs, positions)
    kept = np.ones(chosen.shape, np.bool_)
    if capacity is not None:
        before = (np.cumsum(every, 1) - every)[:, first].reshape(-1)
        kept = before[queue] + _places(queue.reshape(-1), lengths).reshape(queue.shape) < capacity
    return Choice(probabilities, norms, chosen, gates, kept, every.sum(1))


def softmax(logits: Array) -> tuple[Array, Array]:
    """Return the probabilities of each row, and the logarithm of its sum of exponentials."""
    most = logits.max(1, keepdims=True)
    probabilities = np.exp(logits - most)
    sums = probabilities.sum(1, keepdims=True)
    probabilities /= sums
    return probabilities, (most + np.log(sums))[:, 0]


def softmax_backward(probabilities: Array, d: Array) -> Array:
    """Return the gradient of the logits, given that of the probabilities."""
    d_logits: Array = probabilities * (d - np.vecdot(probabilities, d)[:, None])
    return d_logits


def largest(logits: Array, k: int) -> Array:
    """Return the places of the k largest numbers of each row, the largest first; of equal ones the first place."""
    order: Array = np.argsort(-logits, 1, kind="stable")
    return order[:, :k].copy()  # a view would keep all places


def _runs(positions: Array) -> Array:
    """Return for each position the number of the run of positions in a row in which it is."""
    return np.asarray(np.cumsum(np.diff(positions, prepend=positions[:1]) > 1))


def _places(queue: Array, lengths: Array) -> Array:
    """Return for each slot how many before it stand in the same queue."""
    order = np.argsort(queue, kind="stable")
    places = np.empty_like(queue)
    places[order] = np.arange(queue.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def _of_all_ranks(comm: Any, of_runs: Array, positions: Sequence[Array]) -> tuple[Array, Array]:
    """Return the counts of the runs of all ranks in the order of the sequence, and which of these are this rank's."""
    sequences, _, experts = of_runs.shape
    starts = [each[np.diff(_runs(each), prepend=-1) > 0] for each in positions]
    sizes = [sequences * len(each) * experts for each in starts]
    flat = ring_allgather(comm, of_runs.reshape(-1), counts=sizes)
    parts = zip(np.split(flat, np.cumsum(sizes)[:-1]), starts, strict=True)
    every = np.concatenate([each.reshape(sequences, len(runs), experts) for each, runs in parts], 1)
    in_order = np.sort(np.concatenate(starts))
    return every[:, np.argsort(np.concatenate(starts))], np.searchsorted(in_order, starts[comm.rank])


# -- the two losses --------------------------------------------------------------------------------------------------


def losses(routing: Routing, choice: Choice, tokens: int, total: int) -> tuple[float, float]:
    """Return this rank's shares of the balance loss and of the z-loss of a step, each with its weight.

    balance: of a sequence E sum_i f_i P_i; f_i is the share of slots that ask for expert i, P_i its mean probability.
    z_loss:  of a token the square of the logarithm of its sum of exponentials.
    tokens:  of a sequence. total: of the whole step: sequences and tokens of all ranks and microbatches weigh alike.

    Source: Fedus et al., Switch, arXiv 2101.03961; of each sequence: DeepSeek-V3, arXiv 2412.19437; the z-loss: Zoph
            et al., ST-MoE, arXiv 2202.08906.
    """
    sequences = len(choice.asked)
    mine = _by_sequence(choice.probabilities, sequences).sum(1)
    balance = (mine * choice.asked).sum() * _balance_weight(routing, tokens, total)
    return float(balance), float(choice.norms @ choice.norms) * routing.z_loss / total


def route_backward(routing: Routing, choice: Choice, d_gates: Array, tokens: int, total: int, weight: float) -> Array:
    """Return the gradient of the logits; those of the two losses times `weight`: 0 if another rank counts them.

    Counts have no gradient: they are whole numbers.
    """
    d = np.zeros_like(choice.probabilities)
    np.put_along_axis(d, choice.chosen, d_gates, 1)
    if weight and routing.balance:
        by_sequence = _by_sequence(d, len(choice.asked))
        by_sequence += (choice.asked * (weight * _balance_weight(routing, tokens, total)))[:, None].astype(d.dtype)
    d_logits = softmax_backward(choice.probabilities, d)
    if weight and routing.z_loss:
        d_logits += choice.probabilities * (choice.norms * (2 * weight * routing.z_loss / total))[:, None]
    return d_logits


def _by_sequence(x: Array, sequences: int) -> Array:
    """Return x (tokens, n) as (sequences, tokens of each, n)."""
    return x.reshape(sequences, len(x) // max(sequences, 1), x.shape[1])


def _balance_weight(routing: Routing, tokens: int, total: int) -> float:
    """Return by what a probability times a count is multiplied: f has k T slots, P T tokens; then a mean is taken."""
    return routing.balance * routing.experts / (routing.top_k * tokens * total)
