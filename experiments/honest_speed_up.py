"""How honest is a speed-up?

Our network of comparators in NumPy sorts about a hundred times as fast as the same network in pure Python. That is
true, but says little. So this script also times it against other baselines, in rounds in which all take turns. Each
ratio comes with the interval in which it lies. An A/A test shows what ratio two runs of the same sort have on this
machine, now.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.lab import cli, files, progress, tables
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count
from experiments.lab.tables import Column, time_column
from experiments.lab.terminal import tell
from experiments.lab.timing import RESAMPLES, Seconds, Work, interleaved, interval, once_s, one_after_the_other, ratio
from experiments.lab.units import decimals
from experiments.pictures.ratios import forest
from sorting import bitonic_sort
from sorting.plain import sort_pairs, sort_views

SHOWS = "How many times as long as our network other sorts take, each ratio with its interval and an A/A test."
TAKES = "10 s"
EXAMPLES = {
    "": "2^14 float32, 9 rounds",
    "--log2-size 20 --no-python": "without the rows that take minutes",
    "--rounds 25 --plot ratios.png": "narrower intervals, drawn",
}
MEDIANS = (
    "{:,} float32, {} rounds in which all take turns. A time is the median over the rounds. A ratio says how many "
    "times as long as ours a sort takes. Each round has its own ratio, and the table shows their median. It need not "
    "be the ratio of the two median times, because what slows a round slows both. The interval holds it in 95 of 100 "
    "cases."
)
OURS = "bitonic_sort"
TWIN = "bitonic_sort again (A/A)"


def merge_sort(x: list[Any]) -> list[Any]:
    """Return `x` sorted by the textbook's merge sort in pure Python: n lg n comparisons instead of n lg^2 n / 4.

    merge_sort([3, 1, 2])  # [1, 2, 3]
    """
    if len(x) < 2:
        return list(x)
    left, right = merge_sort(x[: len(x) // 2]), merge_sort(x[len(x) // 2 :])
    out, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if right[j] < left[i]:
            out.append(right[j])
            j += 1
        else:
            out.append(left[i])
            i += 1
    return out + left[i:] + right[j:]


def contenders(x: np.ndarray, *, python: bool = True) -> Work:
    """Return ways to sort `x`, ours and ours again first; python: those that take a hundred times as long, too."""
    items, room = x.tolist(), np.empty_like(x)

    def in_place() -> np.ndarray:
        room[...] = x
        room.sort()
        return room

    slow: Work = {
        "pairs, in a list of NumPy scalars": lambda: sort_pairs(list(x)),
        "pairs, in a list": lambda: sort_pairs(items),
        "merge sort, pure Python": lambda: merge_sort(items),
    }
    return {
        OURS: lambda: bitonic_sort(x),
        TWIN: lambda: bitonic_sort(x),
        **(slow if python else {}),
        "the same network, on views": lambda: sort_views(x),
        "sorted() of the list": lambda: sorted(items),
        "np.sort of the list": lambda: np.sort(np.array(items, x.dtype)).tolist(),
        "np.sort, stable": lambda: np.sort(x, kind="stable"),
        "np.sort": lambda: np.sort(x),
        "np.sort, no new memory": in_place,
    }


def checked(x: np.ndarray, work: Work) -> Work:
    """Return `work` after each of it has been called once and has given what np.sort gives."""
    for name, call in progress.track([*work.items()], "checking"):
        assert np.array_equal(np.asarray(call(), x.dtype), np.sort(x)), name
    return work


def against_ours(seconds: Seconds) -> dict[str, tuple[float, tuple[float, float]]]:
    """Return how many times as long as ours each takes, and the interval in which that lies."""
    ours = seconds[OURS]
    return {name: (ratio(times, ours), interval(times, ours)) for name, times in seconds.items() if name != OURS}


def strays_of_equals(call: Any, rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return the ratios that a function has against itself, measured in three usual ways, so many times each."""
    work, found = {"a": call, "b": call}, {"one call each": [], "one after the other": [], "taking turns": []}
    once_s(call)
    for repeat in range(repeats):
        found["one call each"].append(once_s(call) / once_s(call))
        apart, turns = one_after_the_other(work, rounds), interleaved(work, rounds, seed=repeat)
        found["one after the other"].append(float(np.median(apart["a"]) / np.median(apart["b"])))
        found["taking turns"].append(ratio(turns["a"], turns["b"]))
    return found


def middle(ratios: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """Return between which values the middle `share` of the ratios lies."""
    low, high = np.quantile(ratios, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


# -- the way in --------------------------------------------------------------------------------------------------


def experiment(world: None, args: argparse.Namespace, job: None) -> None:
    """Time all, print the ratios, draw them."""
    x = np.random.default_rng(args.seed).standard_normal(2**args.log2_size, np.float32)
    tell(MEDIANS.format(2**args.log2_size, args.rounds))
    work = checked(x, contenders(x, python=not args.no_python))
    seconds = interleaved(work, args.rounds, shown=lambda rounds: progress.track(rounds, "timing", steady=False))
    ratios = against_ours(seconds)
    rows: list[list[Any]] = [[OURS, np.median(seconds[OURS]) * 1e12, 1.0, None, None, None]]
    for name, (times, (low, high)) in ratios.items():
        verdict = "slower" if low > 1 else "faster" if high < 1 else "cannot be told"
        rows.append([name, np.median(seconds[name]) * 1e12, times, low, high, verdict])
    columns = [Column("sort"), time_column("time", "median"), Column("median", "ratio to ours", decimals(".3g"))]
    columns += [Column(name, "95 of 100", decimals(".2g")) for name in ("from", "to")]
    tables.table([*columns, Column("than ours")], rows)
    if args.plot:
        files.draw(args.plot, lambda: forest(ratios, f"2^{args.log2_size} float32 against {OURS}"))


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_argument(
        "--log2-size", type=count, default=14, metavar="K", help="sort 2^K numbers, K up to 26 (default: 14)"
    )
    made.add_argument("--rounds", type=count, default=9, metavar="N", help="timed rounds (default: 9)")
    made.add_argument("--no-python", action="store_true", help="leave out the sorts in pure Python")
    made.add_seed("the numbers")
    made.add_plot("the ratios")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: lists of Python's numbers, resampled rounds, and the comparators of each round."""
    k = args.log2_size
    comparators = 2**k * k * (k + 1) // 4
    round_s = 1e-3 + comparators * (1e-8 if args.no_python else 1.6e-6)
    return Need(memory=200 * 2**k + 32 * RESAMPLES * args.rounds, seconds=(args.rounds + 1) * round_s)


def prepare(args: argparse.Namespace) -> None:
    """Check the size."""
    if args.log2_size > 26:
        raise UsageError(f"--log2-size: got {args.log2_size}, expected 1 to 26, for 2 to 2^26 numbers")
    afford(args, need, log2_size=1, rounds=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
