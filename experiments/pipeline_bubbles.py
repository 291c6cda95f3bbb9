"""How long do the ranks of a pipeline idle, and what does a schedule pay to idle less?

A pipeline gives each rank a stage, which is some of a model's layers, and sends a batch through in m microbatches. A
rank idles until the first microbatch comes to it, and again while the last ones are elsewhere: this is the bubble.
Schedules make it smaller in three ways. They cut the model into more stages than ranks, so that a stage takes less
time; they put off the gradients of weights, for which nobody waits, until there is nothing else to do; or they let
microbatches enter from both ends. They pay in messages, in activations that wait for their backward pass, or in
parameters. Here a schedule is data: an order of passes for each rank. This script runs each schedule on a virtual
clock, and compares it with its formula.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from experiments.lab import cli, files, progress, tables, terminal
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count, whole_from
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import World
from experiments.pictures.palette import styles
from ranks import look
from training.pipeline import LOOPED, SCHEDULES, Timeline, costs, make_schedule, play, shortest_schedule, text
from training.pipeline.drawing import draw_on, legend_of_passes

SHOWS = "Nine pipeline schedules drawn: bubble, activations and messages beside formulas; latency; the shortest order."
TAKES = "2 s"
EXAMPLES = {
    "": "4 ranks, 8 microbatches, passes of 10 each, messages of 1",
    "--ranks 8 --microbatches 32 --schedules 1f1b dualpipe": "more ranks, fewer schedules",
    "--forward 5 --input 6 --weight 4 --latency 3": "passes that take different times, and slow messages",
    "--shortest --schedules zb-h1 zb-v": "is there any order that is better?",
    "--plot bubbles.png": "draws all schedules on one clock, and how their idle time grows",
}
EXPECTED = """\
Expected idle time of rank 0 between its first and its last pass, B = I + W:
  gpipe, 1f1b                  (p-1)(F+B)
  interleaved, breadth-first   (p-1)(F+B)/v, v stages a rank
  zb-h1                        (p-1)(F+I-W)
  zb-h2                        (p-1)(F+I-2W), or none
  zb-v                         (p-1)(I-W)
  dualpipe                     (p/2-1)(F+I-W)
  dualpipe-v                   (p-1)(F+I-W)/2
"""
DRAWN_RANKS = 8  # up to so many are drawn as text
MOST_STATES = 20_000  # when a search gives up
PASS_S, PASS_BYTES = 2e-4, 2_000  # CPU time and memory of a pass, in all tables together


@dataclass(frozen=True)
class Setting:
    """p ranks, m microbatches, v stages a rank under the schedules that loop, and the times of a rank's passes."""

    p: int
    m: int
    v: int
    F: int | Fraction
    I: int | Fraction
    W: int | Fraction
    latency: int | Fraction

    def stages(self, name: str) -> int:
        """Return in how many stages a rank's layers are cut, each of which takes so much less time."""
        return self.v if name in LOOPED else 2 if name in ("zb-v", "dualpipe-v") else 1

    def times(self, name: str) -> tuple[Fraction, Fraction, Fraction]:
        """Return F, I and W of one stage."""
        v = self.stages(name)
        return Fraction(self.F, v), Fraction(self.I, v), Fraction(self.W, v)

    def played(self, name: str, **options: Any) -> Timeline:
        """Return a schedule on the clock."""
        chunks = self.v if name in LOOPED else 1
        return play(make_schedule(name, self.p, self.m, chunks), *self.times(name), **options)


def written(number: Any) -> str:
    """Return a number with as many digits as it needs, up to two behind the point."""
    return f"{float(number):,.2f}".rstrip("0").rstrip(".")


def table(columns: Sequence[Column], rows: list[list[Any]], name: str) -> None:
    """Print a table; Fractions become numbers that --csv and --json know."""
    plain = [[float(value) if isinstance(value, Fraction) else value for value in row] for row in rows]
    tables.table(columns, plain, name)


def agreed(what: str, expected: Any, counted: Any) -> list[Any]:
    """Return both for a table; assert that they agree, if something is expected."""
    assert expected in (None, counted), f"{what}: counted {counted}, expected {expected}"
    return [expected, counted]


def show(setting: Setting, names: Sequence[str]) -> None:
    """Print each schedule as lines of text."""
    for name in names:
        say(f"\n{name}")
        print(text(setting.played(name), min(terminal.width() or 100, 120)))


