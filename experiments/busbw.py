"""How much of the link does a collective use? The table that nccl-tests prints, on simulated ranks and on real MPI.

Algorithm bandwidth is bytes over time. It falls with the number of ranks even if every link is busy all the time,
because some bytes must pass a link more than once, or not at all. Bus bandwidth corrects for that. It is algorithm
bandwidth times 2(p-1)/p for an all-reduce, times (p-1)/p where a rank keeps its own part, and times 1 for a broadcast.
You can compare it with the bandwidth of the link. For large sizes, an algorithm that wastes nothing reaches that
bandwidth; for small sizes, only latency counts.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import ranks
from collectives import CATALOGUE, Machine, choose, machine_of
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.operations import BUS_FACTORS, CHOICE_S, DTYPE, Call
from experiments.lab.options import Parser, positive, size
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import World
from experiments.pictures.curves import Points, curves
from ranks import look

SHOWS = "Time, algorithm bandwidth and bus bandwidth of each collective over sizes; expected and measured time."
TAKES = "2 s"
EXAMPLES = {
    "": "8 simulated ranks, every operation",
    "--operations allreduce --network nvlink --max 64MiB": "up to larger sizes",
    "--operations allreduce --algorithm ring --step-factor 2": "one algorithm, every power of two",
    "--mpi --ranks 4 --operations alltoall": "on real MPI, beside its own collective",
}


def native(operation: str) -> Any:
    """Return MPI's own collective as a function like those of the catalogue."""

    def function(comm: Any, x: Any, out: Any) -> Any:
        if operation == "broadcast":
            comm.Bcast(x)
            return x
        name = {"reduce_scatter": "Reduce_scatter_block"}.get(operation, operation.capitalize())
        getattr(comm, name)(x, out)
        return out

    return function


def rows(world: World, machine: Any, operation: str, args: argparse.Namespace) -> list[list[Any]]:
    """Measure an operation over all sizes; assert that results are right and, on simulated ranks, times as expected."""
    table = []
    for n_bytes in progress.track(sizes(args), operation):
        call = Call.of_bytes(operation, world.p, n_bytes)
        choice = choose(operation, machine, call.n, DTYPE.itemsize)
        name = choice.algorithm if args.algorithm == "auto" else args.algorithm
        measured = world.measure(call.program(CATALOGUE[operation][name].function), call.is_right)
        assert measured.right, f"{name} {operation}, {call.n_bytes} B: a result is wrong"
        cost = CATALOGUE[operation][name].cost(machine, call.n, DTYPE.itemsize)
        expected_ps, exact_ps = dict(choice.candidates).get(name, cost.expected_ps), cost.time_ps
        assert world.real or exact_ps in (None, measured.time_ps), f"{name}: {measured.time_ps} ps, {exact_ps} expected"
        bandwidths = [bandwidth(call, measured.time_ps, factor) for factor in (1, bus_factor(call))]
        row = [call.n_bytes, name, expected_ps, measured.time_ps, *bandwidths]
        if world.real:
            own = world.measure(call.program(native(operation)), call.is_right)
            assert own.right, f"native {operation}: a result is wrong"
            row.append(bandwidth(call, own.time_ps, bus_factor(call)))
        table.append(row)
    return table


def bus_factor(call: Call) -> float:
    """Return what makes bus bandwidth of algorithm bandwidth."""
    return float(BUS_FACTORS[call.operation](call.p))


def bandwidth(call: Call, time_ps: int, factor: float) -> float | None:
    """Return GB/s, None where no time passes."""
    return call.n_bytes * factor / time_ps * 1e3 if time_ps else None


