"""The command `gears`: what experiments there are, and each of them with its own options."""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec

from experiments.lab import endings, terminal
from experiments.lab.contents import Entry, contents
from experiments.lab.terminal import say

HELP = """\
Experiments in ML systems, rebuilt by hand: one question, one command.

  gears list                    list the experiments, and about how long each takes
  gears EXPERIMENT [OPTIONS]    run an experiment; its --help explains its options
  gears run -n 64 program.py    run an mpi4py program on simulated ranks
  gears version                 show what is installed here, for a report
  gears completion SHELL        print completion for bash, zsh or tcsh

Begin with  gears ring-allreduce
and with    eval "$(gears completion bash)"
"""
SHELLS = ("bash", "zsh", "tcsh")
USAGE = {
    "list": "gears list",
    "version": "gears version",
    "completion": f"gears completion and a shell, one of {', '.join(SHELLS)}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 if it makes no sense, or what an experiment returns."""
    terminal.speak_plainly()
    return endings.written(lambda: run(argv), "gears")


def run(argv: Sequence[str] | None) -> int:
    """Do what the command line asks for; return 0, 2 if it makes no sense, or what an experiment returns."""
    command, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["help"]
    entries = contents()
    name = command.replace("_", "-")
    if name in entries:
        return int(entries[name].module().main([f"gears {name}", *rest]))
    if command == "run":
        return _run(rest)
    if command in ("help", "-h", "--help") or (command in USAGE and rest in (["-h"], ["--help"])):
        say(HELP)
    elif command == "list" and not rest:
        show_list(entries)
    elif command in ("version", "--version") and not rest:
        from experiments.lab.versions import versions

        for what, found in versions().items():
            say(f"{what + ':':<12}{found}")
    elif command == "completion" and len(rest) == 1 and rest[0] in SHELLS:
        return complete(entries, rest[0])
    elif command in USAGE:
        got = " ".join([command, *rest])
        print(f"gears: got {got!r}, expected {USAGE[command]}", file=sys.stderr)
        return 2
    else:
        near = get_close_matches(command, [*entries, "run", *USAGE], 1)
        remedy = f"did you mean gears {near[0]}?" if near else "see gears --help"
        got = " ".join([command, *rest])
        print(f"gears: got {got!r}, expected a command or an experiment; {remedy}", file=sys.stderr)
        return 2
    return 0


def _run(argv: Sequence[str]) -> int:
    """Run a program of MPI; what that needs is loaded now."""
    from mpi.launch.command import main as run_program

    return run_program(argv, "gears run")


def show_list(entries: dict[str, Entry]) -> None:
    """Print each experiment: how long it takes, what it asks, what it shows."""
    for entry in entries.values():
        if entry.problem:
            say(f"{entry.name}  (cannot be read)")
            say(f"    {entry.problem}\n")
            continue
        say(f"{entry.name}  (about {entry.takes})")
        say(f"    {entry.question}")
        say(f"    Shows: {entry.shows}\n")
    say("gears EXPERIMENT runs one, gears EXPERIMENT --help explains its options.")


def complete(entries: dict[str, Entry], shell: str) -> int:
    """Print the script by which a shell completes commands and options; return 2 if the library is missing."""
    if find_spec("shtab") is None:
        from ranks.words.extras import how_to_install

        print(f"gears: shtab is not installed; remedy: {how_to_install('show')}", file=sys.stderr)
        return 2
    import argparse

    import shtab

    whole = argparse.ArgumentParser(prog="gears")
    commands = whole.add_subparsers()
    for name, text in (("list", "list the experiments"), ("version", "show what is installed here")):
        commands.add_parser(name, help=text)
    commands.add_parser("completion", help="print a script for a shell").add_argument("shell", choices=SHELLS)
    from mpi.launch.options import parser as options_of_run

    commands.add_parser("run", parents=[options_of_run("gears run")], add_help=False, help="run a program of mpi4py")
    for entry in entries.values():
        if entry.problem:
            continue
        parser = entry.module().parser()
        for action in parser._actions:
            if action.metavar == "FILE":
                action.complete = shtab.FILE
        commands.add_parser(entry.name, parents=[parser], add_help=False, help=entry.question)
    print(shtab.complete(whole, shell=shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