def compare(setting: Setting, names: Sequence[str]) -> None:
    """Print what each schedule takes, beside its formulas."""
    rows = []
    for name in progress.track(names, "playing"):
        p, m, v = setting.p, setting.m, setting.stages(name)
        found = setting.played(name)
        peaks = agreed(f"{name}, activations", costs.peak_activations(name, p, m, v), found.peaks)
        rows.append([
            name,
            *agreed(f"{name}, bubble", costs.bubble(name, p, m, *setting.times(name)), found.bubbles[0]),
            100 * sum(found.idle) / (p * found.length),
            *(None if each is None else Fraction(max(each), v) for each in peaks),
            Fraction(max(len(found.schedule.stages_of(rank)) for rank in range(p)), v),
            *agreed(f"{name}, messages", costs.messages(name, p, m, v), found.messages),
        ])  # fmt: skip
    columns = [
        Column("schedule"), *pair("bubble", written), Column("all ranks", "idle %", decimals(".1f")),
        *pair("activations", written), Column("a rank", "parameters", written), *pair("messages"),
    ]  # fmt: skip
    table(columns, rows, "schedules")
    terminal.tell(
        "1 parameter is a rank's share of the layers, and 1 activation is one microbatch in it. A formula is missing "
        "where it does not hold: if p does not divide m, if m is small, or if F, I and W are not in the order that it "
        "needs."
    )


def with_latency(setting: Setting, names: Sequence[str]) -> None:
    """Print what the latency of messages adds to the step, for m and for 4m microbatches."""
    c, p = setting.latency, setting.p
    sizes = [setting.m, 4 * setting.m]
    rows = []
    for name in progress.track(names, "waiting"):
        row: list[Any] = [name]
        for m in sizes:
            each = replace(setting, m=m)
            added = each.played(name, latency=c).length - each.played(name).length
            known = {"gpipe": 2 * c * (p - 1), "1f1b": costs.latency_of_1f1b(p, m, c)}
            row += agreed(f"{name}, latency, m = {m}", known.get(name), added)
        rows.append(row)
    say(f"\nWhat messages that take {c} add to the step:")
    table([Column("schedule"), *(column for m in sizes for column in pair(f"m = {m}", written))], rows, "latency")


def at_once(setting: Setting, names: Sequence[str]) -> None:
    """Print the bubble of DualPipe if it runs F and B of two microbatches at once: README, formula and count."""
    rows = []
    for name in names:
        F, I, W = setting.times(name)
        half = setting.p if name == "dualpipe-v" else setting.p // 2
        for FB, hidden in [(F + I + W, "nothing"), (max(F, I + W), "the shorter")]:
            bubble = costs.bubble(name, setting.p, setting.m, F, I, W, FB)
            counted = setting.played(name, FB=FB).bubbles[0]
            readme = (half - 1) * (FB + I - 2 * W)
            rows.append([name, hidden, readme, *agreed(f"{name}, at once", bubble, counted)])
    terminal.tell(
        "DualPipe runs F and B of two microbatches at once, in a time FB, and each hides the other's messages. Its "
        "README gives (p/2-1)(FB+B-3W); the count is (p/2-1)(2FB-min(F, I)-3W), which is the same only if FB = F+B "
        "and F <= I."
    )
    columns = [Column("hidden", names=True), Column("README", "bubble", written), *pair("bubble", written)]
    table([Column("at once", called="schedule"), *columns], rows, "at once")


def search(setting: Setting) -> None:
    """Print the shortest steps that any order makes with so many activations, beside schedules that keep as many."""
    one = replace(setting, p=min(setting.p, 3), m=min(setting.m, 6))
    two = replace(setting, p=min(setting.p, 2), m=min(setting.m, 4), v=2)
    there, back = range(two.p), range(two.p)[::-1]
    say(f"The shortest step of {one.p} ranks and {one.m} microbatches, whatever the order, by exact search:")
    table_of_shortest(one, {"shortest": [*range(one.p)]}, ["1f1b", "zb-h1", "zb-h2"], "search")
    say(f"The same for {two.p} ranks of two stages and {two.m} microbatches. A V turns back at the last rank:")
    shapes = {"shortest loop": [*there, *there], "shortest V": [*there, *back]}
    table_of_shortest(two, shapes, ["interleaved", "zb-v", "dualpipe-v"], "search of two stages")
    terminal.tell("If a schedule takes as long as the shortest of its row, no order with as much memory beats it.")


def table_of_shortest(setting: Setting, shapes: dict[str, list[int]], names: list[str], title: str) -> None:
    """Print a row for each number of activations: the shortest step if stages lie like this, and what has a name."""
    named = {name: setting.played(name) for name in names}
    v, times = setting.stages(names[-1]), setting.times(names[-1])
    rows = []
    for most in range(v, max(max(each.peaks) for each in named.values()) + 1):
        row: list[Any] = [Fraction(most, v)]
        for holders in shapes.values():
            for split in (False, True):
                limits: Any = {"split": split, "holders": holders, "most_states": MOST_STATES}
                try:
                    found = shortest_schedule(setting.p, setting.m, most, *times, **limits)
                    row.append(play(found, *times).length)
                except ValueError:  # too many states
                    row.append(None)
        rows.append([*row, *(each.length if max(each.peaks) == most else None for each in named.values())])
    searched = [Column(what, shape, written) for shape in shapes for what in ("B whole", "I, W apart")]
    known = [Column(name, "with as many", written) for name in names]
    table([Column("activations", "", written), *searched, *known], rows, title)


