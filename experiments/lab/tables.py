"""Tables: what was expected beside what was measured."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence

from experiments.lab.units import nice_time
from experiments.lab.worlds import Trial, World


def compare(world: World, counted: str, trials: Iterable[Trial]) -> None:
    """Print what was expected of each trial beside what was measured; assert that they agree and results are right.

    counted: "sends" or "bytes sent", what to show of the busiest rank.
    """
    rows = []
    for trial in trials:
        expected, measured = trial.expected, trial.measured
        assert measured.right, f"{trial.name}: a result is wrong"
        row = [trial.name, "-", "-", "-", "-"]
        if expected:
            pairs = {
                "rounds": ([expected.rounds], [trial.rounds]),
                "sends": (expected.sends, measured.sends),
                "bytes sent": (expected.bytes_sent, measured.bytes_sent),
            }  # by rank but for the first
            for what, (wanted, got) in pairs.items():
                assert got == wanted, f"{trial.name}: {what} {got}, expected {wanted}"
            row[1:] = [f"{max(numbers):,}" for what in ("rounds", counted) for numbers in pairs[what]]
        rows.append([*row, _expected_time(world, trial), nice_time(measured.time_ps)])
    header = [f"{what}\nexpected" for what in ("rounds", f"most {counted}", "time")]
    if world.first:
        table(["", *(head for pair in zip(header, ["\nmeasured"] * 3, strict=True) for head in pair)], rows)


def _expected_time(world: World, trial: Trial) -> str:
    """Return how the expected time is written; assert that it was met on simulated ranks."""
    expected, time_ps = trial.expected, trial.measured.time_ps
    if world.real or expected is None or expected.at_most_ps is None:
        return "-"
    if expected.time_ps is None:
        assert time_ps <= expected.at_most_ps, f"{trial.name}: {time_ps} ps, at most {expected.at_most_ps} expected"
        return f"≤ {nice_time(expected.at_most_ps)}"
    assert time_ps == expected.time_ps, f"{trial.name}: {time_ps} ps, {expected.time_ps} expected"
    return nice_time(expected.time_ps)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        made.add_column(name, justify="right" if index else "left", no_wrap=bool(index))
    for row in rows:
        made.add_row(*row)
    # Where it is kept, as in a notebook, it is plain and as wide wherever it is made.
    shown = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if shown else 100
    Console(width=width, highlight=False, force_terminal=shown, force_jupyter=False).print(made)
