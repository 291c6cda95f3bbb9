"""What experts cost: the rows that a router sends to each of them, and what a block with experts sends and keeps.

Where tokens go depends on their values. So the formulas take what was counted (`Trainer.routed`), or else suppose that
experts are asked for alike. Of N tokens of a microbatch, which have Nk slots, S rows find room, and R rows come to the
experts of a rank, with h features outside of an expert and f inside:

    sent         (S + R - 2 those that stay) h, forward and again backward; counts
    activations  N(E + 1 + k) of the router, Rh + Sh rows outside, 2Rf inside; places of 8 bytes: Nk, S, R and counts
    waiting      NE, 2R(h + f)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds, block_sizes
from training.costs.share import Share
from training.precision import Widths

# What each rank has counted: tokens that it sends to each expert, by unit and microbatch.
Routed = Sequence[Mapping[tuple[str, int], Array]]
_COUNT = 8  # bytes of a count, and of a place


class Rows(NamedTuple):
    """Rows that a rank sends to each rank of its group, and those that come from each; which place is its own."""

    to: list[int]
    come: list[int]
    mine: int

    @property
    def sent(self) -> int:
        """All that it sends, those that stay included."""
        return sum(self.to)

    @property
    def came(self) -> int:
        """All that come to its experts."""
        return sum(self.come)


def rows_of(share: Share, routed: Routed | None, layer: str, microbatch: int) -> Rows:
    """Return the rows of a microbatch that a rank sends and gets."""
    plan, ep = share.plan, share.plan.ep
    first, mine = share.dp - share.dp % ep, share.dp % ep
    bounds = block_bounds(share.sizes.experts, ep)
    by_peer = []
    for dp in range(first, first + ep):
        rank = ((share.pp * plan.dp + dp) * plan.cp + share.cp) * plan.tp + share.tp
        counts = _alike(share, dp, microbatch) if routed is None else routed[rank][layer, microbatch]
        by_peer.append(np.add.reduceat(counts, bounds[:-1]).tolist())
    return Rows(by_peer[mine], [each[mine] for each in by_peer], mine)


def _alike(share: Share, dp: int, microbatch: int) -> Array:
    """Return how many tokens a data-parallel rank sends to each expert if all are asked for alike."""
    routing, context = share.sizes.routing, share.sizes.context
    sequences = block_sizes(block_sizes(share.batch, share.plan.dp)[dp], share.plan.microbatches)[microbatch]
    counts = block_sizes(sequences * share.inside * routing.top_k, routing.experts)
    capacity = routing.capacity(context)
    most = max(counts) if capacity is None else sequences * capacity * share.inside // context
    return np.minimum(counts, most)


# -- what a block with experts sends -----------------------------------------------------------------------------


class Exchanged(NamedTuple):
    """Messages, numbers and counts that a rank sends for the experts of one block and microbatch."""

    messages: int
    numbers: int
    counts: int


def exchanged(share: Share, rows: Rows, microbatch: int, forwards: int) -> Exchanged:
    """Return what dispatch and combine send, of a forward that runs so often, and of a backward.

    Each rank sends its rows, and sends back what came; both in each direction. Before, ranks tell each other how many.
    """
    ep, h, experts = share.plan.ep, share.sizes.hidden, share.sizes.experts
    moved = rows.sent - rows.to[rows.mine] + rows.came - rows.come[rows.mine]
    counts = experts - block_sizes(experts, ep)[rows.mine] if ep > 1 else 0
    messages = (3 * forwards + 2) * (ep - 1)
    runs, told = share.runs, 0
    if is_told(share):
        n = share.sequences[microbatch] * experts
        told = (sum(runs) - runs[(share.cp + 1) % share.plan.cp]) * n
        messages += forwards * (share.plan.cp - 1)
    return Exchanged(messages, (forwards + 1) * moved * h, forwards * (counts + told))


def is_told(share: Share) -> bool:
    """Return whether ranks with other tokens of the same sequences tell each other what these ask for."""
    routing = share.sizes.routing
    return share.plan.cp > 1 and (routing.capacity_factor is not None or routing.balance > 0)


# -- what it keeps, in bytes -------------------------------------------------------------------------------------


class OfExperts(NamedTuple):
    """Bytes that experts add to what a block keeps for its input half, makes again there, and keeps for the other."""

    kept: int
    made_again: int
    waiting: int


def of_experts(share: Share, rows: Rows, microbatch: int, widths: Widths) -> OfExperts:
    """Return what the experts of a block keep of a microbatch."""
    inside = widths.compute * rows.came * share.expert_ffn
    outside = widths.compute * share.sizes.hidden * rows.came
    tokens = share.sequences[microbatch] * share.inside
    needed = _choice(share, rows, microbatch, widths) + outside + 2 * inside
    needed += widths.compute * share.sizes.hidden * rows.sent
    waiting = widths.sums * tokens * share.sizes.experts + 2 * (outside + inside)
    kept, made_again = {
        "none": (needed, 0),
        "selective": (needed - inside, 2 * inside),
        "full": (0, needed),
    }[share.plan.recompute]
    return OfExperts(kept, made_again, waiting)


def _choice(share: Share, rows: Rows, microbatch: int, widths: Widths) -> int:
    """Return the bytes of what the router said, and of the ways of rows."""
    ep, experts, k = share.plan.ep, share.sizes.experts, share.sizes.top_k
    sequences = share.sequences[microbatch]
    tokens = sequences * share.inside
    places = tokens * k + sequences * experts + rows.sent + experts
    if ep > 1:
        places += rows.came + block_sizes(experts, ep)[rows.mine] + 2 * ep
    return widths.sums * tokens * (experts + 1 + k) + tokens * k + _COUNT * places
