"""The options of experiments: one name and one meaning for the same thing, help that teaches, errors of one line."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ranks
from experiments.lab import files, terminal
from experiments.lab.errors import UsageError


class Parser(argparse.ArgumentParser):
    """The options of one experiment.

    document: The docstring of the script, the question on its first line.
    examples: What the script is asked for, by the options that ask for it; "" is the script without options.
    """

    def __init__(self, document: str, examples: Mapping[str, str]) -> None:
        super().__init__(usage="%(prog)s [OPTIONS]", allow_abbrev=False, description=document, formatter_class=_Help)
        self.question = document.partition("\n")[0]
        self.examples = examples
        self.default_ranks: int | str = ""
        self.default_ranks_on_mpi: int | None = None
        self.default_network = ""
        self.least_ranks = 1
        self.simulated: Any = self
        """Where options go that real MPI does not have."""
        self.written = self.add_argument_group("files to write")
        self.written.add_argument(
            "--csv", type=files.named(".csv"), metavar="FILE", help="write the tables as plain numbers (.csv)"
        )
        self.written.add_argument(
            "--json", type=files.named(".json"), metavar="FILE", help="write the same as JSON (.json)"
        )
        self.set_defaults(ranks=None, network=None, mpi=False)

    def add_ranks(
        self, note: str = "", *, default: int | str, network: str = "", mpi: int | None = None, least: int = 1
    ) -> None:
        """Add --ranks, with `network` also --network, and with `mpi` also --mpi, each with its default.

        note:    What else there is to know about the number.
        default: Of --ranks, or in words what `prepare` makes it.
        mpi:     The default on real MPI; without `network` there are no simulated ranks.
        least:   Fewer ranks make no sense.
        """
        self.default_ranks, self.default_ranks_on_mpi = default, mpi
        self.default_network, self.least_ranks = network, least
        on_mpi = f"; on real MPI {mpi}" if mpi and isinstance(default, int) and mpi != default else ""
        text = f"number of ranks, {least} or more{note and f'; {note}'} (default: {default}{on_mpi})"
        self.add_argument("--ranks", type=whole_from(least), metavar="P", help=text)
        if network and mpi:
            self.simulated = self.add_argument_group("simulated ranks only")
        if network:
            text = f"what messages cost (default: {network}): {', '.join(ranks.presets)}"
            self.simulated.add_argument("--network", choices=ranks.presets, metavar="NAME", help=text)
        if mpi and not network:
            self.set_defaults(mpi=True)
        elif mpi:
            self.add_argument("--mpi", action="store_true", help="run on real MPI: P processes under mpiexec")

    def add_operations(self, names: Mapping[str, Any], default: list[str]) -> None:
        """Add --operations, some of `names`."""
        said = "all" if default == [*names] else " ".join(default)
        self.add_argument(
            "--operations", nargs="+", choices=names, default=default, metavar="NAME",
            help=f"which collectives: {', '.join(names)} (default: {said})",
        )  # fmt: skip

    def add_seed(self, what: str) -> None:
        """Add --seed."""
        self.add_argument("--seed", type=whole_from(0), default=0, metavar="N", help=f"draws {what} (default: 0)")

    def add_plot(self, what: str, *, mpi: bool = False) -> None:
        """Add --plot; mpi: on real MPI too."""
        group = self.written if mpi or self.simulated is self else self.simulated
        group.add_argument("--plot", type=files.picture, metavar="FILE", help=f"draw {what} (.png, .svg)")

    def add_trace(self, what: str = "messages") -> None:
        """Add --trace and --html, which `files.save_trace` writes."""
        text = f"write {what} over time (.json), for https://ui.perfetto.dev"
        self.simulated.add_argument("--trace", type=files.named(".json"), metavar="FILE", help=text)
        text = "write the same as a page (.html), to zoom in, hover over messages, step and play"
        self.simulated.add_argument("--html", type=files.named(".html"), metavar="FILE", help=text)

    def add_animation(self, what: str) -> None:
        """Add --animate."""
        self.simulated.add_argument("--animate", type=files.named(".gif"), metavar="FILE", help=f"draw {what} (.gif)")

    def refused_on_mpi(self, args: argparse.Namespace) -> list[str]:
        """Return the options that were given and are for simulated ranks only."""
        actions = self.simulated._group_actions if self.simulated is not self else []
        return [each.option_strings[0] for each in actions if each.option_strings[0] in args.given]

    def format_help(self) -> str:
        """Return the help, with examples as they are typed here."""
        typed = self.prog if self.prog.startswith("gears ") else f"python {self.prog}"
        shown = [f"  {typed} {asked}".rstrip() + f"\n      {what}" for asked, what in self.examples.items()]
        self.epilog = "\n".join(["examples:", *shown])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise an error of one line."""
        raise UsageError(f"{message}; see --help")


class _Help(argparse.HelpFormatter):
    """Help as wide as the terminal, up to 120 columns; paragraphs are folded, and lines that are set in stay lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22, width=min(terminal.width() or 100, 120) - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return terminal.folded(" ".join(text.split()), width).splitlines()  # the default would cut names at hyphens

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            terminal.folded(part if re.search("^ ", part, re.MULTILINE) else part.replace("\n", " "), width)
            for part in text.strip().split("\n\n")
        )


def require_one_kind_of_link(args: argparse.Namespace) -> None:
    """Raise UsageError if some of the ranks have faster links than others."""
    if not ranks.presets[args.network].is_uniform(args.ranks):
        raise UsageError(
            f"--network: got {args.network}, whose {args.ranks} ranks have links of two kinds, expected one; "
            "remedy: fewer ranks, or another network"
        )


# -- types of options ----------------------------------------------------------------------------------------


def whole_from(least: int) -> Callable[[str], int]:
    """Return a type for an option: a whole number from `least` up."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from {least} up")
        return int(text)

    return whole


count = whole_from(1)


def positive(text: str) -> float:
    """Return a number above 0, such as 0.5 or 1e3, up to 1e9: times of what is larger would not be exact."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1e9:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0, such as 0.5 or 1e3, up to 1e9")
    return number


def fraction(text: str) -> float:
    """Return a number from 0 up and below 1, such as 0.1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number from 0 up, below 1, such as 0.1")
    return number


def size(text: str) -> int:
    """Return the bytes that "25MiB", "64KiB", "1e6" or "4096" stand for."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?) ?([KMG]i?)?B?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a size like 25MiB, 64KiB, 1MB or 1e6")
    number, unit = found.groups(default="")
    base = 1024 if len(unit) == 2 else 1000
    n_bytes = float(number) * base ** " KMG".index(unit[:1].upper() or " ")
    if n_bytes > sys.maxsize:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a size that a machine can have")
    return int(n_bytes)
