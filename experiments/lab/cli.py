"""The command line of an experiment: its options, and the way in and out.

A script gives `main` its parser and two functions: prepare(args) checks its own options, sets args.ranks if it is None
and may raise UsageError; experiment(world, args, job) does the work, job being what prepare returned.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import ranks
from experiments.lab.errors import UsageError
from experiments.lab.files import picture, writable
from experiments.lab.units import nice_bytes
from experiments.lab.worlds import Real, Simulated, World
from ranks import real

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
