"""How fast and how large are simulated ranks, against an earlier state of this project? Ratios of both, in one run."""

import argparse
import io
import json
import math
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _measure import Variant
    from _report import Table

EXPLANATION = """
examples:
  make bench AGAINST=v0.1                                 against a tag or a commit
  python benchmarks/against.py --against /tmp/before      against a folder that holds ranks/, loggp/ and collectives/
  python benchmarks/against.py --against HEAD~1 --quick   about two minutes
  python benchmarks/against.py --against v0.1 --giants    also 65,536 ranks in a barrier, 1,000,000 in a ring step

how it is measured:
  A process imports the earlier tree and another one this tree; both run the same programs, those of this tree. In
  each round both do the same work, one after the other, and give the ratio of the round; a table shows the median of
  these ratios and, as "middle half", its quartiles. The two processes are started several times: how a process
  happens to lie in memory can make it faster by some per cent for as long as it lives.
  Times are CPU times of the process, so the time that other programs take is left out. Nothing else is, since
  simulated ranks never wait for the machine. The giants are run once each, in processes of their own.
  "met": "yes" if the median meets what is asked, "in spread" if only the better quartile does, else "NO". A giant is
  "in spread" if it is up to 10 % slower or 0.1 % larger, since two single runs of one tree differ by that.
  "share of the bare ring": this ring's rate over that of benchmarks/peers/bare_ring.py, which checks nothing.
"""
HERE = Path(__file__).parent
ROOT = HERE.parent
# Ratios of new rates to old ones that were asked for.
ASKED_RING, ASKED_RINGS, ASKED_FARM, ASKED_BLOCKS, ASKED_EXPLORED = 0.9, 1.0, 1.3, 2.5, 1.0
BARE_GOAL = 0.8
# Single runs of one tree, three of each giant on a busy machine, differed by 5 to 16 % and by 0.02 %.
SECONDS_NOISE, MEMORY_NOISE = 0.1, 0.001
NETWORKS = {"alpha-beta": "no ports", "infiniband": "ports"}


@dataclass(frozen=True)
class Scale:
    """How much is measured: sizes, pairs of processes, rounds of each pair, CPU seconds a round, messages a run."""

    sizes: tuple[int, ...] = (16, 64, 256)
    block_ranks: int = 16
    pairs: int = 3
    rounds: int = 8
    round_s: float = 0.05
    messages: int = 10_000
    parked: int = 20_000
    shrink_giants: int = 1


FULL = Scale()
QUICK = Scale(pairs=2, rounds=4, round_s=0.02, messages=5_000, parked=5_000, shrink_giants=16)
TINY = Scale(sizes=(4,), block_ranks=2, pairs=1, rounds=1, round_s=0.0, messages=1, parked=200, shrink_giants=1_000)


@dataclass
class Row:
    """Some work that both trees do, with the ratio asked for, 0 if none is; `ratios` is filled round by round."""

    title: str
    work: str
    p: int
    network: str
    size: int
    asked: float = 0.0
    in_mean: bool = False
    ratios: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)

    def request(self, calls: int, work: str | None = None) -> dict[str, Any]:
        """Return what a worker is asked to do."""
        return {"work": work or self.work, "p": self.p, "network": self.network, "size": self.size, "calls": calls}

    def take(self, variants: Sequence["Variant"]) -> None:
        """Keep what was measured of the old tree, the new one and, if there, the bare ring."""
        old, new = ([v.messages / seconds for seconds in v.seconds] for v in variants[:2])
        self.ratios += [after / before for before, after in zip(old, new, strict=True)]
        for variant in variants:
            rates = (variant.messages / seconds for seconds in variant.seconds)
            self.rates.setdefault(variant.name, []).extend(rates)

    def share(self, name: str) -> float:
        """Return a tree's rate over the bare ring's, the median of the rounds."""
        return statistics.median(a / b for a, b in zip(self.rates[name], self.rates["bare"], strict=True))


