"""The options of `python -m mpi`, and their meaning."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import ranks
from collectives.choice import preferring
from mpi.launch.programs import Program, UsageError, line, module, script
from ranks.observers.faults import Fault
from ranks.real.capacity import available_memory
from ranks.schedules.search import read_replay

# Memory of a rank that does little: its stack, its modules, its streams. Measured: 70 kB.
RANK_BYTES = 70_000
MAX_RUNS = 10_000
_FAULTS = ("Crash", "Delay", "Drop", "Duplicate", "Partition", "SlowLink", "Straggler")
_EPILOG = """examples:
  # a script on 64 ranks, and a module on 4
  {prog} -n 64 hello.py
  {prog} -n 4 -m package.module ARGS
  # a send returns only when its message is received
  {prog} -n 4 --buffering none ring.py
  # every schedule that can differ
  {prog} -n 3 --explore race.py
  # where messages, bytes and time went
  {prog} -n 8 --network ethernet --summary stencil.py
  # a rank that crashes
  {prog} -n 4 --faults "Crash(rank=2, send=3)" farm.py

exit status:
  0    all ranks have returned
  n    a rank called sys.exit(n) or Abort(n)
  1    a rank raised an exception, or called sys.exit with a text
  2    the command cannot be carried out
  3    no rank can move any more, or ranks disagree about a collective
  130  after Ctrl-C
  141  nobody reads the output any more"""


class OfPython(argparse.Action):
    """An option of Python itself: `python` gets it as one word."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.python = [*namespace.python, f"{option_string}{values or ''}"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = Parser(
        prog=prog, usage=f"{prog} -n N [options] (FILE | -m MODULE | -c CODE) [ARGS ...]",
        description="Run an mpi4py program, unchanged, on N simulated ranks in one process.",
        epilog=_EPILOG.format(prog=prog), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = made.add_argument
    add("-n", "-np", dest="size", type=count, metavar="N", required=True, help="number of ranks")
    add("-m", dest="module", nargs=argparse.REMAINDER, help="run a module; the rest are its arguments")
    add("-c", dest="code", nargs=argparse.REMAINDER, help="run a line of code; the rest are its arguments")
    add("script", nargs=argparse.REMAINDER, metavar="FILE", help="run a file; the rest are its arguments")
    add(
        "--network",
        choices=ranks.presets,
        metavar="NAME",
        help=f"network whose prices messages pay: {', '.join(ranks.presets)}",
    )
    add("--buffering", choices=("none", "eager", "infinite"), default="eager", metavar="HOW",
        help="which standard sends are buffered: none, eager (small ones; the default), infinite (all)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="S", help="seed of jitter, faults, random and np.random")
    add("--faults", type=faults, action="extend", default=[], metavar="FAULT",
        help=f'a fault that strikes the run, such as "Crash(rank=2, send=3)": {", ".join(_FAULTS)}')  # fmt: skip
    add(
        "--check",
        action="store_true",
        help="raise an error where the program breaks a rule of MPI; this runs the program twice",
    )
    add("--trace", type=writable, metavar="FILE", help="write a trace that https://ui.perfetto.dev opens")
    add("--summary", action="store_true", help="show messages, bytes and waiting by rank and by line of the program")
    add("--explore", type=count, nargs="?", const=MAX_RUNS, metavar="MAX",
        help="run under every schedule that can differ, at most MAX times in each way of buffering (default "
        f"{MAX_RUNS:,})")  # fmt: skip
    add("--replay", type=replay, metavar="TEXT",
        help="make the choices of a schedule that --explore found, such as none:0,1")  # fmt: skip
    add("--algorithm", type=algorithm, action="extend", default=[], metavar="OP=NAME",
        help="use this algorithm for a collective wherever it can be used, such as allreduce=ring")  # fmt: skip
    add("--compute", type=compute, metavar="measured[:FACTOR]",
        help="let the CPU time of a rank advance its clock; without this, computing takes no virtual time")  # fmt: skip
    add("--tag-output", action="store_true", help="begin each line of output with the number of its rank")
    add("--mpi", action="store_true", help="run the same program on real MPI: N processes under mpiexec")
    add("-u", "-B", "-O", "-b", "-E", "-I", "-P", "-q", "-s", action=OfPython, nargs=0, dest="python", default=[],
        help="options of Python itself, which runs the program with them")  # fmt: skip
    add("-W", "-X", action=OfPython, dest="python", metavar="ARG", help="the same, with an argument")
    return made


def parse(argv: Sequence[str], prog: str) -> tuple[argparse.Namespace, Program]:
    """Return the options and the program that they name."""
    argv = list(argv)
    for at, word in enumerate(argv[:-1]):
        if word == "--explore" and not argv[at + 1].isdecimal():
            argv[at] = f"--explore={MAX_RUNS}"  # or argparse would take the program for its number
    options = parser(prog).parse_args(argv)
    named = [each for each in (options.module, options.code, options.script) if each]
    if len(named) != 1:
        raise UsageError("got no program, expected a file, or -m and a module, or -c and a text; see --help")
    name, *arguments = named[0]
    if options.script and re.fullmatch(r"python[\d.]*", os.path.basename(name)):  # as after `mpiexec -n 4`
        return parse([*argv[: len(argv) - len(named[0])], *arguments], prog)
    if options.module and name in ("mpi4py", "mpi4py.run"):  # they run a program so that its failure ends all ranks
        return parse([*argv[: argv.index("-m")], *arguments], prog)
    if not options.mpi:
        _require_memory(options.size)
    if options.module:
        return options, module(name, arguments)
    return options, line(name, arguments) if options.code else script(name, arguments)


def real_arguments(options: argparse.Namespace) -> list[str]:
    """Return what real MPI runs; raise if an option has no meaning there."""
    for name in (
        "network",
        "faults",
        "check",
        "trace",
        "summary",
        "explore",
        "replay",
        "algorithm",
        "compute",
        "tag_output",
    ):
        if getattr(options, name):
            text = f"--{name.replace('_', '-')}"
            raise UsageError(f"{text} is for simulated ranks, and --mpi asks for real ones; remedy: leave one out")
    if options.module:
        return [*options.python, "-m", *options.module]
    return [*options.python, "-c", *options.code] if options.code else [*options.python, *options.script]


def _require_memory(size: int) -> None:
    free = available_memory()
    if size * RANK_BYTES > free:
        raise UsageError(
            f"-n: got {size:,} ranks, which need about {size * RANK_BYTES / 2**30:,.1f} GiB of memory, expected at "
            f"most {free // RANK_BYTES:,}, since {free / 2**30:,.1f} GiB are free; remedy: ask for fewer"
        )


# -- types of options ------------------------------------------------------------------------------------------------


def count(text: str) -> int:
    """Return a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1 up")
    return int(text)


def writable(text: str) -> Path:
    """Return the path of a file that can be written."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file that can be written")
    return path


