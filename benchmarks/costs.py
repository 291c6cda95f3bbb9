"""How long does the cost model take? A table of all algorithms by the number of ranks.

The cost model plays all messages of a call, or only those of a few ranks that show what the others do (symmetry), or
none where a formula gives the time. Messages are in millions, seconds are CPU time, and ~ marks an estimate.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from _report import Table, report

import ranks
from collectives import CATALOGUE, Machine
from loggp.in_step import InStep
from loggp.steps import _Clock
from loggp.windows import Windows

RANKS = (1024, 65_536, 1 << 20)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the messages that are played meanwhile."""
    played: list[int] = []

    def patched(kind: Any) -> Any:
        run = kind.run

        def counting(self: Any, *arguments: Any) -> None:
            run(self, *arguments)
            played.append(int(sum(self.sends)))  # not reached if the player gives up

        return mock.patch.object(kind, "run", counting)

    with patched(InStep), patched(Windows), patched(_Clock):
        yield played


def row(operation: str, name: str, machine: Machine, n_bytes: int) -> list[str]:
    """Return what a cost says, how long that took, and how it was found."""
    algorithm = CATALOGUE[operation][name]
    n_items = 0 if operation == "barrier" else n_bytes // 4
    with counted() as played:
        begin = time.process_time()
        cost = algorithm.cost(machine, n_items, 4)
        took_s = time.process_time() - begin
    messages, n_played = sum(cost.sends), sum(played)
    path = "formula" if not n_played else "played" if n_played == messages else "symmetry"
    return [
        name,
        f"{messages / 1e6:.3g}",
        f"{n_played / 1e6:.3g}",
        f"{took_s:.3f}",
        f"{n_played / took_s / 1e6:.2f}" if n_played else "-",
        path,
        "-" if cost.expected_ps is None else f"{'' if cost.time_ps is not None else '~'}{cost.expected_ps / 1e9:,.3f}",
    ]


HEADER = ["algorithm", "sent/M", "played/M", "CPU s", "M/s", "path", "ms"]


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ranks", type=int, nargs="+", default=RANKS, metavar="P", help="default: 1024 65536 1048576")
    options.add_argument("--network", default="dgx-h100", choices=ranks.presets, help="default: dgx-h100")
    options.add_argument(
        "--bytes", type=int, default=1 << 20, metavar="N", help="size of the whole array (default: 1 MiB)"
    )
    options.add_argument("--operations", nargs="+", default=[*CATALOGUE], choices=CATALOGUE, metavar="NAME")
    options.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to FILE")
    arguments = options.parse_args()
    report(tables(arguments), arguments.markdown)
    return 0


def tables(arguments: argparse.Namespace) -> Iterator[Table]:
    """Yield a table for each number of ranks and each operation."""
    for p in arguments.ranks:
        machine = Machine.of(ranks.presets[arguments.network], p)
        for operation in arguments.operations:
            table = Table(f"{operation}: costs on {p:,} ranks of {arguments.network}", HEADER)
            table.rows += [row(operation, name, machine, arguments.bytes) for name in CATALOGUE[operation]]
            yield table


if __name__ == "__main__":
    sys.exit(main())
