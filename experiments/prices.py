"""How often does an algorithm pay each of the four prices of a network, and which algorithms can therefore never win?

A network has four prices: L for a message on its way, o for a processor that starts or ends one, G for a byte through
a port, gamma for a byte reduced. On a network where three of them are nothing, time is a count of the fourth. An
algorithm whose four counts are all at least those of another cannot beat that one, whatever the prices are: as long as
the time is the sum of the four. It is, unless an algorithm pays two of them at once.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import astuple, dataclass

import ranks
from collectives import CATALOGUE
from experiments.lab import cli, tables, units
from experiments.lab.operations import BUS_FACTORS, Call

EXAMPLES = """\
  python experiments/prices.py                                      all-reduce on 8 ranks
  python experiments/prices.py --operation broadcast --ranks 16"""
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
    call = Call.of_bytes(operation, p, n_bytes)
    run = ranks.run(call.program(CATALOGUE[operation][name].function), p, network=network, buffering="infinite")
    assert all(call.is_right(rank, result) for rank, result in enumerate(run.results)), f"{name}: a result is wrong"
    return run.time_ps


def paid(operation: str, name: str, p: int, n_bytes: int = N_BYTES) -> Prices:
    """Return how often an algorithm pays each price; bytes as multiples of n_bytes.

    paid("allreduce", "recursive_doubling", 8)  # Prices(latency=3, overhead=6, byte=3.0, reduced=3.0)
    """
    counts = {price: time_ps(operation, name, p, n_bytes, network) for price, network in ONE_AT_A_TIME.items()}
    size = Call.of_bytes(operation, p, n_bytes).n_bytes
    return Prices(counts["latency"], counts["overhead"], counts["byte"] / size, counts["reduced"] / size)


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


def rows(operation: str, p: int, network: ranks.Network) -> list[list[str]]:
    """Return a row for each contender: its counts, who beats it, and the time of all four prices together."""
    counts = {name: paid(operation, name, p) for name in contenders(operation)}
    beaten, made = beaten_by(counts), []
    size = Call.of_bytes(operation, p, N_BYTES).n_bytes
    for name, each in counts.items():
        in_bytes = Prices(each.latency, each.overhead, each.byte * size, each.reduced * size)
        expected, measured = prices_of(network).times(in_bytes), time_ps(operation, name, p, N_BYTES, network)
        numbers = [f"{each.latency:,}", f"{each.overhead:,}", f"{each.byte:.4g}", f"{each.reduced:.4g}"]
        times = [units.nice_time(expected), units.nice_time(measured)]
        made.append([name, *numbers, ", ".join(beaten[name]) or "-", *times])
    return made


HEADER = ["", "L", "o", "n G", "n gamma", "never better than", "time\nas a sum", "\nmeasured"]


def experiment(args: argparse.Namespace) -> None:
    """Count, compare, print."""
    p, network = args.ranks or 8, ranks.presets["infiniband"]
    print(f"{__doc__.partition(chr(10))[0]}\n\n{args.operation}, {p} ranks of {units.nice_bytes(N_BYTES)}\n")
    tables.table(HEADER, rows(args.operation, p, network))
    print(f"Times are on {network.name}: where the measured one is less, prices were paid at the same time.")


def main() -> int:
    """Run the experiment from the command line."""
    options = cli.Parser(
        description=__doc__, epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--ranks", type=cli.count, metavar="P", help="number of ranks (default: 8)")
    options.add_argument(
        "--operation", choices=BUS_FACTORS, default="allreduce", metavar="NAME",
        help=f"one of {', '.join(BUS_FACTORS)} (default: allreduce)",
    )  # fmt: skip
    options.set_defaults(plot=None)
    return cli.guarded(options, experiment, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
