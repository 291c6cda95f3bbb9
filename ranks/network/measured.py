"""A measured network: times are kept as tables, with straight lines between their sizes.

A single line alpha + n*beta is wrong by a factor of two or three between caches and memory, and at sizes where an MPI
library changes its protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from ranks.network.model import Link, Network

Table = tuple[tuple[int, int], ...]


def looked_up(table: Table, n_bytes: int) -> int:
    """Return the time of n_bytes by a table of (bytes, time), linear in between and beyond.

    looked_up(((0, 0), (10, 100), (20, 400)), 15)  # 250
    looked_up(((0, 0), (10, 100), (20, 400)), 30)  # 700
    """
    for (below, early), (above, late) in pairwise(table):
        if n_bytes <= above or above == table[-1][0]:
            return early + (late - early) * (n_bytes - below) // (above - below)
    return table[0][1]


@dataclass(frozen=True, slots=True)
class Times:
    """Times by bytes, of whole arrays, and of parts of arrays `blocks` times as large: those are in no near cache."""

    whole: Table
    parts: Table
    blocks: int

    def within(self, n_bytes: int) -> Table:
        """Return the times of parts of arrays of n_bytes: between both tables, by how many parts an array has.

        Times(((0, 0), (10, 100)), ((0, 0), (10, 300)), 3).within(20)  # ((0, 0), (10, 200))
        """
        made = []
        for (size, near), (_, far) in zip(self.whole, self.parts, strict=True):
            further = min(self.blocks, max(1, n_bytes / size)) - 1 if size else 0
            made.append((size, near + round((far - near) * further / (self.blocks - 1))))
        return tuple(made)


@dataclass(frozen=True, slots=True)
class MeasuredLink(Link):
    """A link whose transfer times were measured: (bytes, picoseconds beyond those of nothing), by size."""

    table: Table = ((0, 0), (1, 0))

    def transfer_ps(self, n_bytes: int) -> int:
        """Return how long `n_bytes` take beyond the latency."""
        return looked_up(self.table, n_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetwork(Network):
    """A network whose reductions were measured too, and its shared memory, if its ranks have some.

    reductions: a table of (bytes, picoseconds).
    memory: its latency is that of a sync of all ranks. transfer_ps(n) is the time in which a rank writes n bytes and
    reads n bytes of another, without the time to reduce them. None if ranks share no memory.
    calls: for each function that was timed, how long its own code takes in one call, by the bytes of its array. It is
    longer where arrays pass through the cache in which the code lies.
    messages, sums: the measured times, from which `within` takes the links and reductions for arrays of a size.
    """

    reductions: Table = ((0, 0), (1, 0))
    memory: MeasuredLink | None = None
    calls: tuple[tuple[str, Table], ...] = ()
    messages: Times | None = None
    sums: Times | None = None

    def reduce_ps(self, n_bytes: int) -> int:
        """Return the time to reduce `n_bytes` into another `n_bytes`."""
        return looked_up(self.reductions, n_bytes)

    def own_code_ps(self, function: str, n_bytes: int) -> int:
        """Return how long a function's own code takes in a call with an array of n_bytes; 0 if it was not timed."""
        table = dict(self.calls).get(function)
        return looked_up(table, min(n_bytes, table[-1][0])) if table else 0

    def within(self, n_bytes: int) -> MeasuredNetwork:
        """Return the network for calls whose arrays have n_bytes: arrays that fit into a cache cost less."""
        if self.messages is None or self.sums is None:
            return self
        link, memory = link_of(self.messages.within(n_bytes)), self.memory
        if memory is not None and n_bytes:
            # Pieces of an array take equal times, and so do its blocks: each takes its share of the whole.
            memory = replace(memory, table=((0, 0), (n_bytes, memory.transfer_ps(n_bytes))))
        reductions = self.sums.within(n_bytes)
        return replace(self, inter=link, intra=link, itself=link, reductions=reductions, memory=memory)


def link_of(table: Table) -> MeasuredLink:
    """Return the link whose messages take the times of a table, the latency being that of nothing."""
    latency_ps = table[0][1]
    beyond = tuple((n_bytes, time_ps - latency_ps) for n_bytes, time_ps in table)
    return MeasuredLink(latency_ps, fs_per_byte(table), beyond)


def fs_per_byte(table: Table) -> int:
    """Return the slope between the two largest sizes."""
    (below, early), (above, late) = table[-2:]
    return round((late - early) * 1000 / (above - below))
