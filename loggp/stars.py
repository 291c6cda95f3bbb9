"""The cost of a star: all ranks send to rank 0, which receives from one after the other, or it sends to all in turn."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from loggp.machine import Cost, Machine


class Star:
    """The clocks of a star around rank 0, into which all ranks enter at the same time.

    now:    When each rank goes on.
    free:   When each port for which ranks may have to wait is free again: the ports of rank 0 and of nodes.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine, self.network, self.p = machine, machine.network, machine.p
        self.now, self.sends, self.bytes_sent, self.rounds = [0] * self.p, [0] * self.p, [0] * self.p, 0
        self.free: dict[tuple[str, int], int] = {}

    def collect(self, n_bytes: Sequence[int], reduced: int = 0) -> Star:
        """Let rank 0 receive n_bytes[rank] from all others, in order, and reduce `reduced` bytes after each."""
        now, o, reduce_ps = self.now, self.network.overhead_ps, self.network.reduce_ps(reduced)
        coming: list[tuple[int, int]] = []  # when the first byte is there, and whose
        arrivals: dict[int, int] = {}
        for source in range(1, self.p):
            now[source] += o
            # The first receive is posted already, the others are not: those messages leave now if they are buffered.
            if source == 1 or self.machine.is_eager(n_bytes[source]):
                coming.append(self._leave(source, 0, n_bytes[source], now[source]))
        heapify(coming)
        for source in range(1, self.p):
            if source > 1 and not self.machine.is_eager(n_bytes[source]):
                heappush(coming, self._leave(source, 0, n_bytes[source], max(now[source], now[0])))
            while source not in arrivals:
                time_ps, other = heappop(coming)
                arrivals[other] = self._arrive(other, 0, n_bytes[other], time_ps)
            now[0] = max(now[0], arrivals.pop(source)) + o + reduce_ps
            self.sends[source] += 1
            self.bytes_sent[source] += n_bytes[source]
        self.rounds += self.p > 1
        return self

    def spread(self, n_bytes: Sequence[int]) -> Star:
        """Let rank 0 send n_bytes[rank] to all others, in order; they wait for it."""
        now, o = self.now, self.network.overhead_ps
        for dest in range(1, self.p):
            now[0] += o
            buffered = self.machine.is_eager(n_bytes[dest])
            offered = now[0] if buffered else max(now[0], now[dest])
            coming_ps, _ = self._leave(0, dest, n_bytes[dest], offered)
            if not buffered:
                link = self.machine.link(0, dest)
                now[0] = coming_ps - link.latency_ps + link.transfer_ps(n_bytes[dest])
            now[dest] = max(now[dest], self._arrive(0, dest, n_bytes[dest], coming_ps)) + o
            self.sends[0] += 1
            self.bytes_sent[0] += n_bytes[dest]
        self.rounds += self.p > 1
        return self

    def cost(self) -> Cost:
        """Return the cost of what was done so far."""
        exact = None if self.network.jitter_ps else max(self.now)
        return Cost(self.rounds, self.sends, self.bytes_sent, exact, exact)

    def _leave(self, source: int, dest: int, n_bytes: int, time_ps: int) -> tuple[int, int]:
        """Let a message take its out-port; return when its first byte is there, and its source."""
        link = self.machine.link(source, dest)
        begin_ps = self._take("out", source, dest, time_ps, link.transfer_ps(n_bytes))
        if source and not self.machine.is_eager(n_bytes):
            self.now[source] = begin_ps + link.transfer_ps(n_bytes)
        return begin_ps + link.latency_ps, source

    def _arrive(self, source: int, dest: int, n_bytes: int, time_ps: int) -> int:
        """Let a message take its in-port; return when its last byte is there."""
        transfer_ps = self.machine.link(source, dest).transfer_ps(n_bytes)
        return self._take("in", dest, source, time_ps, transfer_ps) + transfer_ps

    def _take(self, way: str, rank: int, other: int, time_ps: int, transfer_ps: int) -> int:
        """Return when a port that may be busy begins to serve, and keep it busy."""
        network, nodes = self.network, self.machine.nodes
        if not network.ports:
            return time_ps
        through_node = network.shared_node_port and nodes[rank] != nodes[other]
        port = (f"node {way}", nodes[rank]) if through_node else (way, rank)
        begin_ps = max(self.free.get(port, 0), time_ps)
        self.free[port] = begin_ps + transfer_ps
        return begin_ps
