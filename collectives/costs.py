"""What each algorithm costs, as formulas that the tests hold to the simulator to the picosecond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collectives.arrays import block_bounds
from ranks import Network


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call on p ranks that enter at the same time.

    rounds: messages in the longest chain of which each waits for the one before. sends, bytes_sent: by rank.
    time_ps: picoseconds until the last rank is done, None where no formula is claimed. at_most_ps: no longer than
    this, None where no bound is claimed.
    """

    rounds: int
    sends: list[int]
    bytes_sent: list[int]
    time_ps: int | None
    at_most_ps: int | None


Formula = Callable[[Network, int, int, int, str], Cost]


def cost(
    algorithm: str, network: Network, p: int, n_items: int = 0, itemsize: int = 1, buffering: str = "eager"
) -> Cost:
    """Return the predicted cost of a call of `algorithm` by its function's name, on ranks 0 to p-1 of `network`.

        cost("ring_allreduce", ranks.presets["alpha-beta"], 4, 1000, 8).time_ps  # 7200000: 6 (1 us + 2000 B / 10 GB/s)

    n_items, itemsize: elements of x on each rank (of the result for ring_allgather) and bytes of one; roots are 0.
    """
    if algorithm not in FORMULAS:
        raise ValueError(
            f"cost: got algorithm {algorithm!r}, expected one of {', '.join(FORMULAS)}; remedy: choose one of these"
        )
    if p < 1 or n_items < 0 or itemsize < 0 or buffering not in ("none", "eager", "infinite"):
        raise ValueError(
            f"cost: got p={p}, n_items={n_items}, itemsize={itemsize}, buffering={buffering!r}, expected p from 1, "
            "the others from 0, and none, eager or infinite; remedy: correct the one that differs"
        )
    return FORMULAS[algorithm](network, p, n_items, itemsize, buffering)


def _ring(network: Network, p: int, n_items: int, itemsize: int, *, reduces: bool, gathers: bool) -> Cost:
    """Every step takes as long as the largest block does: that block is on its way in each, so no step is shorter."""
    bounds = block_bounds(n_items, p)
    sizes = [(bounds[b + 1] - bounds[b]) * itemsize for b in range(p)]
    phases = reduces + gathers
    bytes_sent = [
        reduces * (sum(sizes) - sizes[rank]) + gathers * (sum(sizes) - sizes[(rank + 1) % p]) for rank in range(p)
    ]
    reduce_ps = network.reduce_ps(sizes[0]) if reduces else 0
    at_most_ps = (p - 1) * (phases * _slowest_ps(network, p, sizes[0]) + reduce_ps)
    exact = at_most_ps if is_exact(network, p) else None
    return Cost(phases * (p - 1), [phases * (p - 1)] * p, bytes_sent, exact, at_most_ps)


def _naive(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    """The root takes in p-1 messages through one port, then sends p-1.

    Buffered, messages queue at the root's port while it reduces: each costs the slower of the two. Unbuffered,
    each starts only when the root has asked for it.
    """
    n_bytes = n_items * itemsize
    sends = [p - 1 if rank == 0 else 1 for rank in range(p)]
    bytes_sent = [n_bytes * count for count in sends]
    if p == 1:
        return Cost(0, [0], [0], 0, 0)
    time_ps = _through_root_ps(network, p, n_bytes, buffering) if is_exact(network, p) else None
    return Cost(2, sends, bytes_sent, time_ps, time_ps)


def _through_root_ps(network: Network, p: int, n_bytes: int, buffering: str) -> int:
    link, o = network.link(0, p - 1), network.overhead_ps
    transfer = link.transfer_ps(n_bytes)
    work = o + network.reduce_ps(n_bytes)
    port = transfer if network.ports else 0
    if is_eager(network, n_bytes, buffering):
        into = o + link.latency_ps + transfer + work + (p - 2) * max(port, work)
        back = o + (p - 2) * max(port, o) + link.latency_ps + transfer + o
    else:
        into = o + (p - 1) * (link.latency_ps + transfer + work)
        back = (p - 1) * (o + transfer) + link.latency_ps + o
    return into + back


def _dissemination(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    rounds = (p - 1).bit_length()
    at_most_ps = rounds * _slowest_ps(network, p, 0)
    return Cost(rounds, [rounds] * p, [0] * p, at_most_ps if is_exact(network, p) else None, at_most_ps)


def _central(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    return _naive(network, p, 0, 1, buffering)


def _butterfly(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    """A rank that plays a virtual one has two partners in a round, so time is claimed for powers of two only."""
    rounds = (p - 1).bit_length()
    q = 1 << rounds
    sends = [sum((v ^ (1 << k)) % p != rank for v in range(rank, q, p) for k in range(rounds)) for rank in range(p)]
    exact = rounds * _slowest_ps(network, p, 0) if p == q and is_exact(network, p) else None
    return Cost(rounds, sends, [0] * p, exact, exact)


def _ring_reduce_scatter(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    return _ring(network, p, n_items, itemsize, reduces=True, gathers=False)


def _ring_allgather(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    return _ring(network, p, n_items, itemsize, reduces=False, gathers=True)


def _ring_allreduce(network: Network, p: int, n_items: int, itemsize: int, buffering: str) -> Cost:
    return _ring(network, p, n_items, itemsize, reduces=True, gathers=True)


FORMULAS: dict[str, Formula] = {
    "ring_reduce_scatter": _ring_reduce_scatter,
    "ring_allgather": _ring_allgather,
    "ring_allreduce": _ring_allreduce,
    "naive_allreduce": _naive,
    "dissemination_barrier": _dissemination,
    "central_barrier": _central,
    "butterfly_barrier": _butterfly,
}


def is_exact(network: Network, p: int) -> bool:
    """Return whether times are claimed exactly: one class of link, no jitter, no port that a whole node shares."""
    one_node = p <= network.ranks_per_node
    shared = network.shared_node_port and not one_node and network.ranks_per_node > 1
    return network.is_uniform(p) and not network.jitter_ps and not shared


def is_eager(network: Network, n_bytes: int, buffering: str) -> bool:
    """Return whether a standard send of this size is buffered."""
    return buffering == "infinite" or (buffering == "eager" and n_bytes <= network.eager_limit)


def _slowest_ps(network: Network, p: int, n_bytes: int) -> int:
    """Return alpha + n*beta of the slowest link among ranks 0 to p-1, with all the jitter there can be."""
    links = {network.link(rank, (rank + 1) % p) for rank in range(p)} if p > 1 else set()
    return max((network.message_ps(link, n_bytes) + network.jitter_ps for link in links), default=0)
