"""Which algorithm is the fastest, for how many ranks and how many bytes?

With few bytes, latency counts, so few rounds win (trees, recursive doubling, Bruck). With many bytes, the link counts,
so the algorithm that sends the fewest bytes wins (rings, halving), even if it takes many rounds. Where one overtakes
the other depends on the network. For each operation this script draws a phase diagram by the formulas of the catalogue.
Up to 64 ranks it runs every algorithm in as many cells as memory allows, and marks the cells in which another algorithm
is the fastest.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import ranks
from collectives import CATALOGUE, Machine, choose, machine_of
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.operations import BUS_FACTORS, CHOICE_S, DTYPE, Call
from experiments.lab.options import Parser
from experiments.lab.tables import Column, time_column
from experiments.lab.terminal import say, tell
from experiments.lab.worlds import World
from experiments.pictures.palette import styles
from ranks import look

SHOWS = "A diagram for each operation, ranks by bytes: the winner by formula, and whether a run agrees."
TAKES = "20 s"
EXAMPLES = {
    "": "every operation on InfiniBand",
    "--plot who.png": "the same, drawn",
    "--operations allreduce --ranks 48": "one operation, more ranks",
    "--ranks 65536": "a map that is too large to be run",
    "--network dgx-h100 --operations allreduce broadcast": "nodes of 8 ranks",
    "--every-network --operations allreduce --plot who.png": "one operation, all networks",
    "--mpi --ranks 4": "along the bytes on real MPI",
}
RANKS = (2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 256, 1024, 4096, 16_384)
BYTES = [4**k for k in range(4, 13)]  # 256 B to 16 MiB
REAL_BYTES = [4**k for k in range(5, 12)]  # 1 KiB to 4 MiB
# Cells with more bytes than this on all ranks together are predicted only, and so are all cells of larger maps.
MEASURED_BYTES = 2**24
MEASURED_RANKS = 64
REAL_COLUMNS = (
    Column("to win", "predicted"),
    time_column("takes", "predicted"),
    Column("fastest", "measured"),
    time_column("takes", "measured"),
    Column("lost", show="{:.0%}".format),
)
MARGIN = 0.05  # how much slower the predicted winner may be


@dataclass(frozen=True)
class Cell:
    """The winner by formula, and the times measured of all algorithms, none if the cell was not run."""

    predicted: str
    measured_ps: dict[str, int]

    @property
    def fastest(self) -> str:
        """The winner as measured; of equally fast ones the predicted one."""
        best_ps = min(self.measured_ps.values())
        return self.predicted if self.loss == 0 else next(n for n, ps in self.measured_ps.items() if ps == best_ps)

    @property
    def loss(self) -> float:
        """By which part of the fastest time the predicted winner is slower."""
        return self.measured_ps[self.predicted] / min(self.measured_ps.values()) - 1

    def __str__(self) -> str:
        """Return what --csv and --json keep: "ring", "ring (predicted)", or "ring <linear 2.0%"."""
        if not self.measured_ps:
            return f"{self.predicted} (predicted)"
        return self.predicted + (f" <{self.fastest} {self.loss:.1%}" if self.loss else "")


Diagram = dict[tuple[int, int], Cell]


def cell(operation: str, network: ranks.Network, p: int, n_bytes: int, *, runs: bool = True) -> Cell:
    """Return a cell on simulated ranks; if it `runs`, assert that the formulas picked well."""
    call = Call.of_bytes(operation, p, n_bytes)
    choice = choose(operation, Machine.of(network, p), call.n, DTYPE.itemsize)
    times = {}
    for name, _ in choice.candidates if runs and p * call.n_bytes <= MEASURED_BYTES else ():
        run = ranks.run(call.program(CATALOGUE[operation][name].function), p, network=network)
        right = all(call.is_right(rank, result) for rank, result in enumerate(run.results))
        assert right, f"{name} {operation}, {p} ranks, {n_bytes} B: a result is wrong"
        times[name] = run.time_ps
    found = Cell(choice.algorithm, times)
    assert not times or found.loss <= MARGIN, (
        f"{operation} on {network.name}, {p} ranks, {n_bytes} B: {found.predicted} was expected to win, and takes "
        f"{found.loss:.1%} longer than {found.fastest}"
    )
    return found


def show(operation: str, network: ranks.Network, diagram: Diagram) -> None:
    """Print a diagram with a letter for each algorithm."""
    letters, named = letters_of(operation), {each.predicted for each in diagram.values()}
    names = [name for name in letters if name in named]
    say(f"{operation} on {network.name}: {', '.join(f'{letters[name]} {name}' for name in names)}")

    def shown(each: Cell) -> str:
        letter = letters[each.predicted]
        if not each.measured_ps:
            return letter.lower()
        return letter + (f"<{each.fastest} {each.loss:.1%}" if each.loss else "")

    sizes = columns_of(diagram)
    rows = [[p, *(diagram[p, n_bytes] for n_bytes in sizes)] for p in sorted({p for p, _ in diagram})]
    columns = [Column("ranks")]
    for number, unit in (units.nice_bytes(n_bytes).split() for n_bytes in sizes):
        columns.append(Column(number, unit, shown, called=f"{number}_{unit.lower()}"))
    tables.table(columns, rows, f"{operation} on {network.name}")


def columns_of(diagram: Diagram) -> list[int]:
    """Return the bytes along which a diagram goes."""
    return sorted({n_bytes for _, n_bytes in diagram})


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Make all diagrams, print and draw them."""
    if world.first:
        say(f"Ranks: {world.name}\n")
    if world.real:
        on_mpi(world, args.operations)
        return
    networks = [*ranks.presets.values()] if args.every_network else [world.network]
    sizes = [*(p for p in RANKS if p < world.p), world.p]
    runs = world.p <= MEASURED_RANKS
    todo = list(product(args.operations, networks, sizes, BYTES if runs else BYTES[::2]))
    diagrams: dict[tuple[str, str], Diagram] = {}
    for operation, network, p, n_bytes in progress.track(todo, "running"):
        diagrams.setdefault((operation, network.name), {})[p, n_bytes] = cell(operation, network, p, n_bytes, runs=runs)
    tell(
        "A letter stands for the algorithm that the formulas predict as fastest. A small letter: nothing was run. A "
        "capital letter: all algorithms were run, and this one was the fastest. If another one was, its name "
        "follows, with how much longer the predicted one took.\n"
    )
    for operation, network in product(args.operations, networks):
        show(operation, network, diagrams[operation, network.name])
    cells = [each for diagram in diagrams.values() for each in diagram.values() if each.measured_ps]
    wrong = [each for each in cells if each.loss]
    worst = max((each.loss for each in wrong), default=0)
    if runs:
        say(f"Of {len(cells)} cells measured, the formulas name the fastest in {len(cells) - len(wrong)}.")
    else:
        say(f"All of this is predicted: with more than {MEASURED_RANKS} ranks, nothing is run.")
    if wrong:
        say(f"In the others their choice takes {worst:.1%} longer at most.")
    if args.plot:
        files.draw(args.plot, lambda: picture(args.operations, networks, sizes, diagrams))