def picture(setting: Setting, names: Sequence[str]) -> Any:
    """Return a Figure of all schedules on one clock, and of their idle time against m, latency and W."""
    found = {name: setting.played(name) for name in progress.track(names, "drawing")}
    height = 0.3 * setting.p + 0.4
    figure = look.figure(12, height * len(names) + 4.5)
    grid = figure.add_gridspec(len(names) + 1, 3, height_ratios=[*[height] * len(names), 3.6])
    longest = max(each.length for each in found.values())
    for row, (name, each) in enumerate(found.items()):
        axes = look.axes(figure, grid[row, :])
        draw_on(axes, each, name, longest)
        axes.tick_params(axis="x", labelbottom=row == len(names) - 1)
    axes.set_xlabel("time")
    legend_of_passes(figure, {op.kind for each in found.values() for op in each.schedule.places})
    B = setting.I + setting.W
    against = {
        "microbatches": {k * setting.p: replace(setting, m=k * setting.p, latency=0) for k in (1, 2, 3, 4, 6, 8)},
        "time of a message": {c: replace(setting, latency=c) for c in (Fraction(k * setting.F, 5) for k in range(6))},
        "W, of I + W": {w: replace(setting, I=B - w, W=w, latency=0) for w in (Fraction(k * B, 6) for k in range(6))},
    }
    for column, (label, settings) in enumerate(against.items()):
        axes = look.axes(figure, grid[-1, column], xlabel=label, ylabel="idle %")
        idle_against(axes, settings, names)
        if column == 0:
            look.legend(axes, fontsize="small")
    return figure


def idle_against(axes: Any, settings: dict[Any, Setting], names: Sequence[str]) -> None:
    """Draw the idle time of each schedule against what these settings differ in."""
    for name in names:
        colour, marker = styles(SCHEDULES)[name]
        found = [each.played(name, latency=each.latency) for each in settings.values()]
        idle = [100 * float(sum(each.idle) / (each.schedule.p * each.length)) for each in found]
        axes.plot(list(map(float, settings)), idle, color=colour, marker=marker, fillstyle="none", label=name)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def experiment(world: World, args: argparse.Namespace, setting: Setting) -> None:
    """Draw, compare, and ask what latency, hiding and memory do."""
    names = args.schedules
    say(EXPECTED)
    say(f"Pipeline: {setting.p} ranks, {setting.m} microbatches; F = {setting.F}, I = {setting.I}, W = {setting.W}")
    if setting.p <= DRAWN_RANKS:
        say("\nF3 and B3 are the passes of microbatch 3, I3 and W3 the halves of B3; a dot is idle time.")
        show(setting, names)
    compare(setting, names)
    if setting.latency:
        with_latency(setting, names)
    both = [name for name in names if name.startswith("dualpipe")]
    if both and setting.m >= 2 * setting.p:
        at_once(setting, both)
    if args.shortest:
        search(setting)
    if args.plot:
        files.draw(args.plot, lambda: picture(setting, names))


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("each has some of the layers", default=4)
    made.add_argument("--microbatches", type=count, default=8, metavar="M", help="microbatches of a batch (default: 8)")
    made.add_argument(
        "--chunks", type=count, default=2, metavar="V",
        help="stages of a rank under interleaved and breadth-first (default: 2)",
    )  # fmt: skip
    for name, what in [
        ("forward", "F, the time of a rank's forward pass of a microbatch"),
        ("input", "I, the time of the half of its backward pass that gives the gradient of its input"),
    ]:
        made.add_argument(f"--{name}", type=count, default=10, metavar=name[0].upper(), help=f"{what} (default: 10)")
    made.add_argument(
        "--weight", type=whole_from(0), default=10, metavar="W",
        help="W, the time of the half that gives the gradients of its weights (default: 10)",
    )  # fmt: skip
    made.add_argument(
        "--latency",
        type=whole_from(0),
        default=1,
        metavar="C",
        help="C, the time of a message, for one table (default: 1)",
    )
    made.add_argument(
        "--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES), metavar="NAME",
        help=f"which schedules: {', '.join(SCHEDULES)} (default: all)",
    )  # fmt: skip
    made.add_argument(
        "--shortest", action="store_true", help="find the shortest step of any order that keeps as many activations"
    )
    made.add_plot("all schedules on one clock, and their idle time against M, C and W")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: the passes of the largest play, and of all of them."""
    passes = 3 * args.ranks * args.microbatches * max(args.chunks, 2)
    return Need(4 * PASS_BYTES * passes, seconds=PASS_S * passes * len(args.schedules))


def prepare(args: argparse.Namespace) -> Setting:
    """Return what is played."""
    afford(args, need, ranks=1, microbatches=1, chunks=1)
    return Setting(args.ranks, args.microbatches, args.chunks, args.forward, args.input, args.weight, args.latency)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