class Worker:
    """A process that measures one tree; a context manager."""

    def __init__(self, tree: Path) -> None:
        from _measure import importing_from

        argv = [sys.executable, str(HERE / "_against_worker.py")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=importing_from(tree))
        self.tree = tree.resolve()

    def __enter__(self) -> "Worker":
        found = Path(self._answer()["tree"])
        if found.resolve() != self.tree:
            raise RuntimeError(f"the worker of {self.tree} imported `ranks` from {found}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, request: dict[str, Any]) -> dict[str, float]:
        """Return the seconds and units of one request."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the worker of {self.tree} ended with status {self.process.wait()}; its words are above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def rows_of(scale: Scale) -> list[Row]:
    """Return all rows whose work runs in the two long-lived processes."""
    from peers import VALUES_PER_CHUNK

    small, rows = 8 * VALUES_PER_CHUNK, []
    for what, work, size in (("ring", "ring", small), ("barriers", "barriers", scale.messages)):
        for p in scale.sizes:
            for network, ports in NETWORKS.items():
                rows.append(Row(f"{what}, p = {p}, {ports}", work, p, network, size, ASKED_RING, in_mean=True))
    for what, asked in (("fan-in", 0.0), ("task farm", ASKED_FARM)):
        for p in scale.sizes:
            for network, ports in NETWORKS.items():
                rows.append(Row(f"{what}, p = {p}, {ports}", what, p, network, scale.messages, asked))
    p = scale.block_ranks
    for kib in (1, 4, 16, 64):
        for network, ports in NETWORKS.items():
            title = f"ring, messages of {kib} KiB, p = {p}, {ports}"
            rows.append(Row(title, "ring", p, network, 1024 * kib, ASKED_BLOCKS))
    p = scale.sizes[len(scale.sizes) // 2]
    rows.append(Row(f"ring with trace=True, p = {p}, ports", "traced ring", p, "infiniband", small))
    for what, p in (("fan_in_once", 4), ("pairs", 6), ("polls", 3)):
        rows.append(Row(f"schedules of {what}, p = {p}", f"explore {what}", p, "infiniband", 0, ASKED_EXPLORED))
    return rows


def measure(row: Row, old: Worker, new: Worker, scale: Scale) -> None:
    """Add the rounds of one pair of processes to a row."""
    from _measure import Variant, interleave

    workers = {"old": (old, row.work), "new": (new, row.work)}
    if row.work == "ring":
        for worker in (old, new):
            worker.ask(row.request(1, "checked ring"))
        if row.in_mean and row.network == "alpha-beta":
            workers["bare"] = (new, "bare ring")
    calls = 1
    if scale.round_s:
        for worker, work in workers.values():
            worker.ask(row.request(1, work))  # what is only done the first time is left out of the calibration
        seconds = old.ask(row.request(1))["seconds"]
        calls = max(1, round(scale.round_s / seconds))
    variants = []
    for name, (worker, work) in workers.items():
        variant = Variant(name, 0, lambda: 0.0)

        def run(variant: Variant = variant, worker: Worker = worker, work: str = work) -> float:
            answer = worker.ask(row.request(calls, work))
            variant.messages = int(answer["units"])
            return answer["seconds"]

        variant.run = run
        variants.append(variant)
    interleave(variants, scale.rounds, switches=False)
    row.take(variants)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile, also of a single value."""
    low, middle, high = statistics.quantiles([*values] * (2 if len(values) == 1 else 1), n=4, method="inclusive")
    return low, middle, high


def verdict(median: float, better: float, asked: float) -> str:
    """Return whether the median meets what is asked, or only the better quartile does."""
    return "yes" if median >= asked else "in spread" if better >= asked else "NO"


def ratio_cells(ratios: Sequence[float], asked: float) -> list[str]:
    """Return the cells of a ratio: median, middle half, asked, met."""
    low, middle, high = quartiles(ratios)
    cells = [f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
    return cells + ([f"≥ {asked:g}", verdict(middle, high, asked)] if asked else ["", ""])


def speed_table(rows: Sequence[Row], title: str) -> "Table":
    """Return rates and ratios of all rows, and the geometric mean of rings and barriers."""
    from _report import Table, rate

    table = Table(title, ["messages or schedules a second", "old", "new", "new / old", "middle half", "asked", "met"])
    for row in rows:
        rates = (rate(statistics.median(row.rates[name])) for name in ("old", "new"))
        table.rows.append([row.title, *rates, *ratio_cells(row.ratios, row.asked)])
    of_rounds = zip(*(row.ratios for row in rows if row.in_mean), strict=True)
    means = [math.prod(ratios) ** (1 / len(ratios)) for ratios in of_rounds]
    table.rows.append(["geometric mean of rings and barriers", "", "", *ratio_cells(means, ASKED_RINGS)])
    return table


def bare_table(rows: Sequence[Row]) -> "Table":
    """Return the share of the bare ring that both trees reach."""
    from _report import Table

    table = Table("Share of the bare ring, no ports", ["p", "old", "new", "goal", "met"])
    for row in rows:
        if "bare" in row.rates:
            old, new = row.share("old"), row.share("new")
            goal = [f"≥ {BARE_GOAL}", verdict(new, new, BARE_GOAL)]
            table.rows.append([str(row.p), f"{old:.2f}", f"{new:.2f}", *goal])
    return table


def parked_table(trees: Sequence[Path], size: int) -> "Table":
    """Return what a rank holds while it waits in Recv, beyond its own arrays."""
    from _giants import ASKED_PARKED_BYTES
    from _report import Table

    old, new = (giant("parked", size, tree)["held_bytes"] / size for tree in trees)
    met = "yes" if new <= ASKED_PARKED_BYTES else "NO"
    row = [f"{size:,}", f"{old:,.0f}", f"{new:,.0f}", f"{new / old:.2f}", f"≤ {ASKED_PARKED_BYTES:,}", met]
    return Table("A rank parked in Recv, bytes", ["p", "old", "new", "new / old", "asked", "met"], [row])


def giant_table(trees: Sequence[Path], shrink: int) -> "Table":
    """Return seconds and memory of the giants, one run each."""
    from _giants import GIB, LARGE
    from _report import Table

    table = Table("Giants, one run each", ["", "p", "old", "new", "new / old", "asked", "met"])
    for title, key, full in LARGE:
        size = full // shrink
        old, new = (giant(key, size, tree) for tree in trees)
        for unit, figure, scale, noise in (
            ("CPU seconds", "cpu_seconds", 1, SECONDS_NOISE),
            ("GiB at the peak", "peak_bytes", GIB, MEMORY_NOISE),
        ):
            ratio = new[figure] / old[figure]
            cells = [f"{answer[figure] / scale:.3g}" for answer in (old, new)]
            met = "yes" if ratio <= 1 else "in spread" if ratio <= 1 + noise else "NO"
            table.rows.append([f"{title}, {unit}", f"{size:,}", *cells, f"{ratio:.2f}", "≤ 1", met])
    return table


def giant(key: str, size: int, tree: Path) -> dict[str, float]:
    """Return what one giant of _giants.py measured with the `ranks` of this tree."""
    from _measure import in_fresh_process

    return in_fresh_process(HERE / "_giants.py", key, str(size), tree=tree)


def tree_of(against: str, stack: ExitStack) -> tuple[Path, str]:
    """Return the folder to compare with and its name; a revision is copied to one that `stack` removes.

    Raises ValueError if `against` is neither a folder with ranks/ nor a revision.
    """
    folder = Path(against)
    if (folder / "ranks" / "__init__.py").is_file():
        return folder, str(folder)
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run(
        [*git, "rev-parse", "--verify", "--short", "--end-of-options", f"{against}^{{commit}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if named.returncode:
        raise ValueError(f"got {against!r}, expected a tag, a commit or a folder that holds ranks/ and collectives/")
    commit = named.stdout.strip()
    # All of it: which packages `collectives` imports depends on the commit.
    packed = subprocess.run([*git, "archive", "--format=tar", commit], capture_output=True, check=True)
    copy = Path(stack.enter_context(TemporaryDirectory(prefix="gears-against-")))
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(copy, filter="data")
    if not (copy / "collectives" / "__init__.py").is_file():
        raise ValueError(f"got {against!r}, expected a state that has ranks/ and collectives/")
    return copy, against if against.startswith(commit) else f"{against} ({commit})"


def parts(trees: Sequence[Path], name: str, scale: Scale, *, giants: bool) -> Iterator["Table | str"]:
    """Yield what the machine is, then the tables, each measured when it is asked for."""
    from _measure import STATUS, machine

    yield "\n".join([*machine(), f"old: {name}; new: {ROOT}"])
    rows = rows_of(scale)
    for pair in range(1, scale.pairs + 1):
        print(f"measuring: pair {pair} of {scale.pairs} of processes", file=sys.stderr)
        with Worker(trees[0]) as old, Worker(trees[1]) as new:
            for row in rows:
                measure(row, old, new, scale)
    yield speed_table(rows, f"Against {name}, medians of {scale.pairs * scale.rounds} rounds")
    yield bare_table(rows)
    if not STATUS.exists():
        yield f"Memory: left out, it is read from {STATUS}, which only Linux has"
        return
    yield parked_table(trees, scale.parked)
    if giants:
        yield giant_table(trees, scale.shrink_giants)


def main() -> None:
    """Read the options, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", required=True, metavar="REV_OR_FOLDER", help="the earlier state")
    parser.add_argument("--giants", action="store_true", help="also the largest runs: up to 9 GiB, some minutes")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="fewer, shorter rounds and giants a sixteenth as large")
    amount.add_argument("--tiny", action="store_true", help="the smallest runs: they show that all works")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if not find_spec("rich"):
        parser.error('cannot import rich: in the checkout, pip install -e ".[show]"')
    # "new" is the tree of this file, whichever is installed; _giants.py imports it here too, for its figures.
    sys.path.insert(0, str(ROOT))
    from _report import report

    scale = TINY if options.tiny else QUICK if options.quick else FULL
    with ExitStack() as stack:
        try:
            old, name = tree_of(options.against, stack)
        except ValueError as problem:
            parser.error(f"--against: {problem}")
        report(parts([old, ROOT], name, scale, giants=options.giants), options.markdown)


if __name__ == "__main__":
    main()
