"""How often does an algorithm pay each of the four prices of a network, and which algorithms can therefore never win?

A network has four prices: L for the latency of a message, o for a processor that starts or ends one, G for a byte
through a port, and gamma for a byte that is reduced. On a network where three prices are zero, time counts how often
the fourth is paid. If the four counts of one algorithm are all at least those of another, the first cannot beat the
second, whatever the prices are. This holds if the time is the sum of the four. It is, unless an algorithm pays two of
them at once.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import ranks
from collectives import CATALOGUE
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.limits import Need, afford
from experiments.lab.operations import BUS_FACTORS, Call
from experiments.lab.options import Parser, require_one_kind_of_link, size
from experiments.lab.tables import Column, time_column
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import Simulated
from experiments.pictures.parts import parts

SHOWS = "How often each algorithm pays for latency, overhead, bytes and reductions, and which others it cannot beat."
TAKES = "1 s"
EXAMPLES = {
    "": "all-reduce on 8 ranks",
    "--operations broadcast allgather --ranks 16": "other collectives",
    "--network ethernet --bytes 1KiB": "the prices of another network",
}
N_BYTES = 2**16


@dataclass(frozen=True)
class Prices:
    """The four prices of a network: picoseconds a message and an end of one, a byte sent and a byte reduced.

    Also how often an algorithm pays each one.
    """

    latency: float
    overhead: float
    byte: float
    reduced: float

    def times(self, paid: Prices) -> float:
        """Return the time of an algorithm that pays these prices so often."""
        return sum(price * count for price, count in zip(astuple(self), astuple(paid), strict=True))


ONE_AT_A_TIME = {
    "latency": ranks.Network(name="L", inter=ranks.Link(1, 0)),
    "overhead": ranks.Network(name="o", inter=ranks.Link(0, 0), overhead_ps=1),
    "byte": ranks.Network(name="G", inter=ranks.Link(0, 1000)),
    "reduced": ranks.Network(name="gamma", inter=ranks.Link(0, 0), reduce_fs_per_byte=1000),
}
"""Networks on which one price is a picosecond and the others are nothing."""


def prices_of(network: ranks.Network) -> Prices:
    """Return the prices of a network whose ranks all have one link."""
    return Prices(
        network.inter.latency_ps,
        network.overhead_ps,
        network.inter.fs_per_byte / 1000,
        network.reduce_fs_per_byte / 1000,
    )


def time_ps(operation: str, name: str, p: int, n_bytes: int, network: ranks.Network) -> int:
    """Return how long a call takes on simulated ranks; assert that its results are right."""
    call = Call.of_bytes(operation, p, n_bytes, equal_blocks=True)
    run = ranks.run(call.program(CATALOGUE[operation][name].function), p, network=network, buffering="infinite")
    assert all(call.is_right(rank, result) for rank, result in enumerate(run.results)), f"{name}: a result is wrong"
    return run.time_ps


def paid(operation: str, name: str, p: int, n_bytes: int = N_BYTES) -> Prices:
    """Return how often an algorithm pays each price; bytes as multiples of n_bytes.

    paid("allreduce", "recursive_doubling", 8)  # Prices(latency=3, overhead=6, byte=3.0, reduced=3.0)
    """
    counts = {price: time_ps(operation, name, p, n_bytes, network) for price, network in ONE_AT_A_TIME.items()}
    n_sent = Call.of_bytes(operation, p, n_bytes, equal_blocks=True).n_bytes
    return Prices(counts["latency"], counts["overhead"], counts["byte"] / n_sent, counts["reduced"] / n_sent)


def contenders(operation: str) -> list[str]:
    """Return the algorithms that need no shared memory and choose no sizes of pieces by the network."""
    return [name for name, row in CATALOGUE[operation].items() if not (row.one_node or row.overlaps)]


def beaten_by(counts: dict[str, Prices]) -> dict[str, list[str]]:
    """Return for each algorithm those that pay no price more often, and at least one of them less often."""
    vectors = {name: astuple(each) for name, each in counts.items()}
    return {
        name: [
            other
            for other, theirs in vectors.items()
            if theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True))
        ]
        for name, mine in vectors.items()
    }


def rows(operation: str, p: int, network: ranks.Network, n_bytes: int = N_BYTES) -> list[list[Any]]:
    """Return a row for each contender: its counts, who beats it, and the time of all four prices together."""
    counts = {name: paid(operation, name, p, n_bytes) for name in contenders(operation)}
    beaten, made = beaten_by(counts), []
    n_sent = Call.of_bytes(operation, p, n_bytes, equal_blocks=True).n_bytes
    for name, each in counts.items():
        in_bytes = Prices(each.latency, each.overhead, each.byte * n_sent, each.reduced * n_sent)
        expected, measured = prices_of(network).times(in_bytes), time_ps(operation, name, p, n_bytes, network)
        made.append([name, *astuple(each), ", ".join(beaten[name]) or None, expected, measured])
    return made


HEADER = [
    Column("algorithm"),
    Column("L"),
    Column("o"),
    Column("n G", show=decimals(".4g")),
    Column("n gamma", show=decimals(".4g")),
    Column("never better than"),
    time_column("as a sum", "time"),
    time_column("measured", "time"),
]


def experiment(world: Simulated, args: argparse.Namespace, job: None) -> None:
    """Count, compare, print."""
    say(f"Ranks: {world.name}\nData:  n = {units.nice_bytes(args.bytes)} on each\n")
    say("L is paid for a message, o at each of its two ends, G for a byte sent, and gamma for a byte reduced.\n")
    found = {}
    for operation in args.operations:
        say(f"{operation}, how often it pays each price:")
        with progress.waiting(operation):
            found[operation] = rows(operation, world.p, world.network, args.bytes)
        tables.table(HEADER, found[operation], operation)
    say("Where the measured time is less than the sum, prices were paid at the same time.")
    for operation in args.operations if args.plot else ():
        several = len(args.operations) > 1
        path = args.plot.with_stem(f"{args.plot.stem}-{operation}") if several else args.plot
        files.draw(path, partial(picture, world, operation, args.bytes, found[operation]))


def picture(world: Simulated, operation: str, n_bytes: int, found: list[list[Any]]) -> Any:
    """Return a Figure of the time of each algorithm, made of what it pays for, and the time measured."""
    prices, n_sent = (
        astuple(prices_of(world.network)),
        Call.of_bytes(operation, world.p, n_bytes, equal_blocks=True).n_bytes,
    )
    kinds = ("latency L", "overhead o", "bytes G", "reductions gamma")
    bars = {}
    for name, *counts in (row[:5] for row in found):
        times = [count * price for count, price in zip(counts, prices, strict=True)]
        bars[name] = dict(zip(kinds, [*times[:2], *(time * n_sent for time in times[2:])], strict=True))
    title = f"{operation} of {units.nice_bytes(n_bytes)}, {world.p} ranks on {world.network.name}"
    return parts(title, bars, {row[0]: row[-1] for row in found}, "measured", units.nice_time)


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks(default=8, network="infiniband", least=2)
    made.add_operations(BUS_FACTORS, ["allreduce"])
    made.add_argument(
        "--bytes", type=size, default="64KiB", metavar="N", help="bytes on each rank: 64KiB (default), 1MiB, 1e6"
    )
    made.add_plot("times as sums of prices")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: arrays and what is buffered; five runs of each algorithm, some of 2 p^2 messages."""
    p = args.ranks
    return Need(16 * p * max(args.bytes, 4 * p), messages=30 * len(args.operations) * p**2)


def prepare(args: argparse.Namespace) -> None:
    """Check what the prices are told apart by: one kind of link, and an element for each rank."""
    afford(args, need, ranks=1, bytes=1)
    require_one_kind_of_link(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
