"""One rank is late, or one link is slow: which algorithms pass the delay on, which amplify it, which hide it?

In an all-reduce or a barrier, no rank can finish before it has something from every rank, so a late rank costs all of
them its whole delay. A broadcast needs nothing from a leaf, so a late leaf costs nothing until it is the last. What a
slow link costs depends on how often it lies on the longest chain of messages: twice in a ring of any size, once in lg p
rounds. But a ring sends nearly all bytes over each of its links. Where a port serves one message after the other, a
link that is f times as slow makes a ring of large messages f times as slow, and the others only in part.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import collectives
import ranks
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.errors import UsageError
from experiments.lab.limits import EVENT_BYTES, Need, afford
from experiments.lab.options import Parser, positive, require_one_kind_of_link, size
from experiments.lab.tables import Bound, Column, pair, time_column
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import Simulated
from experiments.pictures.curves import Points, curves
from ranks import look

SHOWS = "What a late rank and a slow link add to the time of all-reduces, a broadcast and a barrier, and why."
TAKES = "1 s"
EXAMPLES = {
    "": "8 ranks, 1 MiB, a rank 100 µs late, a link 4 times as slow",
    "--ranks 64 --bytes 4KiB --late 0.5": "a rank half a microsecond late",
    "--network ethernet --factor 16 --plot slow.png": "on the links of another network; time against the factor, drawn",
    "--html slow.html": "the messages of a ring that has the slow link",
}
EXPECTED = """\
Expected without ports, m(b) = alpha + b beta, if rank p-1 is d late:
  all-reduces, barrier   + d                    they need something of everyone
  broadcast              + max(0, d - T)        nobody needs anything of a leaf
and if the link from rank 0 to rank 1 is f times as slow:
  ring                   + 2(f-1) m(n/p)        the longest chain uses it twice
  recursive doubling     + (f-1) m(n)           only in the round of distance 1
  halving-doubling       + (f-1) m(n/2)         no chain has both of its uses
  naive                  + (f-1) m(n)           from the root to rank 1
  broadcast              + max(0, f m(n) - T)   rank 1 is a leaf
  barrier                + (f-1) m(0)           only in the first round
