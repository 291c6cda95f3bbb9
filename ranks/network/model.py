"""What a message costs: LogGP-lite in integer picoseconds, and presets with published numbers.

A message of n bytes costs its sender `overhead` o of CPU time, waits for the sender's out-port, and fills it for n*G.
It travels for L and fills the receiver's in-port for n*G; the two ports overlap, except for L. Then it costs the
receiver another o. A message that is alone takes alpha + n*beta, with alpha = L + 2o and beta = G. Ports serve messages
in the order in which they come. The handshake of a rendezvous costs nothing: it starts when both sides are ready.

Source: Alexandrov, Ionescu, Schauser, Scheiman, LogGP, SPAA 1995 (o, L, G; the gap g is left out).
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from math import inf
from typing import Any

PS_PER_S = 10**12


def _make_integers(thing: Any, *names: str) -> None:
    """Make these fields Python's integers, so that the clock stays exact; raise for what is none, such as a NaN."""
    for name in names:
        value = getattr(thing, name)
        try:
            object.__setattr__(thing, name, operator.index(value))
        except TypeError:
            raise TypeError(
                f"{type(thing).__name__}: got {name}={value!r}, expected an integer; remedy: round it"
            ) from None


@dataclass(frozen=True, slots=True)
class Link:
    """One class of link: latency L in picoseconds, inverse bandwidth G in femtoseconds a byte.

    Link.of(latency_s=1e-6, bytes_per_s=12.5e9)  # Link(latency_ps=1000000, fs_per_byte=80000)
    """

    latency_ps: int
    fs_per_byte: int

    def __post_init__(self) -> None:
        _make_integers(self, "latency_ps", "fs_per_byte")
        if self.latency_ps < 0 or self.fs_per_byte < 0:
            raise ValueError(f"Link: got {self}, expected no negative time; remedy: give both as 0 or more")

    @classmethod
    def of(cls, latency_s: float, bytes_per_s: float) -> Link:
        """Return the link with this latency and bandwidth, rounded to what the clock can tell apart."""
        is_number = isinstance(latency_s, (int, float)) and isinstance(bytes_per_s, (int, float))
        if not (is_number and 0 <= latency_s < inf and 0 < bytes_per_s < inf):
            raise ValueError(
                f"Link.of: got latency_s={latency_s!r}, bytes_per_s={bytes_per_s!r}, expected finite numbers, from 0 "
                "and above 0; remedy: correct them"
            )
        return cls(round(latency_s * PS_PER_S), round(1000 * PS_PER_S / bytes_per_s))

    def transfer_ps(self, n_bytes: int) -> int:
        """Return how long `n_bytes` occupy a port: n*G, rounded down to picoseconds."""
        return n_bytes * self.fs_per_byte // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where ranks sit and what their messages cost; rank r is on node r // ranks_per_node.

    inter, intra, itself   links between nodes, inside a node, from a rank to itself (None: as the one before)
    overhead_ps            o, CPU time of each side of a message
    ports                  one full-duplex port a rank; without, messages never wait for each other
    shared_node_port       all ranks of a node share one port towards other nodes
    reduce_fs_per_byte     gamma, time to reduce one byte
    eager_limit            bytes up to which a standard send is buffered
    poll_ps                time that an unsuccessful Test or Iprobe takes, at least 1
    jitter_ps              up to this much, drawn from the run's seed, is added to each message's latency
    """

    name: str
    inter: Link
    intra: Link = None  # type: ignore[assignment]  # filled in __post_init__
    itself: Link = None  # type: ignore[assignment]
    ranks_per_node: int = 1
    overhead_ps: int = 0
    ports: bool = True
    shared_node_port: bool = False
    reduce_fs_per_byte: int = 0
    eager_limit: int = 65_536
    poll_ps: int = 100_000
    jitter_ps: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intra", self.intra or self.inter)
        object.__setattr__(self, "itself", self.itself or self.intra)
        for name in ("inter", "intra", "itself"):
            if not isinstance(getattr(self, name), Link):
                raise TypeError(
                    f"Network {self.name!r}: got {name}={getattr(self, name)!r:.60}, expected a Link; remedy: give "
                    "ranks.Link.of(latency_s, bytes_per_s)"
                )
        _make_integers(
            self, "ranks_per_node", "overhead_ps", "reduce_fs_per_byte", "eager_limit", "poll_ps", "jitter_ps"
        )
        times = (self.overhead_ps, self.reduce_fs_per_byte, self.eager_limit, self.jitter_ps)
        if self.ranks_per_node < 1 or self.poll_ps < 1 or min(times) < 0:
            raise ValueError(
                f"Network {self.name!r}: got ranks_per_node={self.ranks_per_node}, poll_ps={self.poll_ps}, "
                f"{min(times)} as the smallest other number, expected at least 1, 1 and 0; remedy: correct it"
            )

    def link(self, source: int, dest: int) -> Link:
        """Return the link class between two ranks of the world."""
        if source == dest:
            return self.itself
        same_node = source // self.ranks_per_node == dest // self.ranks_per_node
        return self.intra if same_node else self.inter

    def message_ps(self, link: Link, n_bytes: int) -> int:
        """Return alpha + n*beta: one message alone, from the call to send to the return of its receive."""
        return link.latency_ps + 2 * self.overhead_ps + link.transfer_ps(n_bytes)

    def reduce_ps(self, n_bytes: int) -> int:
        """Return n*gamma: the time to reduce `n_bytes` into another `n_bytes`."""
        return n_bytes * self.reduce_fs_per_byte // 1000

    def is_uniform(self, size: int) -> bool:
        """Return whether all pairs of different ranks among the first `size` have the same link."""
        return self.inter == self.intra or size <= self.ranks_per_node or self.ranks_per_node == 1
