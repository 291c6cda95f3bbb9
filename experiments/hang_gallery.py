"""Why does it hang? Run it, read the report, see the picture, mend it, see it pass.

These programs fail as real ones do: sends that rely on buffering, tags and counts that do not match, races that tests
never hit, ranks that crash. Each program is a few lines. The report of each comes from the simulated ranks themselves.
The mended program is explored: it holds under every schedule and every way of buffering.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import ranks
from experiments.lab import cli, files, hangs, pipelines, progress, tables, terminal, wrongs  # noqa: F401  # enter cases
from experiments.lab.errors import UsageError
from experiments.lab.gallery import CASES, Case
from experiments.lab.options import Parser
from experiments.lab.tables import Column
from experiments.lab.terminal import say
from ranks.draw.page import contents, heading, page, piece, viewer
from ranks.hangs.html import report
from ranks.words.errors import named

SHOWS = "21 programs that fail as real ones do; the report of each; the mended program, explored."
TAKES = "2 s"
EXAMPLES = {
    "": "all cases, in a table",
    "--case wildcard_steals": "one case, from the code to its repair",
    "--case one_rank_crashes --plot crash.png": "draws what the ranks were doing",
    "--quiz": "you guess first, then comes the report",
    "--html gallery.html": "a page of all, with pictures",
}


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_argument("--list", action="store_true", help="list the cases, and what each program is meant to do")
    made.add_argument("--case", choices=CASES, metavar="NAME", help="show one case only; see --list")
    made.add_argument("--quiz", action="store_true", help="show a program; its report comes when you press Enter")
    made.add_plot("the case of --case")
    made.written.add_argument(
        "--html", type=files.named(".html"), metavar="FILE", help="write a page with code, reports and pictures (.html)"
    )
    return made


def overview(cases: list[Case]) -> None:
    """Print what each case comes to, and that it passes when mended."""
    rows = []
    for each in progress.track(cases, "running"):
        failure, found = each.failure(), each.verdict_when_mended()
        assert type(failure) is each.error, f"{each.name}: {type(failure).__name__}, expected {each.error.__name__}"
        assert found.verdict == "holds", f"{each.name}, mended: {found}"
        how = "exploring" if each.explored else "a run"
        rows.append([each.name, each.size, how, type(failure).__name__, sum(found.runs.values())])
    columns = [
        Column("case"),
        Column("ranks"),
        Column("found by"),
        Column("report"),
        Column("holds after", "mended", explored),
    ]
    tables.table(columns, rows)
    say("See one with --case NAME, or try yourself with --quiz.")


def explored(n_runs: int) -> str:
    """Return how a verdict is written."""
    return f"{n_runs} run{'s' * (n_runs != 1)}"


def quiz(cases: list[Case]) -> None:
    """Show one case after the other, each report and repair only when the reader asks for it, until they leave."""
    say(f"{len(cases)} programs. Enter goes on; q and Enter, or Ctrl-D, leaves.")
    for number, each in enumerate(cases, 1):
        if not show(each, f"{number} of {len(cases)}: ", pause):
            say(f"You have seen {number - 1} of {len(cases)} to the end.")
            return


def show(each: Case, number: str = "", pause: Callable[[str], bool] | None = None) -> bool:
    """Print one case: story, program, report, explanation, repair and verdict.

    pause: It is asked with a question before the report and before the repair, and leaves by False.
    """
    title = f"{number}{each.name}, {each.size} ranks"
    say(f"\n{title}\n{'=' * len(title)}\n{wrapped(each.story)}\n")
    print(indented(each.source(marked=pause is None)), "\n")
    if pause and not pause("Which ranks hang or fail, in which line, and why? Enter shows the report."):
        return False
    failure = each.failure()
    way = "an ordinary run" + (" with check=True" if each.options.get("check") else "")
    say(f"Found by {'exploring all schedules' if each.explored else way}:\n\n{named(failure)}\n")
    if each.explored:
        say(f"{ranks.explore(each.program, each.size, **each.options)}\n")
    if pause and not pause("How would you mend it? Enter shows a way."):
        return False
    say(f"{wrapped(each.why)}\n\nMended:\n")
    print(f"{indented(each.mended_source())}\n")
    with progress.waiting("exploring"):
        found = each.verdict_when_mended()
    assert found.verdict == "holds", found
    say(f"Explored: {str(found).splitlines()[0]}.")
    return True


def draw(each: Case, failure: Exception, path: Path) -> None:
    """Draw the run up to where it failed."""
    assert isinstance(failure, ranks.RanksError)
    title = each.name
    if isinstance(failure, ranks.DeadlockError):
        title += ": " + str(failure).partition(": ")[2].partition(" (")[0]
    files.save(path, partial(failure.trace.picture, title=title, error=failure))


def html(cases: list[Case]) -> str:
    """Return a page of these cases."""
    pieces = [piece("h1", "Why does it hang?"), contents([each.name for each in cases])]
    for each in progress.track(cases, "drawing"):
        failure, found = each.failure(), each.verdict_when_mended()
        assert isinstance(failure, ranks.RanksError)
        text = "" if isinstance(failure, ranks.DeadlockError) else piece("pre", named(failure))
        shown = text + viewer(failure.trace, failure) if text else report(failure, live=True)
        pieces += [
            heading(each.name), piece("p", each.story), piece("pre", each.source()), shown,
            piece("p", each.why), piece("pre", each.mended_source()), piece("p", f"Mended, explored: {found.verdict}."),
        ]  # fmt: skip
    return page("Why does it hang?", pieces)


def pause(question: str) -> bool:
    """Let the reader think; return whether they go on."""
    try:
        answer = input(terminal.folded(f"{question} ", terminal.width()))
    except EOFError:
        answer = "q"
        print()
    print()
    return answer.strip().lower() not in ("q", "quit", "exit")


def wrapped(text: str) -> str:
    """Return prose in lines that fit a page."""
    return terminal.folded(text, min(terminal.width() or 100, 100))


def indented(text: str) -> str:
    """Return code set off from the text around it."""
    return textwrap.indent(text, "    ")


def experiment(world: None, args: argparse.Namespace, cases: list[Case]) -> None:
    """Do what the options ask for."""
    if args.list:
        for each in cases:
            say(f"{each.name:<26} {each.story}" if (terminal.width() or 100) >= 80 else f"{each.name}\n  {each.story}")
    elif args.html:
        files.save(args.html, lambda path: path.write_text(html(cases)))
    elif args.quiz:
        quiz(cases)
    elif args.case:
        show(cases[0])
    else:
        overview(cases)
    if args.plot:
        draw(cases[0], cases[0].failure(), args.plot)


def prepare(args: argparse.Namespace) -> list[Case]:
    """Return the cases that are asked for."""
    if args.plot and not args.case:
        raise UsageError("--plot draws one case; remedy: add --case NAME")
    asked = [f"--{name}" for name in ("list", "quiz", "html") if getattr(args, name)]
    if len(asked) > 1:
        raise UsageError(f"got {' and '.join(asked)}, expected one of them; remedy: leave one out")
    if (args.csv or args.json) and (asked or args.case):
        raise UsageError(f"--csv and --json keep the table of all cases; remedy: leave out {(asked or ['--case'])[0]}")
    return [CASES[args.case]] if args.case else list(CASES.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
