"""What the two players of rounds have in common: the clocks and counts of all ranks, and the prices of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from loggp.machine import Machine
from loggp.rounds import Array, Rounds
from ranks import Link, Network


class Clocks:
    """The clock of each rank of a schedule, the messages and bytes that it has sent, and its longest chain of them."""

    def __init__(self, machine: Machine, rounds: Rounds) -> None:
        self.machine, self.network, self.rounds, self.p = machine, machine.network, rounds, machine.p
        self.nodes = np.unique(machine.nodes, return_inverse=True)[1]
        self.is_uniform, self.overhead_ps = machine.is_uniform(), self.network.overhead_ps
        self.through_nodes = self.network.ports and self.network.shared_node_port
        self.all_buffered = machine.is_eager(rounds.largest)
        self.now, self.sends, self.bytes_sent = np.zeros((3, self.p), np.int64)
        self.depth = np.zeros(self.p, np.int32)

    def link(self, source: Array, dest: Array, n_bytes: Array | int) -> tuple[Any, Any]:
        """Return the latency and the transfer times of messages."""
        network = self.network
        if self.is_uniform:
            link = self.machine.link(0, self.p - 1)
            return link.latency_ps, _times(link, link.transfer_ps, n_bytes)
        near = self.nodes[source] == self.nodes[dest]
        latency_ps = np.where(near, network.intra.latency_ps, network.inter.latency_ps)
        transfer_ps = [_times(link, link.transfer_ps, n_bytes) for link in (network.intra, network.inter)]
        return latency_ps, np.where(near, *transfer_ps)

    def reduction_ps(self, n_bytes: Array | int) -> Any:
        """Return the times of reductions."""
        return _times(self.network, self.network.reduce_ps, n_bytes)


def _times(priced: Link | Network, price: Callable[[Any], Any], n_bytes: Array | int) -> Any:
    """Return the price of each size; those of a network that was measured are looked up one by one."""
    if type(priced) in (Link, Network) or isinstance(n_bytes, int):
        return price(n_bytes)
    sizes, places = np.unique(n_bytes, return_inverse=True)
    return np.array([price(size) for size in sizes.tolist()])[places]
