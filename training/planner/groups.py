"""The times of collectives among ranks of a mesh: closed forms, since a search asks for thousands at 16,384 ranks.

Mesh order decides who shares a node: a group is p ranks of the world, `stride` apart, one of many that do the same at
the same time. Where all its links are alike, times are those of the catalogue, to the picosecond. Where some hops are
inside a node, small messages flow on while slow hops are under way: p steps take the sum of all hops. A large message
is not buffered, so each step takes what the slowest hop does. The tests hold both to the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np

from ranks import Network


@dataclass(frozen=True, slots=True)
class Group:
    """p ranks in a ring. far: the hops of its ring between nodes; crowd: how many such hops a shared port serves."""

    network: Network
    p: int
    far: int
    crowd: float

    # -- messages --------------------------------------------------------------------------------------------------

    def _link_ps(self, n_bytes: float, *, is_far: bool) -> float:
        link = self.network.inter if is_far else self.network.intra
        return link.latency_ps + self._transfer_ps(n_bytes, is_far=is_far)

    def _transfer_ps(self, n_bytes: float, *, is_far: bool) -> float:
        link = self.network.inter if is_far else self.network.intra
        return link.transfer_ps(int(n_bytes)) * (self.crowd if is_far else 1)

    def port_ps(self, n_bytes: float) -> float:
        """Return for how long a message keeps a port on the slowest hop."""
        return self._transfer_ps(n_bytes, is_far=self.far > 0)

    def wire_ps(self, n_bytes: float) -> float:
        """Return what a message takes between its send and its receive on the slowest hop."""
        return self._link_ps(n_bytes, is_far=self.far > 0)

    def message_ps(self, n_bytes: float) -> float:
        """Return what a message takes on the slowest hop, from the call to send to the return of its receive."""
        return self.wire_ps(n_bytes) + 2 * self.network.overhead_ps

    def is_eager(self, n_bytes: float) -> bool:
        """Return whether a message is buffered."""
        return n_bytes <= self.network.eager_limit

    def step_ps(self, n_bytes: float) -> float:
        """Return what a step of a ring takes in which every rank sends n_bytes to its neighbour."""
        if self.far in (0, self.p) or not self.is_eager(n_bytes):
            return self.message_ps(n_bytes)
        near, far = (self._link_ps(n_bytes, is_far=is_far) for is_far in (False, True))
        mean = near + (far - near) * self.far / self.p + 2 * self.network.overhead_ps
        return max(mean, self._transfer_ps(n_bytes, is_far=True))

    # -- collectives of n numbers, or of blocks ----------------------------------------------------------------------

    def allgather_ps(self, n: int, itemsize: int) -> float:
        """Return the time of a ring all-gather whose result has n numbers."""
        return (self.p - 1) * self.step_ps(-(-n // self.p) * itemsize)

    def reduce_scatter_ps(self, n: int, itemsize: int) -> float:
        """Return the time of a ring reduce-scatter."""
        block = -(-n // self.p) * itemsize
        return (self.p - 1) * (self.step_ps(block) + self.network.reduce_ps(block))

    def allreduce_ps(self, n: int, itemsize: int) -> float:
        """Return the time of a ring all-reduce."""
        return self.reduce_scatter_ps(n, itemsize) + self.allgather_ps(n, itemsize)

    def exchange_ps(self, block: float, *, reduces: bool = False) -> float:
        """Return the time in which every rank sends every other a block of so many bytes, in pairs."""
        if self.p == 1:
            return 0.0
        reduce_ps = self.p * self.network.reduce_ps(int(block)) if reduces else 0
        return (self.p - 1) * self.message_ps(block) + reduce_ps

    def busy_ps(self, n: int, itemsize: int, *, gathers: bool) -> float:
        """Return for how long a sum keeps a rank's port or processor busy. Others may run in the rest."""
        block = -(-n // self.p) * itemsize
        transfer_ps = self._transfer_ps(block, is_far=self.far > 0)
        two, reduce_ps = 2 * self.network.overhead_ps, self.network.reduce_ps(block)
        each = max(transfer_ps, two + reduce_ps) + (max(transfer_ps, two) if gathers else 0)
        return (self.p - 1) * each


@lru_cache(maxsize=4096)
def group(network: Network, world: int, p: int, stride: int) -> Group:
    """Return, of the groups of p ranks `stride` apart into which `world` ranks fall, the one with the most far hops."""
    per_node = network.ranks_per_node
    if p == 1 or network.is_uniform(world):
        return Group(network, p, 0 if network.is_uniform(world) and world <= per_node else p, 1.0)
    span = p * stride
    blocks = min(world // span, per_node // gcd(span, per_node)) or 1
    first = (np.arange(blocks)[:, None] * span + np.arange(min(stride, per_node))).reshape(-1, 1)
    ring = first + np.arange(p) * stride
    nodes = ring // per_node
    far = (nodes != np.roll(nodes, -1, 1)).sum(1)
    crowd = 1.0
    if network.shared_node_port and per_node > 1:
        crowd = max(1.0, float(far.mean()) / p * min(per_node, world))
    return Group(network, p, int(far.max()), crowd)
