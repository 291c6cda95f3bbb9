"""Does the calibrated model predict the times on real MPI? Every algorithm that `auto` chooses from, at many sizes."""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from real_allreduce import KIB, MIB, in_processes, nice

EXPLANATION = """
examples:
  python benchmarks/real_predictions.py                   2 and 4 processes
  python benchmarks/real_predictions.py --processes 2     a minute
  python benchmarks/real_predictions.py --turns 1         less to believe, in a twelfth of the time

what is compared:
  predicted   the algorithm's formula on the network that ranks.calibrate has measured (tables of passing messages on
              and of reducing, for whole arrays and for parts of larger ones, and of shared memory), and the time of the
              algorithm's own code, from its smallest call
  measured    before each call, x is written, as if it had just been computed, and all ranks wait for each other, since
              the formulas are of ranks that enter at the same time. Neither is part of the time. Arrays are float32,
              on pages as NumPy gets them: huge ones from 4 MiB on. They begin at a page, as the calibrated ones do:
              a few bytes further on, some processors copy at a quarter of the speed
  The network is calibrated and everything is measured twelve times in turn, and the least of each counts. The
  hypervisor may migrate a process between cores that share a cache and cores that do not, every second or so, which
  changes the time of a message more than threefold. So prediction and measurement should have seen the same cores.
  The median error over all sizes and algorithms, and the worst errors, say what the model is worth on this machine now.
"""
SIZES = [KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB]


def main() -> None:
    """Read the options, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], metavar="P", help="default: 2 4")
    parser.add_argument("--turns", type=int, default=12, metavar="N", help="calibrate and measure N times; default: 12")
    options = parser.parse_args()
    if min(options.processes) < 2:
        parser.error(f"got --processes {options.processes}, expected 2 or more of each")
    if options.turns < 1:
        parser.error(f"got --turns {options.turns}, expected 1 or more")
    from _report import report

    report(parts(options.processes, options.turns))


def parts(processes: list[int], turns: int) -> Any:
    """Yield the table for each number of processes, and how far off its predictions are."""
    for p in processes:
        rows = in_processes(p, {"what": "predictions", "sizes": SIZES, "turns": turns})["rows"]
        yield prediction_table(p, rows)
        errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
        yield (
            f"{p} processes: median error {statistics.median(errors):.0%} over {len(rows)} pairs; "
            f"{sum(error <= 0.2 for error in errors) / len(errors):.0%} of them within 20 %; the worst:"
        )
        for row in sorted(rows, key=factor)[-3:][::-1]:
            yield (
                f"  {factor(row):.1f} times off: {row['operation']} {row['algorithm']} of {nice(row['bytes'])}, "
                f"{shown(row['predicted'])} µs predicted, {shown(row['measured'])} µs measured"
            )


def factor(row: Any) -> float:
    """Return how many times too long or too short a prediction is."""
    return float(max(row["predicted"] / row["measured"], row["measured"] / row["predicted"]))


def shown(time_us: float) -> str:
    """Return microseconds, with a decimal where whole ones would hide the difference."""
    return f"{time_us:,.{time_us < 10:d}f}"


def prediction_table(p: int, rows: Any) -> Any:
    """Return predicted and measured microseconds, an algorithm a row, a size a column; and how far off each row is."""
    from _report import Table

    header = ["operation", "algorithm", *map(nice, SIZES), "median off", "worst"]
    table = Table(f"Predicted / measured µs, {p} processes", header)
    by_name: dict[tuple[str, str], dict[int, Any]] = {}
    for row in rows:
        by_name.setdefault((row["operation"], row["algorithm"]), {})[row["bytes"]] = row
    for names, by_size in by_name.items():
        pairs = {size: f"{shown(row['predicted'])} / {shown(row['measured'])}" for size, row in by_size.items()}
        factors = [factor(row) for row in by_size.values()]
        off = f"{statistics.median(factors):.2f}x", f"{max(factors):.1f}x"
        table.rows.append([*names, *(pairs.get(size, "") for size in SIZES), *off])
    return table


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
