"""What a schedule costs, and the machine that it runs on: the terms in which every cost formula speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ranks import Link, Network

_BUFFERINGS = ("none", "eager", "infinite", "each")  # each: one of the two, as `ranks.explore` decides; costs as none


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call on p ranks that enter at the same time.

    rounds: the number of messages in the longest chain in which each message waits for the one before it.
    sends, bytes_sent: how much each rank sends.
    time_ps: picoseconds until the last rank is done; None where no formula is claimed.
    at_most_ps: a bound, which the time does not exceed; None where no bound is claimed.
    about_ps: an estimate, for schedules of which neither a formula nor the bound is good enough to choose by.
    """

    rounds: int
    sends: list[int]
    bytes_sent: list[int]
    time_ps: int | None
    at_most_ps: int | None
    about_ps: int | None = None

    @property
    def expected_ps(self) -> int | None:
        """The best that is known about the time: the exact time, an estimate, or a bound, in this order."""
        return next((ps for ps in (self.time_ps, self.about_ps, self.at_most_ps) if ps is not None), None)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a call runs on: a network, the node of each of its p ranks, and whether standard sends are buffered.

    If two messages come to a port at the same time, that of the lower rank is served first. The simulator compares the
    ranks of the world, so costs are exact for communicators whose ranks are in the order of the world.

    Machine.of(ranks.presets["dgx-h100"], 16).link(0, 8) == ranks.presets["dgx-h100"].inter  # True
    """

    network: Network
    nodes: tuple[int, ...]
    buffering: str = "eager"

    def __post_init__(self) -> None:
        if not (isinstance(self.network, Network) and isinstance(self.nodes, tuple) and self.nodes):
            nodes = "no nodes" if self.nodes == () else f"nodes of type {type(self.nodes).__name__}"
            _refuse("Machine", f"network of type {type(self.network).__name__}, {nodes}", "the node of each rank")
        if self.buffering not in _BUFFERINGS:
            known = ", ".join(_BUFFERINGS)
            raise ValueError(f"Machine: got buffering={self.buffering!r}, expected one of {known}; remedy: choose one")

    @classmethod
    def of(cls, network: Network, p: int, buffering: str = "eager") -> Machine:
        """Return the machine of ranks 0 to p-1 of `network`."""
        if not isinstance(network, Network):
            _refuse("Machine.of", f"network of type {type(network).__name__}", "the number of ranks")
        return cls(network, tuple(rank // network.ranks_per_node for rank in range(p)), buffering)

    def first(self, p: int) -> Machine:
        """Return the machine of the first p ranks."""
        return Machine(self.network, self.nodes[:p], self.buffering)

    @property
    def p(self) -> int:
        """The number of ranks."""
        return len(self.nodes)

    @property
    def ranks_alike(self) -> int:
        """The smallest number by which ranks can be shifted without changing who shares a node with whom."""
        if self.is_uniform():
            return 1
        width = self.nodes.count(self.nodes[0])
        regular = all(node == rank // width for rank, node in enumerate(self.nodes)) and self.p % width == 0
        return width if regular else self.p

    def link(self, source: int, dest: int) -> Link:
        """Return the link class between two different ranks."""
        return self.network.intra if self.nodes[source] == self.nodes[dest] else self.network.inter

    def is_uniform(self) -> bool:
        """Return whether all pairs of ranks have the same link."""
        return self.network.inter == self.network.intra or len(set(self.nodes)) in (1, self.p)

    def is_exact(self) -> bool:
        """Return whether closed forms hold exactly: one class of link, no jitter, no port that ranks share."""
        shared = self.network.shared_node_port and 1 < len(set(self.nodes)) < self.p
        return self.is_uniform() and not self.network.jitter_ps and not shared

    def is_eager(self, n_bytes: Any) -> Any:
        """Return whether a standard send of this size is buffered; for an array of sizes, of each or of all."""
        return self.buffering == "infinite" or (self.buffering == "eager" and n_bytes <= self.network.eager_limit)

    def ring_links(self) -> set[Link]:
        """Return the links of the ring of all ranks."""
        return {self.link(rank, (rank + 1) % self.p) for rank in range(self.p)} if self.p > 1 else set()

    def slowest_ps(self, n_bytes: int) -> int:
        """Return alpha + n*beta of the slowest link of the ring of all ranks, with the largest possible jitter."""
        jitter_ps = self.network.jitter_ps
        return max((self.network.message_ps(link, n_bytes) + jitter_ps for link in self.ring_links()), default=0)

    def ring_port_ps(self, n_messages: int, n_bytes: int) -> int:
        """Return the time until n_messages of n_bytes from every rank to the next one have arrived."""
        behind = (n_messages - 1) * self.network.ports
        prices = ((self.network.message_ps(link, n_bytes), link.transfer_ps(n_bytes)) for link in self.ring_links())
        return max((alone_ps + behind * transfer_ps for alone_ps, transfer_ps in prices), default=0)

    def round_ps(self, n_bytes: int) -> int:
        """Return how long a message of n_bytes takes round the ring of all ranks, not counting the longest hop."""
        here, network = np.array(self.nodes), self.network
        near, far = (network.message_ps(link, n_bytes) for link in (network.intra, network.inter))
        hops = np.where(here == np.roll(here, -1), near, far)
        return int(hops.sum() - hops.max())

    def doublings_ps(self, n_bytes: int, reduced: int = 0) -> int:
        """Return how long lg p messages of n_bytes take on the faster link, in turn, each reduced on arrival.

        Data cannot reach all ranks, or come from all ranks, in fewer steps.
        """
        one_ps = min(self.network.message_ps(link, n_bytes) for link in (self.network.intra, self.network.inter))
        return (self.p.bit_length() - 1) * (one_ps + self.network.reduce_ps(reduced))


def _refuse(who: str, got: str, also: str) -> NoReturn:
    remedy = 'Machine.of(ranks.presets["ethernet"], 8)'
    raise TypeError(f"{who}: got {got}, expected a Network and {also}; remedy: for 8 ranks, {remedy}")