def sizes(args: argparse.Namespace) -> list[int]:
    """Return the sizes from --min to --max, each the last one times --step-factor."""
    n_steps = int(math.log(args.max / args.min) / math.log(args.step_factor) + 1e-9)
    return sorted({round(args.min * args.step_factor**step) for step in range(n_steps + 1)})


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Print a table for each operation."""
    if world.first:
        say(f"Ranks: {world.name}\nData:  {DTYPE}, sums\n")
    with progress.waiting("measuring the network"):
        machine = machine_of(world.comm) if world.real else Machine.of(world.network, world.p)
    in_gb = decimals(".2f")
    points: dict[str, Points] = {}
    for operation in args.operations:
        found = rows(world, machine, operation, args)
        if not world.first:
            continue
        title = f"(bus: x {BUS_FACTORS[operation](world.p)})"
        sizes = Column(title, operation, units.nice_bytes, called="bytes")
        columns = [sizes, Column("algorithm"), *pair("time", units.nice_time, "ps")]
        columns += [Column("GB/s", name, in_gb) for name in ("algbw", "busbw", *["native busbw"] * world.real)]
        tables.table(columns, found, operation)
        points[operation] = [(row[0], row[5]) for row in found if row[5]]
        if world.real:
            points[f"native {operation}"] = [(row[0], row[6]) for row in found if row[6]]
    if not world.first:
        return
    say("Every element of every result was compared, and is right.")
    if not world.real:
        say(f"The link's own bandwidth: {link_gb_s(world):.2f} GB/s.")
    if args.plot:
        files.draw(args.plot, lambda: picture(world, points))


def link_gb_s(world: World) -> float:
    """Return the bandwidth of the link that all bytes have to pass."""
    link = world.network.inter if world.p > world.network.ranks_per_node else world.network.intra
    return 1e6 / link.fs_per_byte


def picture(world: World, points: dict[str, Points]) -> Any:
    """Return a Figure of bus bandwidth against bytes; on simulated ranks with the link's own."""
    where = "real MPI" if world.real else world.network.name
    title = f"Bus bandwidth of {world.p} ranks, {where}"
    figure = curves(title, "bytes", {}, points, units.nice_bytes, "{:g} GB/s".format, "bus bandwidth")
    if not world.real:
        axes = figure.axes[0]
        axes.axhline(link_gb_s(world), color=look.ACCENT, linestyle="--", linewidth=1)
        axes.text(axes.get_xlim()[0], link_gb_s(world), " the link", color=look.ACCENT, va="bottom")
    return figure


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks(default=8, mpi=2, network="infiniband", least=2)
    made.add_operations(BUS_FACTORS, [*BUS_FACTORS])
    made.add_argument(
        "--algorithm", default="auto", metavar="NAME", help="use this one instead of the one predicted as fastest"
    )
    made.add_argument("--min", type=size, default="1KiB", metavar="N", help="first size (default: 1KiB)")
    made.add_argument("--max", type=size, default="4MiB", metavar="N", help="last size (default: 4MiB)")
    text = "from one size to the next, 1.1 or more (default: 4)"
    made.add_argument("--step-factor", type=positive, default=4.0, metavar="F", help=text)
    made.add_plot("bus bandwidth against bytes", mpi=True)
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: arrays, results and copies; a ring's messages, of each operation and size."""
    calls = len(args.operations) * len(sizes(args))
    return Need(4 * args.max * args.ranks, messages=2 * calls * args.ranks**2, seconds=calls * args.ranks * CHOICE_S)


def prepare(args: argparse.Namespace) -> None:
    """Check sizes and algorithm."""
    if not 0 < args.min <= args.max or args.step_factor < 1.1:
        raise UsageError(
            f"got --min {args.min} --max {args.max} --step-factor {args.step_factor:g}, expected 0 < min <= max and a "
            "factor from 1.1"
        )
    afford(args, need, ranks=1, max=1)
    for operation in args.operations:
        if args.algorithm not in ("auto", *CATALOGUE[operation]):
            raise UsageError(
                f"--algorithm: got {args.algorithm!r}, expected auto or one of those for {operation}: "
                f"{', '.join(CATALOGUE[operation])}; remedy: choose one, or other --operations"
            )
        if args.algorithm != "auto" and not args.mpi:
            machine = Machine.of(ranks.presets[args.network], args.ranks)
            reason = dict(choose(operation, machine, args.min, DTYPE.itemsize).left_out).get(args.algorithm)
            if reason:
                raise UsageError(f"--algorithm: {args.algorithm} cannot run here: {reason}; remedy: another --network")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
