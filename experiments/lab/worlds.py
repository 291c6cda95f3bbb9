"""The two worlds of an experiment, simulated ranks and real MPI, measured through the same call."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ranks
from collectives import Cost
from ranks import real

REPEATS = 7  # timed calls on real MPI, of which the median counts

# A message takes 1 and everything else 0, so time on this network is the longest chain of messages.
_ROUNDS = ranks.Network(name="rounds", inter=ranks.Link(1, 0), ports=False, eager_limit=2**62)

Program = Callable[[Any], Any]
Check = Callable[[int, Any], bool]


@dataclass(frozen=True)
class Measured:
    """What one call cost; sends and bytes_sent by rank. right: whether the result on every rank is."""

    sends: list[int]
    bytes_sent: list[int]
    time_ps: int
    right: bool
    trace: Any = None


@dataclass(frozen=True)
class Trial:
    """A name, what is expected of it (None: nothing), the rounds counted and what was measured.

    p: On how many ranks, where a table compares several numbers of them.
    """

    name: str
    expected: Cost | None
    rounds: int
    measured: Measured
    p: int | None = None


def rounds(program: Callable[..., Any], p: int, *args: Any) -> int:
    """Return the longest chain of messages in `program(comm, *args)`, counted on p simulated ranks."""
    return ranks.run(program, p, *args, network=_ROUNDS).time_ps


class Simulated:
    """A world of p simulated ranks, all of which are in this process."""

    real, first = False, True

    def __init__(self, p: int, network: ranks.Network) -> None:
        self.p, self.network, self.local_ranks = p, network, range(p)
        self.name = f"{p:,} simulated on {network.name}\n       {network.source}"
        links = {"in a node": network.intra, "between": network.inter}
        several = p > network.ranks_per_node and network.intra != network.inter
        for where, link in list(links.items())[: 1 + several]:
            alpha_us, gb_per_s = network.message_ps(link, 0) / 1e6, 1e6 / link.fs_per_byte
            self.name += f"\n       alpha {alpha_us:g} µs, beta 1 s / {gb_per_s:.3g} GB{f' {where}' * several}"

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return make()."""
        return make()

    def measure(self, program: Program, check: Check, *, trace: bool = False, calls: int = 1) -> Measured:
        """Return what one `program(comm)` costs, whose result on each rank check(rank, result) judges."""
        run = ranks.run(program, self.p, network=self.network, trace=trace)
        right = all(check(rank, result) for rank, result in enumerate(run.results))
        return Measured(run.sends, run.bytes_sent, run.time_ps, right, run.trace if trace else None)


class Real:
    """The world of real MPI, of which this process is one rank."""

    real = True
    # Formulas want one. Rounds and bytes do not depend on it; expected times are not shown.
    network = ranks.network_named(None)

    def __init__(self) -> None:
        from mpi4py import MPI

        self.comm = real.world()
        self.p, self.first, self.local_ranks = self.comm.size, self.comm.rank == 0, [self.comm.rank]
        library = " ".join(MPI.Get_library_version().split()[:3])
        self.name = (
            f"{self.p} processes of {library}\n"
            f"Times: medians of {REPEATS} turns, each that of the slowest rank; rounds are counted on simulated ranks"
        )

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return on every rank what make() returns on the first."""
        return self.comm.bcast(make() if self.first else None)

    def measure(self, program: Program, check: Check, *, trace: bool = False, calls: int = 1) -> Measured:
        """Return the counts of one `program(comm)`, and the median wall time of `calls` calls on the slowest rank."""
        from mpi4py import MPI

        counting = _counting(self.comm)
        right = check(self.comm.rank, program(counting))
        seconds = []
        for _ in range(REPEATS):
            self.comm.Barrier()
            begin = MPI.Wtime()
            for _ in range(calls):
                program(self.comm)
            seconds.append((MPI.Wtime() - begin) / calls)
        every = self.comm.allgather((counting.sends, counting.bytes_sent, right, seconds))
        sends, bytes_sent, rights, times = zip(*every, strict=True)
        time_s = statistics.median(max(turn) for turn in zip(*times, strict=True))
        return Measured([*sends], [*bytes_sent], round(time_s * 1e12), all(rights))


World = Simulated | Real


def _counting(comm: Any) -> Any:
    """Return `comm` as a communicator of real MPI that counts what is sent through it."""
    from mpi4py import MPI

    class Counting(MPI.Intracomm):
        sends = bytes_sent = 0

        def _hidden(self) -> Counting:
            """Return itself: collectives send on a hidden duplicate, which would not count."""
            return self

    def counted(name: str) -> Callable[..., Any]:
        def call(self: Counting, buffer: Any, *args: Any) -> Any:
            self.sends += 1
            self.bytes_sent += buffer.nbytes
            return getattr(MPI.Intracomm, name)(self, buffer, *args)

        return call

    for name in ("Send", "Isend", "Sendrecv"):
        setattr(Counting, name, counted(name))
    return Counting(comm)
