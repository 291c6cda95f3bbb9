"""One rank is late, or one link is slow: which algorithms pass it on, which amplify it, which hide it?

Every all-reduce and every barrier needs something of every rank before any can finish, so a late rank costs all of
them its whole delay. A broadcast needs nothing of a leaf, so a late leaf costs nothing until it is the last. A slow
link costs as often as it lies on the longest chain of messages: twice in a ring of any size, once in lg p rounds. But a
ring sends nearly all bytes over each of its links, so that where ports serve one message after the other, a link that
is f times as slow makes a ring of large messages f times as slow, and the others only in part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import collectives
import ranks
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.errors import UsageError
from experiments.pictures.curves import Points, curves

EXAMPLES = """\
  python experiments/stragglers.py                                   8 ranks, 1 MiB, 100 µs late, a link 4 times as slow
  python experiments/stragglers.py --ranks 64 --bytes 4096 --late 1000
  python experiments/stragglers.py --factor 16 --plot slow.png       time against the factor"""
EXPECTED = """\
Expected without ports, m(b) = alpha + b beta, the link from rank 0 to rank 1 f times as slow:
  all-reduces, barrier   rank p-1 late by d: + d                 they need something of everyone
  broadcast              rank p-1 late by d: + max(0, d - T)     nobody needs anything of a leaf
  ring                   + 2(f-1) m(n/p)     the longest chain passes the link twice, whatever p > 2 is
  recursive doubling     +  (f-1) m(n)       the link is used in the round of distance 1 only
  halving-doubling       +  (f-1) m(n/2)     first and last round, but even and odd ranks do not meet between them:
                                             no chain has both
  naive                  +  (f-1) m(n)       from the root to rank 1
  broadcast              + max(0, f m(n) - T)   rank 1 is a leaf
  barrier                +  (f-1) m(0)       dissemination, first round only
"""


@dataclass(frozen=True)
class Setting:
    """p ranks with n bytes each, on links of m(b) picoseconds; `late_ps` and `factor` are what goes wrong."""

    p: int
    n_bytes: int
    network: ranks.Network
    late_ps: int
    factor: int

    def m(self, n_bytes: float) -> float:
        """Return alpha + n*beta: a message alone."""
        return self.network.message_ps(self.network.inter, round(n_bytes))


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


def measured(algorithm: Algorithm, setting: Setting, *, late: bool = False, slow: bool = False) -> int:
    """Return the time of a run in which the last rank is late, or the link from rank 0 to 1 slow."""
    x = np.ones(setting.n_bytes // 4, np.float32)
    faults = [ranks.SlowLink(source=0, dest=1, factor=setting.factor)] if slow else []

    def program(comm: Any) -> None:
        if late and comm.rank == comm.size - 1:
            ranks.spend(comm, setting.late_ps)
        algorithm.run(comm, x)

    return ranks.run(program, setting.p, network=setting.network, faults=faults, buffering="infinite").time_ps


def compare(setting: Setting) -> None:
    """Print what a late rank and a slow link add, expected and measured, where messages do not wait for each other."""
    rows = []
    for name, algorithm in progress.track(list(ALGORITHMS.items()), "running"):
        plain = measured(algorithm, setting)
        row = [name, units.nice_time(plain)]
        for kind, expected in (("late", algorithm.late), ("slow", algorithm.slow)):
            added = measured(algorithm, setting, **{kind: True}) - plain
            wanted = expected(setting, plain)
            # Sizes and rates are rounded to picoseconds for each of at most 2p messages of a chain.
            assert abs(added - wanted) <= 2 * setting.p * setting.factor, f"{name}, {kind}: {added}, expected {wanted}"
            row += [units.nice_time(wanted), units.nice_time(added)]
        rows.append(row)
    titles = ["late rank\nexpected", "\nmeasured", "slow link\nexpected", "\nmeasured"]
    tables.table(["", "undisturbed\nT", *(f"{title}" for title in titles)], rows)


def with_ports(setting: Setting) -> None:
    """Print how much slower a slow link makes each algorithm where ports serve one message after the other."""
    ported = replace(setting, network=replace(setting.network, ports=True))
    rows = []
    for name, algorithm in ALGORITHMS.items():
        plain, slow = measured(algorithm, ported), measured(algorithm, ported, slow=True)
        n_bytes = algorithm.share(setting.p) * setting.n_bytes
        bound = setting.factor * (n_bytes * setting.network.inter.fs_per_byte // 1000)
        assert slow >= bound - 2 * setting.p * setting.factor, f"{name}: {slow}, at least {bound} expected"
        rows.append(
            [name, units.nice_time(plain), f"≥ {units.nice_time(bound)}", units.nice_time(slow), f"{slow / plain:.2f}"]
        )
    tables.table(["with ports", "undisturbed", "slow link\nexpected", "\nmeasured", "times as\nslow"], rows)


def draw(setting: Setting, path: Path) -> None:
    """Draw time against the factor of the slow link, expected and measured."""
    lines: dict[str, Points] = {}
    points: dict[str, Points] = {}
    for name in ("ring", "recursive doubling", "halving-doubling"):
        algorithm, plain = ALGORITHMS[name], measured(ALGORITHMS[name], setting)
        each = [replace(setting, factor=2**k) for k in range(7)]
        lines[name] = [(s.factor, plain + algorithm.slow(s, plain)) for s in each]
        points[name] = [(s.factor, measured(algorithm, s, slow=True)) for s in each]
    title = f"One slow link, {setting.p} ranks, {units.nice_bytes(setting.n_bytes)} on each, no ports"
    figure = curves(title, "the link is slower by", lines, points, "{:.0f}".format, units.nice_time)
    files.save(path, figure.savefig)


def run(args: argparse.Namespace) -> None:
    """Do the experiment."""
    p, n_bytes = args.ranks or 8, args.bytes // 4 * 4
    if p < 4 or p & (p - 1):
        raise UsageError(f"--ranks: got {p}, expected a power of two from 4 up, for which the formulas hold")
    n_bytes -= n_bytes % (4 * p)
    cli.require_memory(f"{p} ranks of {units.nice_bytes(n_bytes)}", 4 * p * n_bytes, "fewer --ranks or --bytes")
    setting = Setting(p, n_bytes, ranks.presets["alpha-beta"], args.late * 1_000_000, args.factor)
    print(__doc__.partition("\n")[0], "\n", EXPECTED, sep="\n")
    print(f"Ranks: {p} simulated on alpha-beta: {setting.network.source}")
    print(f"Data:  {units.nice_bytes(n_bytes)} on each")
    print(f"Wrong: rank {p - 1} is {args.late} µs late, or the link from rank 0 to 1 {args.factor} times as slow\n")
    compare(setting)
    with_ports(setting)
    if args.plot:
        draw(setting, args.plot)


def main() -> int:
    """Run the experiment from the command line."""
    options = cli.Parser(
        description=__doc__, epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--ranks", type=cli.count, metavar="P", help="a power of two from 4 up (default: 8)")
    options.add_argument("--bytes", type=cli.count, default=2**20, metavar="N", help="on each rank (default: 1 MiB)")
    options.add_argument("--late", type=cli.count, default=100, metavar="US", help="microseconds (default: 100)")
    options.add_argument("--factor", type=cli.count, default=4, metavar="F", help="of the slow link (default: 4)")
    options.add_argument("--plot", type=files.picture, metavar="FILE", help="draw time over factor (.png, .svg)")
    return cli.guarded(options, run, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
