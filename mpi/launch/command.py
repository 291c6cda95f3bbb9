"""`python -m mpi`: an unchanged mpi4py program on simulated ranks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import ranks
from collectives.choice import preferring
from mpi.launch.compute import MeasuredCompute
from mpi.launch.endings import CLOSED, HANGS, fitting, leaks_in_a_line, status_alone, status_of
from mpi.launch.options import parse, real_arguments
from mpi.launch.programs import Program, UsageError
from mpi.launch.running import Launch
from mpi.launch.summary import Sites, summary
from mpi.running import in_terms_of_mpi
from mpi.simulated import Simulated
from ranks import real
from ranks.messages.observer import Observer


def main(argv: Sequence[str], prog: str = "python -m mpi") -> int:
    """Run what the command line says; return its exit status."""
    try:
        options, program = parse(argv, prog)
        if options.mpi:
            return real.launch(options.size, real_arguments(options), capture=False).returncode
        _require_python(options.python, argv)
    except (UsageError, real.MPINotInstalledError, real.TooManyProcessesError) as problem:
        print(f"{prog}: {problem}", file=sys.stderr)
        return 2
    sites: list[Sites] = []
    try:
        return _simulate(program, options, sites)
    except BaseException as problem:
        trace = getattr(problem, "trace", None)
        if options.trace is not None and trace is not None:
            trace.to_chrome(options.trace)
        status = status_of(problem, prog)
        if sites:
            print(summary(options.size, sites[-1], trace, sites[-1].time_ps), file=sys.stderr)
    if status == CLOSED:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python may flush at its end
    return status


def _require_python(options: list[str], argv: Sequence[str]) -> None:
    """Begin again in a Python that has been started with these options, unless this one has."""
    command = sys.orig_argv
    if command[1 : 1 + len(options)] == options:
        return
    if command[len(command) - len(argv) :] != list(argv):
        raise UsageError(f"got {' '.join(options)}, expected no option of Python here; remedy: start Python with it")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *options, *command[1:]])


def _simulate(program: Program, options: argparse.Namespace, sites: list[Sites]) -> int:
    """Run the program; `sites` gets the accounts of each run."""
    if options.explore is not None:
        return _explore(program, options)
    compute = None if options.compute is None else MeasuredCompute(options.compute)

    def watch() -> list[Observer]:
        if options.summary:
            sites.append(Sites())
        return [*sites[-1:], *([compute] if compute else [])]

    launch = Launch(program, tag_output=options.tag_output, compute=compute)
    with launch.processes(), preferring(dict(options.algorithm)), leaks_in_a_line():
        found = ranks.run(
            launch.rank, options.size, network=options.network, buffering=options.buffering, seed=options.seed,
            faults=options.faults, replay=options.replay, check=options.check, watch=watch,
            trace=options.trace is not None or options.summary, comm_type=Simulated,
        )  # fmt: skip
    if options.trace is not None:
        found.trace.to_chrome(options.trace)
    if sites:
        print(summary(options.size, sites[-1], found.trace, found.time_ps), file=sys.stderr)
    return 0


def _explore(program: Program, options: argparse.Namespace) -> int:
    """Run the program under every schedule; what ranks print tells outcomes apart."""
    for name in ("faults", "check", "trace", "summary", "replay", "compute"):
        if getattr(options, name):
            raise UsageError(f"--explore: got --{name} too, expected one of them; remedy: leave one out")
    launch = Launch(program, keeps_output=True)
    with launch.processes(), preferring(dict(options.algorithm)), in_terms_of_mpi():
        found = ranks.explore(
            launch.rank, options.size, network=options.network, max_runs=options.explore, comm_type=Simulated
        )
    print(fitting(str(found), sys.stdout))
    ways = [status_alone(outcome.failure) for outcome in found.failures if outcome.failure is not None]
    return HANGS if HANGS in ways else next(iter(ways), 0)
