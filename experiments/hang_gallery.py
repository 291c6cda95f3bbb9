"""Why does it hang? Run it, read the report, see the picture, mend it, see it pass.

A gallery of programs that fail as real ones do: sends that rely on buffering, tags and counts that do not fit, races
that tests never hit, ranks that crash. Each is a few lines. For each, the report is what the simulated ranks say by
themselves, and the mended program is explored: it holds under every schedule and every way of buffering.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from functools import partial
from pathlib import Path

import ranks
from experiments.lab import cli, files, hangs, progress, tables, wrongs  # noqa: F401  # they enter their cases
from experiments.lab.errors import UsageError
from experiments.lab.gallery import CASES, Case
from ranks.draw.page import page, piece

EXAMPLES = """\
  python experiments/hang_gallery.py                                      all cases, in a table
  python experiments/hang_gallery.py --case wildcard_steals               one, from the code to its repair
  python experiments/hang_gallery.py --case one_rank_crashes --plot crash.png
  python experiments/hang_gallery.py --quiz                               you first, then the report
  python experiments/hang_gallery.py --html gallery.html                  a page of all, with pictures"""


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = cli.Parser(
        description=__doc__, epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--list", action="store_true", help="name the cases and what was meant")
    made.add_argument("--case", choices=CASES, metavar="NAME", help="one case only; see --list")
    made.add_argument("--quiz", action="store_true", help="show the program, and the report only when you press Enter")
    made.add_argument("--plot", type=files.picture, metavar="FILE", help="with --case: draw it (.png or .svg)")
    made.add_argument("--html", type=files.writable, metavar="FILE", help="write a page: code, reports, pictures")
    return made


def overview(cases: list[Case]) -> None:
    """Print what each case comes to, and that it passes when mended."""
    rows = []
    for each in progress.track(cases, "running"):
        failure, found = each.failure(), each.verdict_when_mended()
        assert type(failure) is each.error, f"{each.name}: {type(failure).__name__}, expected {each.error.__name__}"
        assert found.verdict == "holds", f"{each.name}, mended: {found}"
        how = "exploring" if each.explored else "a run"
        rows.append([each.name, str(each.size), how, type(failure).__name__, f"holds, {sum(found.runs.values())} runs"])
    tables.table(["case", "ranks", "found by", "report", "mended, explored"], rows)
    print("See one with --case NAME, or try yourself with --quiz.")


def show(each: Case, plot: Path | None, *, quiz: bool) -> None:
    """Print one case: story, program, report, explanation, repair and verdict."""
    title = f"{each.name}, {each.size} ranks"
    print(f"\n{title}\n{'=' * len(title)}\n{wrapped(each.story)}\n")
    print(indented(each.source(marked=not quiz)), "\n")
    if quiz:
        pause("Which ranks hang or fail, in which line, and why? Enter shows the report.")
    failure = each.failure()
    way = "an ordinary run" + (" with check=True" if each.options.get("check") else "")
    print(f"Found by {'exploring all schedules' if each.explored else way}:\n\n{failure}\n")
    if each.explored:
        print(f"{ranks.explore(each.program, each.size, **each.options)}\n")
    if quiz:
        pause("How would you mend it? Enter shows a way.")
    print(f"{wrapped(each.why)}\n\nMended:\n\n{indented(each.mended_source())}\n")
    found = each.verdict_when_mended()
    assert found.verdict == "holds", found
    print(f"Explored: {str(found).splitlines()[0]}.")
    if plot:
        draw(each, failure, plot)


def draw(each: Case, failure: Exception, path: Path) -> None:
    """Draw the hang; where nothing hangs, the mended program."""
    if isinstance(failure, ranks.DeadlockError):
        headline = str(failure).partition(": ")[2].partition(" (")[0]
        files.save(path, partial(failure.picture, title=f"{each.name}: {headline}"))
    else:
        assert each.mended is not None
        trace = ranks.run(each.mended, each.size, trace=True).trace
        files.save(path, partial(trace.picture, title=f"{each.name}, mended"))


def html(cases: list[Case]) -> str:
    """Return a page of these cases."""
    pieces = []
    for each in progress.track(cases, "drawing"):
        failure, found = each.failure(), each.verdict_when_mended()
        report = failure._repr_html_() if isinstance(failure, ranks.DeadlockError) else piece("pre", str(failure))
        pieces += [
            piece("h2", each.name), piece("p", each.story), piece("pre", each.source()), report,
            piece("p", each.why), piece("pre", each.mended_source()), piece("p", f"Mended, explored: {found.verdict}."),
        ]  # fmt: skip
    return page("Why does it hang?", [piece("h1", "Why does it hang?"), *pieces])


def pause(question: str) -> None:
    """Let the reader think; without a reader go on."""
    try:
        input(f"{question} ")
    except EOFError:
        print()
    print()


def wrapped(text: str) -> str:
    """Return text in lines that fit a page."""
    return textwrap.fill(text, 100)


def indented(text: str) -> str:
    """Return code set off from the text around it."""
    return textwrap.indent(text, "    ")


def main() -> int:
    """Run the gallery from the command line."""
    return cli.guarded(options(), run, sys.argv)


def run(args: argparse.Namespace) -> None:
    """Do what the options ask for."""
    if args.plot and not args.case:
        raise UsageError("--plot draws one case; remedy: add --case NAME")
    cases = [CASES[args.case]] if args.case else list(CASES.values())
    if args.list:
        for each in cases:
            print(f"{each.name:<26} {each.story}")
    elif args.html:
        files.save(args.html, lambda path: path.write_text(html(cases)))
    elif args.case or args.quiz:
        for each in cases:
            show(each, args.plot, quiz=args.quiz)
    else:
        print(__doc__.partition("\n")[0], "\n")
        overview(cases)


if __name__ == "__main__":
    sys.exit(main())