"""


@dataclass(frozen=True)
class Setting:
    """p ranks with n bytes each, on links of m(b) picoseconds; `late_ps` and `factor` are what goes wrong."""

    p: int
    n_bytes: int
    network: ranks.Network
    late_ps: int
    factor: float

    def m(self, n_bytes: float) -> float:
        """Return alpha + n*beta: a message alone."""
        return self.network.message_ps(self.network.inter, round(n_bytes))

    @property
    def ported(self) -> Setting:
        """The same where ports serve one message after the other."""
        return replace(self, network=replace(self.network, ports=True))


Program = Callable[[Any, np.ndarray], Any]
Added = Callable[[Setting, float], float]


@dataclass(frozen=True)
class Algorithm:
    """run(comm, x), what a late rank and a slow link add to its time T, and the share of n that goes over that link."""

    run: Program
    late: Added
    slow: Added
    share: Callable[[int], float]


ALGORITHMS = {
    "ring": Algorithm(
        collectives.ring_allreduce,
        lambda s, t: s.late_ps,
        lambda s, t: 2 * (s.factor - 1) * s.m(s.n_bytes / s.p),
        lambda p: 2 * (p - 1) / p,
    ),
    "recursive doubling": Algorithm(
        collectives.recursive_doubling_allreduce,
        lambda s, t: s.late_ps,
        lambda s, t: (s.factor - 1) * s.m(s.n_bytes),
        lambda p: 1,
    ),
    "halving-doubling": Algorithm(
        collectives.halving_doubling_allreduce,
        lambda s, t: s.late_ps,
        lambda s, t: (s.factor - 1) * s.m(s.n_bytes / 2),
        lambda p: 1,
    ),
    "naive": Algorithm(
        collectives.naive_allreduce,
        lambda s, t: s.late_ps,
        lambda s, t: (s.factor - 1) * s.m(s.n_bytes),
        lambda p: 1,
    ),
    "broadcast": Algorithm(
        collectives.binomial_broadcast,
        lambda s, t: max(0, s.late_ps - t),
        lambda s, t: max(0, s.factor * s.m(s.n_bytes) - t),
        lambda p: 1,
    ),
    "barrier": Algorithm(
        lambda comm, x: collectives.dissemination_barrier(comm),
        lambda s, t: s.late_ps,
        lambda s, t: (s.factor - 1) * s.m(0),
        lambda p: 0,
    ),
}


def bare(network: ranks.Network) -> ranks.Network:
    """Return a network of the same links on which nothing else takes time, so that the formulas hold."""
    link = ranks.Link(network.message_ps(network.link(0, 1), 0), network.link(0, 1).fs_per_byte)
    return ranks.Network(name=network.name, inter=link, ports=False, source=network.source)


def measured(algorithm: Algorithm, setting: Setting, *, late: bool = False, slow: bool = False) -> int:
    """Return the time of a run in which the last rank is late, or the link from rank 0 to 1 slow."""
    return disturbed(algorithm, setting, late=late, slow=slow).time_ps


def disturbed(
    algorithm: Algorithm, setting: Setting, *, late: bool = False, slow: bool = False, trace: bool = False
) -> ranks.Run:
    """Return a run in which the last rank is late, or the link from rank 0 to 1 slow."""
    x = np.ones(setting.n_bytes // 4, np.float32)
    faults = [ranks.SlowLink(source=0, dest=1, factor=setting.factor)] if slow else []

    def program(comm: Any) -> None:
        if late and comm.rank == comm.size - 1:
            ranks.spend(comm, setting.late_ps)
        algorithm.run(comm, x)

    network = setting.network
    return ranks.run(program, setting.p, network=network, faults=faults, buffering="infinite", trace=trace)


def compare(setting: Setting) -> None:
    """Print what a late rank and a slow link add, expected and measured, where messages do not wait for each other."""
    rows = []
    for name, algorithm in progress.track(list(ALGORITHMS.items()), "running"):
        plain = measured(algorithm, setting)
        row: list[Any] = [name, plain]
        for kind, expected in (("late", algorithm.late), ("slow", algorithm.slow)):
            added = measured(algorithm, setting, **{kind: True}) - plain
            wanted = expected(setting, plain)
            # Sizes and rates are rounded to picoseconds for each of at most 2p messages of a chain.
            assert abs(added - wanted) <= 2 * setting.p * setting.factor, f"{name}, {kind}: {added}, expected {wanted}"
            row += [wanted, added]
        rows.append(row)
    added_by = [*pair("late rank", units.nice_time, "ps"), *pair("slow link", units.nice_time, "ps")]
    tables.table([Column("algorithm"), time_column("T", "undisturbed"), *added_by], rows, "added")


def with_ports(setting: Setting) -> None:
    """Print how much slower a slow link makes each algorithm where ports serve one message after the other."""
    rows, ported = [], setting.ported
    for name, algorithm in ALGORITHMS.items():
        plain, slow = measured(algorithm, ported), measured(algorithm, ported, slow=True)
        n_bytes = algorithm.share(setting.p) * setting.n_bytes
        bound = setting.factor * (n_bytes * setting.network.inter.fs_per_byte // 1000)
        assert slow >= bound - 2 * setting.p * setting.factor, f"{name}: {slow}, at least {bound} expected"
        rows.append([name, plain, Bound("≥", bound), slow, slow / plain])
    columns = [time_column("undisturbed"), *pair("slow link", units.nice_time, "ps")]
    times = Column("slow", "times as", decimals(".2f"))
    tables.table([Column("with ports", called="algorithm"), *columns, times], rows, "with ports")


def draw(setting: Setting, path: Path) -> None:
    """Draw time against the factor of the slow link, expected and measured."""
    lines: dict[str, Points] = {}
    points: dict[str, Points] = {}
    factors = sorted({2**k for k in range(7)} | {setting.factor})
    for name, algorithm in progress.track(list(ALGORITHMS.items()), "drawing"):
        plain = measured(algorithm, setting)
        each = [replace(setting, factor=factor) for factor in factors]
        lines[name] = [(s.factor, plain + algorithm.slow(s, plain)) for s in each]
        points[name] = [(s.factor, measured(algorithm, s, slow=True)) for s in each]
    title = f"One slow link, {setting.p} ranks, {units.nice_bytes(setting.n_bytes)} on each, no ports"

    def picture() -> Any:
        figure = curves(title, "the link is slower by", lines, points, "{:.0f}".format, units.nice_time)
        axes = figure.axes[0]
        axes.axvline(setting.factor, color=look.ACCENT, linestyle="--", linewidth=1)
        axes.text(setting.factor, axes.get_ylim()[1], f" --factor {setting.factor:g}", color=look.ACCENT, va="top")
        return figure

    files.draw(path, picture)


def experiment(world: Simulated, args: argparse.Namespace, setting: Setting) -> None:
    """Compare, and draw."""
    say(EXPECTED)
    say(f"Ranks: {Simulated(world.p, setting.network).name}")
    say(f"Data:  {units.nice_bytes(setting.n_bytes)} on each")
    late, slow = f"{args.late:g} µs late", f"{args.factor:g} times as slow"
    say(f"Wrong: rank {world.p - 1} is {late}, or the link from rank 0 to 1 {slow}")
    compare(setting)
    with_ports(setting)
    if args.trace or args.html:
        trace = disturbed(ALGORITHMS["ring"], setting.ported, slow=True, trace=True).trace
        title = f"A ring of {setting.p} ranks whose link from rank 0 to 1 is {args.factor:g} times as slow, with ports"
        files.save_trace(args, trace, title)
    if args.plot:
        draw(setting, args.plot)


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("a power of two", default=8, network="alpha-beta", least=4)
    made.add_argument(
        "--bytes", type=size, default="1MiB", metavar="N", help="bytes on each rank: 1MiB (default), 64KiB, 1e6"
    )
    made.add_argument(
        "--late",
        type=positive,
        default=100.0,
        metavar="US",
        help="how many microseconds the rank is late (default: 100)",
    )
    made.add_argument(
        "--factor", type=positive, default=4.0, metavar="F", help="how many times as slow the link is (default: 4)"
    )
    made.add_plot("time against the factor")
    made.add_trace("the messages of a ring that has the slow link")
    return made


def power_of_two(n: int) -> int:
    """Return the largest power of two up to n, 0 if there is none."""
    return 1 << n.bit_length() >> 1


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: arrays, what is buffered, a trace; the messages of ten rings, drawn of twenty."""
    p = args.ranks
    events = EVENT_BYTES * 4 * p**2 if args.trace or args.html else 0
    return Need(16 * p * args.bytes + events, messages=(20 if args.plot else 10) * 2 * p**2)


def prepare(args: argparse.Namespace) -> Setting:
    """Return what is to be disturbed, and how."""
    p = args.ranks
    if p & (p - 1):
        raise UsageError(f"--ranks: got {p}, expected a power of two, for which the formulas hold")
    require_one_kind_of_link(args)
    afford(args, need, ranks=power_of_two, bytes=4 * p)
    if args.factor < 1:
        raise UsageError(f"--factor: got {args.factor:g}, expected 1 or more: the link is slow")
    if args.bytes % (4 * p):
        nearest = max(round(args.bytes / (4 * p)), 1) * 4 * p
        raise UsageError(
            f"--bytes: got {args.bytes}, expected a multiple of {4 * p}, so that {p} ranks share out float32 equally; "
            f"remedy: --bytes {nearest}"
        )
    return Setting(p, args.bytes, bare(ranks.presets[args.network]), round(args.late * 1e6), args.factor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
