"""How fast and how large are simulated ranks? Ours beside SimPy, threads, MockMPI and SMPI, in one run."""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _report import Table

EXPLANATION = """
examples:
  python benchmarks/simulated_ranks.py                        everything; about fifteen minutes with SMPI
  python benchmarks/simulated_ranks.py --quick                smaller p and smaller giants; a few minutes
  python benchmarks/simulated_ranks.py --markdown table.md    also write the tables for a README

how it is measured:
  Every all-reduce is compared with NumPy before anything is timed, and again after each timed run.
  A time is that of the whole call: ranks (threads, SimPy processes) are made and ended inside it. MockMPI and
  SMPI are timed between two barriers of their own, because starting their processes would drown the rest.
  Runs are interleaved, one of each variant after the other, so that the drift of the machine hits all alike;
  a variant that needs more than 30 s a run is run once. Believe ratios within one run, not seconds:
  machines differ by a factor of two, and so do the minutes of a shared one. To compare across them, see the
  column "switches": the time of a message in greenlet switches, which are timed just before every run.
  The asked 0.8, 0.5 and 0.45 million messages/s were set where a switch takes 140 ns: 9, 14 and 16 switches.

  "bound: nothing checked" is our ring over the barest Sendrecv: two copies, a clock, greenlets and nothing else.

optional peers (a missing one gets a row that says so):
  SimPy      pip install simpy
  MockMPI    pip install mockmpi                    one process per rank, so p = 16 only
  SMPI       apt-get install libsimgrid-dev gcc     SimGrid's MPI in C, compiled here on the fly
"""


def main() -> None:
    """Read the options, run the benchmarks, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="p up to 256, giants a sixteenth of their size")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="timed runs of each (default: 5)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs: got {options.runs}, expected 1 or more")
    absent = [name for name in ("rich", "ranks", "collectives") if not find_spec(name)]
    if absent:
        parser.error(f'cannot import {", ".join(absent)}: in the checkout, pip install -e ".[bench,show]"')
    from _report import report

    report(parts(options.quick, options.runs), options.markdown)


def parts(quick: bool, runs: int) -> Iterator["Table | str"]:
    """Yield what the machine is, then the tables, each run when it is asked for."""
    from _giants import giant_table, parked_table
    from _measure import STATUS, machine
    from _workloads import barrier_table, check_rings, ring_table, wildcard_tables

    yield "\n".join(machine())
    check_rings()
    yield "every all-reduce equals NumPy's sum; timing"
    for p in (16, 64, 256) if quick else (16, 64, 256, 1024):
        yield ring_table(p, runs)
    yield barrier_table((8, 64, 256) if quick else (8, 16, 32, 64, 128, 256, 512, 1000, 1024), runs)
    yield from wildcard_tables((8, 64, 256) if quick else (8, 64, 256, 1024), runs)
    if STATUS.exists():
        yield giant_table(shrink=16 if quick else 1)
        yield parked_table()
    else:
        yield f"Giants and memory: left out, memory is read from {STATUS}, which only Linux has"


if __name__ == "__main__":
    main()
