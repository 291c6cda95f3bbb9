"""What the experiments share: options, the way in and out, tables and progress.

A script gives `main` its parser and two functions: prepare(args) checks its own options, sets args.ranks if it is None
and may raise UsageError; experiment(world, args, job) does the work, job being what prepare returned.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import ranks
from experiments._worlds import Real, Simulated, Trial, World
from ranks import real


class UsageError(Exception):
    """What the user can mend: one line and exit status 2."""


# -- options -------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parser(
    description: str,
    examples: str,
    ranks_help: str,
    *,
    plot: str | None = "time into FILE (.png or .svg) and messages beside it",
    trace: bool = True,
) -> argparse.ArgumentParser:
    """Return a parser with the options that all experiments have. plot: what --plot draws, None: no such option."""
    made = Parser(
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    presets = ", ".join(ranks.presets)
    made.add_argument("--ranks", type=count, metavar="P", help=ranks_help)
    made.add_argument("--network", choices=ranks.presets, metavar="PRESET", help=f"simulate {presets}")
    made.add_argument("--mpi", action="store_true", help="run on real MPI: P processes under mpiexec")
    if plot:
        made.add_argument("--plot", type=picture, metavar="FILE", help=f"draw {plot}")
    if trace:
        made.add_argument(
            "--trace", type=writable, metavar="FILE", help="write a trace that https://ui.perfetto.dev opens"
        )
    return made


def count(text: str) -> int:
    """Return a whole number from 1 up; a type for options."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1 up")
    return int(text)


def writable(text: str) -> Path:
    """Return the path of a file that can be written; a type for options."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file that can be written")
    return path


def picture(text: str) -> Path:
    """Return the path of a picture that can be written; a type for options."""
    if Path(text).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file name that ends in .png or .svg")
    return writable(text)


def animation(text: str) -> Path:
    """Return the path of an animation that can be written; a type for options."""
    if Path(text).suffix != ".gif":
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file name that ends in .gif")
    return writable(text)


# -- the way in ----------------------------------------------------------------------------------------------

Prepare = Callable[[argparse.Namespace], Any]
Experiment = Callable[[World, argparse.Namespace, Any], None]


def main(options: argparse.ArgumentParser, prepare: Prepare, experiment: Experiment, argv: list[str]) -> int:
    """Run an experiment with the arguments `argv[1:]`; return 0, 2 after a UsageError, or 130 after Ctrl-C."""
    try:
        args, job = _agreed(lambda: _start(options, prepare, argv))
        if real.under_mpi():
            experiment(Real(), args, job)
        elif args.mpi:
            return real.launch(args.ranks, argv, capture=False).returncode
        else:
            experiment(Simulated(args.ranks, ranks.network_named(args.network)), args, job)
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (UsageError, real.MPINotInstalledError, real.TooManyProcessesError) as problem:
        print(f"{options.prog}: {problem}", file=sys.stderr, flush=True)
        return 2
    except Exception:
        if not real.under_mpi():
            raise
        traceback.print_exc()
        real.world().Abort(1)  # the others would wait for this rank
    return 0


def guarded(options: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], argv: list[str]) -> int:
    """Run a script that has no ranks of its own; return 0, 2 after a UsageError, or 130 after Ctrl-C."""
    try:
        args = options.parse_args(argv[1:])
        _require("rich")
        if args.plot or getattr(args, "html", None):
            _require("matplotlib")
        run(args)
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except UsageError as problem:
        print(f"{options.prog}: {problem}", file=sys.stderr, flush=True)
        return 2
    return 0


def _require(library: str) -> None:
    if find_spec(library) is None:
        raise UsageError(
            f'{library} is not installed; remedy: install the extra "show", in a checkout pip install -e ".[show]"'
        )


def require_memory(what: str, n_bytes: int, remedy: str) -> None:
    """Raise UsageError if this much memory is more than four fifths of the machine's."""
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 4 // 5
    if n_bytes > limit:
        raise UsageError(
            f"got {what}, which need about {nice_bytes(n_bytes)} of memory, expected at most {nice_bytes(limit)}; "
            f"remedy: {remedy}"
        )


def _start(options: argparse.ArgumentParser, prepare: Prepare, argv: list[str]) -> tuple[argparse.Namespace, Any]:
    args = options.parse_args(argv[1:])
    drawn = getattr(args, "plot", None) or getattr(args, "animate", None)
    for library, needed in (("rich", True), ("matplotlib", drawn)):
        if needed and find_spec(library) is None:
            raise UsageError(
                f'{library} is not installed; remedy: install the extra "show", in a checkout pip install -e ".[show]"'
            )
    if real.under_mpi():
        p = real.world().size
        if args.ranks not in (None, p):
            raise UsageError(f"got {p} MPI processes, expected --ranks {args.ranks}; remedy: mpiexec -n {args.ranks}")
        args.mpi, args.ranks = True, p
    for name in ("network", "trace") if args.mpi else ():
        if getattr(args, name, None):
            raise UsageError(f"--{name} is for simulated ranks, and real MPI was asked for; remedy: leave one out")
    job = prepare(args)
    if getattr(args, "plot", None) and args.ranks == 1:
        raise UsageError("--plot: got 1 rank, expected 2 or more, since one alone sends nothing")
    return args, job


def _complain(line: str) -> None:
    """Print an error once, however many processes have it."""
    if not real.under_mpi() or real.world().rank == 0:
        print(line, file=sys.stderr, flush=True)


def _agreed(start: Callable[[], Any]) -> Any:
    """Return start(); in a real world, end all ranks if one has a problem, since the others would wait for it."""
    if not real.under_mpi():
        return start()
    comm = real.world()
    try:
        ready, problem = start(), None
    except UsageError as caught:
        ready, problem = None, str(caught)
    problems = [each for each in comm.allgather(problem) if each]
    if not problems:
        return ready
    _complain(f"{Path(sys.argv[0]).name}: {problems[0]}")
    comm.Barrier()  # a rank that fails ends the others: let the first speak before
    raise SystemExit(2)


# -- what is shown -------------------------------------------------------------------------------------------


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


def track(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Return an iterator over `items` that shows its progress on a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return rich_track(items, what, console=console, transient=True, disable=not console.is_terminal)


def nice_time(time_ps: float) -> str:
    """Return a time in four digits and its unit: "2.700 µs", "30.88 ms"."""
    unit, ps = next(((unit, ps) for unit, ps in (("s", 1e12), ("ms", 1e9)) if time_ps >= ps), ("µs", 1e6))
    return f"{time_ps / ps:#.4g} {unit}" if time_ps else "0"


def nice_bytes(n_bytes: float) -> str:
    """Return a size in up to four digits and its unit: "25 MiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes:.4g} B"


def beside(path: Path) -> Path:
    """Return where the picture of messages goes: ring.png -> ring-messages.png."""
    return path.with_stem(f"{path.stem}-messages")


def save(path: Path, write: Callable[[Path], Any]) -> None:
    """Let write(path) make a file, and say so."""
    try:
        write(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