def algorithm(text: str) -> list[tuple[str, str]]:
    """Return an operation and the name of its algorithm, in a list."""
    operation, _, name = text.partition("=")
    operation = {"bcast": "broadcast"}.get(operation, operation)
    try:
        with preferring({operation: name}):
            return [(operation, name)]
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def replay(text: str) -> str:
    """Return a text that says which choices of a schedule to make."""
    try:
        read_replay(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one that --explore shows, such as none:0,1") from None
    return text


def compute(text: str) -> float:
    """Return the factor of measured CPU time: "measured" or "measured:0.5"."""
    what, colon, factor = text.partition(":")
    try:
        number = float(factor) if colon else 1.0
    except ValueError:
        number = -1.0
    if what != "measured" or not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected measured or measured:FACTOR, such as measured:0.5")
    return number


def faults(text: str) -> list[Fault]:
    """Return the faults that a text names, as Python calls: "Crash(rank=2, send=3), Drop(nth=1)"."""
    try:
        body = ast.parse(text.strip(), mode="eval").body
        calls: list[Any] = body.elts if isinstance(body, (ast.Tuple, ast.List)) else [body]
        return [_fault(call) for call in calls]
    except (SyntaxError, TypeError, ValueError) as problem:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected one such as Crash(rank=2, send=3): {problem}"
        ) from None


def _fault(call: Any) -> Fault:
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in _FAULTS:
        raise ValueError(f"known are {', '.join(_FAULTS)}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError("arguments are written name=value")
    values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    fault: Fault = getattr(ranks, call.func.id)(**values)
    return fault
