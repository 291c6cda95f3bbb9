"""How fast are schedules explored, what does the reduction save, and what does a trace cost?"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _measure import machine
from _programs import fan_in_once, master, neighbours, pairs, polls
from _report import Table, report

import collectives
import ranks
from ranks.exploring import Search, _Explorer

EXPLANATION = """
how it is measured:
  A run is one schedule: ranks are made, run and ended in it. Times are medians of interleaved repetitions in this
  process. Without the reduction a search is cut off after 20,000 runs. "fan_in_once": p-1 ranks send one
  message each to a rank that takes them from ANY_SOURCE, which has (p-1)! schedules, none like another.
"""
LIMIT = 20_000


PROGRAMS: list[tuple[Callable[[Any], Any], int]] = [
    (fan_in_once, 5), (polls, 3), (master, 4), (pairs, 6), (pairs, 10), (neighbours, 3), (neighbours, 4),
]  # fmt: skip


def search_of(program: Callable[[Any], Any], size: int, *, reduction: bool = True) -> Search[Any]:
    """Return the search through a program's schedules, sends buffered.

    The one place that looks into `ranks`: `ranks.explore` cannot leave the reduction out, nor count what it cut short.
    """
    explorer = _Explorer(program, size, (), ranks.network_named(None), polls=1, comm_type=ranks.Comm)

    def play(choose: Any) -> str:
        ending = explorer.play("infinite", choose)
        if ending.failure is not None:
            raise ending.failure
        return repr(ending.results)

    # None of the programs both polls and waits for the first of several requests, so none has to be searched twice.
    return Search(play, reduction=reduction, narrows=reduction)


def outcomes(search: Search[Any], limit: int = LIMIT) -> set[str]:
    """Return the different results of a search that is cut off after `limit` runs."""
    found = set()
    for result in search:
        found.add(result)
        if search.n_runs >= limit:
            break
    return found


def reduction_table() -> Table:
    """Return how many runs a fixed set of programs needs, with the reduction and without."""
    table = Table("Runs needed", ["program", "p", "outcomes", "reduced", "cut short", "all", "ratio"])
    for program, size in PROGRAMS:
        reduced, full = search_of(program, size), search_of(program, size, reduction=False)
        few, many = outcomes(reduced), outcomes(full)
        assert few == many or not full.is_exhausted, f"{program.__name__}: the reduction loses outcomes"
        least = "" if full.is_exhausted else "> "
        ratio = f"{least}{full.n_runs / (reduced.n_runs + reduced.n_pruned):.1f}"
        counts = [f"{n:,}" for n in (size, len(few), reduced.n_runs, reduced.n_pruned)]
        table.rows.append([program.__name__, *counts, f"{least}{full.n_runs:,}", ratio])
    return table


def speed_table(runs: int) -> Table:
    """Return how many schedules a second are explored."""
    table = Table("Schedules explored", ["program", "p", "schedules/s", "µs each"])
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(runs):
        for program, size in [(fan_in_once, 3), *PROGRAMS]:
            search = search_of(program, size)
            start = perf_counter()
            outcomes(search, 300)
            each = (perf_counter() - start) / (search.n_runs + search.n_pruned)
            seconds.setdefault((program.__name__, size), []).append(each)
    for (name, size), each in seconds.items():
        middle = statistics.median(each)
        table.rows.append([name, str(size), f"{1 / middle:,.0f}", f"{1e6 * middle:.0f}"])
    return table


def fan_in_table(budget_s: float) -> Table:
    """Return the largest fan-in whose schedules are all tried within a time."""
    table = Table(f"Fan-ins exhausted within {budget_s:g} s", ["ranks that send", "schedules", "seconds", "exhausted"])
    for size in range(4, 20):
        search, start = search_of(fan_in_once, size), perf_counter()
        for _ in search:
            if perf_counter() - start > budget_s:
                break
        taken = perf_counter() - start
        table.rows.append([str(size - 1), f"{search.n_runs:,}", f"{taken:.2f}", "yes" if search.is_exhausted else "no"])
        if not search.is_exhausted:
            break
    return table


def trace_table(runs: int) -> Table:
    """Return what it costs to keep a trace: on the default network, and on one where no run takes the quick paths."""
    table = Table("A ring all-reduce of 64 ranks, 256 float64", ["network", "plain, ms", "trace=True, ms", "ratio"])
    default = ranks.network_named(None)
    uneven = replace(default, name="two ranks a node", intra=ranks.Link(1, 1), ranks_per_node=2)
    x = np.ones(256)

    def seconds(network: ranks.Network, *, trace: bool) -> float:
        start = perf_counter()
        ranks.run(lambda comm: collectives.ring_allreduce(comm, x), 64, network=network, trace=trace)
        return perf_counter() - start

    for network in (default, uneven):
        pairs = [(seconds(network, trace=False), seconds(network, trace=True)) for _ in range(2 * runs)]
        plain, traced = (statistics.median(values) for values in zip(*pairs, strict=True))
        table.rows.append([network.name, f"{1e3 * plain:.1f}", f"{1e3 * traced:.1f}", f"{traced / plain:.2f}"])
    return table


def main() -> None:
    """Read the options, run the benchmarks, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="timed repetitions (default: 7)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="how long the fan-in is explored (default: 10)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if options.runs < 1 or options.seconds <= 0:
        parser.error(f"got --runs {options.runs} --seconds {options.seconds:g}, expected both above 0")
    report(parts(options.runs, options.seconds), options.markdown)


def parts(runs: int, seconds: float) -> Iterator[Table | str]:
    """Yield what the machine is, then the tables, each run when it is asked for."""
    yield "\n".join(machine())
    yield speed_table(runs)
    yield trace_table(runs)
    yield fan_in_table(seconds)
    yield reduction_table()


if __name__ == "__main__":
    main()