def picture(
    operations: list[str], networks: list[Any], sizes: list[int], diagrams: dict[tuple[str, str], Diagram]
) -> Any:
    """Return a Figure with a panel for each operation and network: colours and letters are winners."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    columns = min(2, len(networks) * len(operations))
    lines = -(-len(operations) * len(networks) // columns)
    figure = look.figure(0.5 + 4.6 * columns, 1 + 4.3 * lines)
    figure.supxlabel("capital: run, and it won; cross: run, and another won; small: predicted only", color=look.INK)
    for index, (operation, network) in enumerate(product(operations, networks)):
        axes = look.axes(figure, lines, columns, index + 1, title=f"{operation}, {network.name}")
        diagram = diagrams[operation, network.name]
        colours = colours_of(operation, [diagrams[operation, each.name] for each in networks])
        letters = letters_of(operation)
        along = columns_of(diagram)
        picture = [[colours[diagram[p, n_bytes].predicted] for n_bytes in along] for p in sizes]
        axes.imshow([[to_rgb(each) for each in line] for line in picture], origin="lower", aspect="auto")
        for (y, p), (x, n_bytes) in product(enumerate(sizes), enumerate(along)):
            each = diagram[p, n_bytes]
            letter = letters[each.predicted]
            text = letter.lower() if not each.measured_ps else "\N{MULTIPLICATION SIGN}" if each.loss else letter
            ink = look.ink_on(colours[each.predicted])
            axes.text(x, y, text, ha="center", va="center", fontsize="large", color=ink)
        axes.set_xticks(range(len(along)), [units.nice_bytes(n) for n in along], rotation=45, fontsize="small")
        axes.set_yticks(range(len(sizes)), [f"{p}" for p in sizes], fontsize="small")
        axes.set_ylabel("ranks")
        winners = {each.predicted for each in diagram.values()}
        handles = [Patch(color=colours[name], label=f"{letters[name]} {name}") for name in colours if name in winners]
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
        look.legend(axes, handles=handles, **below)
    return figure


def letters_of(operation: str) -> dict[str, str]:
    """Return a letter for each algorithm, which is the same in all diagrams of the operation."""
    return {name: chr(ord("A") + place) for place, name in enumerate(CATALOGUE[operation])}


def colours_of(operation: str, diagrams: list[Diagram]) -> dict[str, str]:
    """Return a colour for each algorithm that wins in one of the diagrams, in the order of the catalogue."""
    winners = {each.predicted for diagram in diagrams for each in diagram.values()}
    names = [name for name in CATALOGUE[operation] if name in winners]
    return {name: colour for name, (colour, _) in styles(names).items()}


def on_mpi(world: World, operations: list[str]) -> None:
    """Print who wins along the bytes: predicted by the calibrated network, and measured."""
    for operation in operations:
        with progress.waiting("measuring the network"):
            machine, table = machine_of(world.comm, operation), []
        for n_bytes in progress.track(REAL_BYTES, operation):
            call = Call.of_bytes(operation, world.p, n_bytes)
            choice = choose(operation, machine, call.n, DTYPE.itemsize)
            times = {}
            for name, _ in choice.candidates:
                measured = world.measure(call.program(CATALOGUE[operation][name].function), call.is_right)
                assert measured.right, f"{name} {operation}, {n_bytes} B: a result is wrong"
                times[name] = measured.time_ps
            found = Cell(choice.algorithm, times)
            shown = [found.predicted, times[found.predicted], found.fastest, min(times.values())]
            table.append([call.n_bytes, *shown, found.loss])
        if world.first:
            tables.table([Column(operation, show=units.nice_bytes, called="bytes"), *REAL_COLUMNS], table, operation)


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("smaller numbers are shown too", default=16, mpi=2, network="infiniband", least=2)
    made.add_operations(BUS_FACTORS, [*BUS_FACTORS])
    made.simulated.add_argument("--every-network", action="store_true", help="show all networks instead of one")
    made.add_plot("the diagrams")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: for each cell the choice, which plays algorithms, and a run of each algorithm."""
    if args.mpi:
        return Need(memory=4 * max(REAL_BYTES) * args.ranks)
    networks = len(ranks.presets) if args.every_network else 1
    cells, p = networks * len(args.operations) * len(BYTES), args.ranks
    messages = 6 * cells * p**2 if p <= MEASURED_RANKS else 0
    return Need(4 * MEASURED_BYTES, messages=messages, seconds=cells * p * CHOICE_S)


def prepare(args: argparse.Namespace) -> None:
    """Check that two options do not contradict each other."""
    if args.every_network and "--network" in args.given:
        raise UsageError("got --network and --every-network, expected one of them; remedy: leave one out")
    afford(args, need, ranks=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
