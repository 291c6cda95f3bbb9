"""The cost of ranks of one node that share memory: a flag is a word of that memory, and a sync sends no message."""

from __future__ import annotations

import numpy as np

from loggp.machine import Cost, Machine


class NodeClocks:
    """The clocks of all ranks of one node, and how many syncs they have done."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.syncs = machine, 0
        self.now = np.zeros(machine.p, np.int64)
        # A measured network has prices of memory beside those of messages.
        self.link = getattr(machine.network, "memory", None) or machine.network.intra

    def sync(self) -> None:
        """Let each rank raise p-1 flags, which takes o each, and see the flags of the others, L later."""
        o, p = self.machine.network.overhead_ps, self.machine.p
        if p == 1:
            return
        self.syncs += 1
        # A rank raises p-1 flags and sees p-1, one after the other. The flag of the rank at distance d is raised d o
        # after that began, and seen (p-d) o before the end: so the distance of the latest one does not matter.
        latest = np.sort(self.now)[-2:]
        others = np.where(self.now == latest[1], latest[0], latest[1])
        self.now = np.maximum(self.now + 2 * (p - 1) * o, others + p * o + self.link.latency_ps)

    def cost(self) -> Cost:
        """Return the cost of all syncs so far."""
        p = self.machine.p
        exact = None if self.machine.network.jitter_ps else int(self.now.max())
        return Cost(self.syncs, [self.syncs * (p - 1)] * p, [0] * p, exact, exact)
