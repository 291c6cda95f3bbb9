"""The way into an experiment and out of it, the same for all of them.

A script gives `main` its parser and two functions: prepare(args) checks its own options and may raise UsageError;
experiment(world, args, job) does the work, job being what prepare returned, and world None if it has no ranks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ranks
from experiments.lab import endings, files, tables, terminal
from experiments.lab.errors import UsageError
from experiments.lab.options import Parser
from experiments.lab.worlds import Real, Simulated
from ranks import real
from ranks.words.extras import how_to_install

Prepare = Callable[[argparse.Namespace], Any]
Experiment = Callable[[Any, argparse.Namespace, Any], None]


def main(parser: Parser, prepare: Prepare, experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run an experiment with the arguments `argv[1:]`; return its exit status.

    argv:   The arguments, after the command as it was typed; None for those of this process.
    Status: 0, 2 after a UsageError, 130 after Ctrl-C, 1 if the output could not be written.
    """
    called, *given = sys.argv if argv is None else argv
    parser.prog = called if called.startswith("gears ") else Path(called).name
    terminal.speak_plainly()
    return endings.written(lambda: _status(parser, prepare, experiment, given), parser.prog)


def _status(parser: Parser, prepare: Prepare, experiment: Experiment, given: Sequence[str]) -> int:
    """Run an experiment with these options; return 0, 2 after a UsageError, or 130 after Ctrl-C."""
    try:
        args, job = _agreed(lambda: _start(parser, prepare, given), parser.prog)
        if args.mpi and not real.under_mpi():
            script = sys.modules[experiment.__module__].__file__
            with endings.unwinding(), _terminal_for_children():
                status = real.launch(args.ranks, [str(script), *given], capture=False).returncode
            return status if status >= 0 else 128 - status
        _run(parser, experiment, args, job, given)
    except KeyboardInterrupt:
        _complain("interrupted")
        return endings.INTERRUPTED
    except (UsageError, real.MPINotInstalledError, real.TooManyProcessesError) as problem:
        print(f"{parser.prog}: {problem}", file=sys.stderr, flush=True)
        return 2
    except Exception:
        if not real.under_mpi():
            raise
        traceback.print_exc()
        real.world().Abort(1)  # the others would wait for this rank
    return 0


def _run(parser: Parser, experiment: Experiment, args: argparse.Namespace, job: Any, given: Sequence[str]) -> None:
    """Ask the question, run the experiment, and write its tables where --csv and --json want them."""
    world = Real() if args.mpi else Simulated(args.ranks, ranks.network_named(args.network)) if args.ranks else None
    is_first = world is None or world.first
    if is_first:
        terminal.say(f"{parser.question}\n")
    with tables.kept() as printed:
        experiment(world, args, job)
    if is_first and args.csv:
        files.save(args.csv, lambda path: path.write_text(tables.as_csv(printed)))
    if is_first and args.json:
        about = {"experiment": parser.prog, "question": parser.question, "options": list(given)}
        files.save(args.json, lambda path: path.write_text(tables.as_json(printed, about)))


def _start(parser: Parser, prepare: Prepare, given: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    """Return the options, with defaults where none were given, and what `prepare` makes of them."""
    args = parser.parse_args(given)
    args.given = [each.partition("=")[0] for each in given if each.startswith("--")]
    if any(getattr(args, name, None) for name in ("plot", "animate")) and find_spec("matplotlib") is None:
        raise UsageError(f"matplotlib is not installed; remedy: {how_to_install('show')}")
    if parser.default_ranks_on_mpi and real.under_mpi():
        p = real.world().size
        if args.ranks not in (None, p):
            raise UsageError(f"got {p} MPI processes, expected --ranks {args.ranks}; remedy: mpiexec -n {args.ranks}")
        args.mpi, args.ranks = True, p
    for name in parser.refused_on_mpi(args) if args.mpi else ():
        raise UsageError(f"{name} is for simulated ranks, and real MPI was asked for; remedy: leave one out")
    if isinstance(parser.default_ranks, int):
        args.ranks = args.ranks or (parser.default_ranks_on_mpi if args.mpi else parser.default_ranks)
    args.network = args.network or (None if args.mpi else parser.default_network or None)
    if args.ranks is not None and args.ranks < parser.least_ranks:
        raise UsageError(f"--ranks: got {args.ranks}, expected {parser.least_ranks} or more")
    return args, prepare(args)


@contextmanager
def _terminal_for_children() -> Iterator[None]:
    """Tell processes that write through mpiexec's pipe, in rich's own words, that there is a terminal behind it."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield
        return
    before = dict(os.environ)
    columns = str(shutil.get_terminal_size().columns)
    os.environ.update(TTY_COMPATIBLE="1", TTY_INTERACTIVE="1", COLUMNS=columns)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _complain(line: str) -> None:
    """Print an error once, however many processes have it."""
    if not real.under_mpi() or real.world().rank == 0:
        print(line, file=sys.stderr, flush=True)


def _agreed(start: Callable[[], Any], prog: str) -> Any:
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
    _complain(f"{prog}: {problems[0]}")
    comm.Barrier()  # a rank that fails ends the others: let the first speak before
    raise SystemExit(2)
