"""How much of the link does a collective use? The table that nccl-tests prints, on simulated ranks and on real MPI.

Algorithm bandwidth is bytes over time. It falls with the number of ranks even if every link is busy all the time,
because some bytes must pass a link more than once, or not at all. Bus bandwidth corrects for that: times 2(p-1)/p for
an all-reduce, (p-1)/p where a rank's own part stays at home, 1 for a broadcast. It can be held against the bandwidth
of the link: an algorithm that wastes nothing reaches it for large sizes; for small ones latency is all that counts.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from collectives import CATALOGUE, Machine, choose, machine_of
from experiments.lab import cli, progress, shares, tables, units
from experiments.lab.errors import UsageError
from experiments.lab.operations import BUS_FACTORS, DTYPE, Call
from experiments.lab.worlds import World

EXAMPLES = """\
  python experiments/busbw.py                                        8 simulated ranks, every operation
  python experiments/busbw.py --operations allreduce --network nvlink --max 64MiB
  python experiments/busbw.py --operations allreduce --algorithm ring
  python experiments/busbw.py --mpi --ranks 4 --operations alltoall  on real MPI, beside its own collective"""


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


def rows(world: World, machine: Any, operation: str, args: argparse.Namespace) -> list[list[str]]:
    """Measure an operation over all sizes; assert that results are right and, on simulated ranks, times as expected."""
    table = []
    for n_bytes in progress.track(sizes(args), operation):
        call = Call.of_bytes(operation, world.p, n_bytes)
        choice = choose(operation, machine, call.n, DTYPE.itemsize)
        name = choice.algorithm if args.algorithm == "auto" else args.algorithm
        measured = world.measure(call.program(CATALOGUE[operation][name].function), call.is_right)
        assert measured.right, f"{name} {operation}, {call.n_bytes} B: a result is wrong"
        row = [units.nice_bytes(call.n_bytes), name]
        expected_ps = dict(choice.candidates)[name]
        exact_ps = CATALOGUE[operation][name].cost(machine, call.n, DTYPE.itemsize).time_ps
        assert world.real or exact_ps in (None, measured.time_ps), f"{name}: {measured.time_ps} ps, {exact_ps} expected"
        row += [units.nice_time(expected_ps), units.nice_time(measured.time_ps)]
        row += [bandwidth(call, measured.time_ps, 1), bandwidth(call, measured.time_ps, bus_factor(call))]
        if world.real:
            own = world.measure(call.program(native(operation)), call.is_right)
            assert own.right, f"native {operation}: a result is wrong"
            row.append(bandwidth(call, own.time_ps, bus_factor(call)))
        table.append(row)
    return table


def bus_factor(call: Call) -> float:
    """Return what makes bus bandwidth of algorithm bandwidth."""
    return float(BUS_FACTORS[call.operation](call.p))


def bandwidth(call: Call, time_ps: int, factor: float) -> str:
    """Return GB/s in the form of nccl-tests."""
    return f"{call.n_bytes * factor / time_ps * 1e3:.2f}" if time_ps else "-"


def sizes(args: argparse.Namespace) -> list[int]:
    """Return the sizes from --min to --max, each the last one times --factor."""
    found = [args.min]
    while found[-1] * args.factor <= args.max:
        found.append(found[-1] * args.factor)
    return found


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Print a table for each operation."""
    machine = machine_of(world.comm) if world.real else Machine.of(world.network, world.p)
    if world.first:
        print(f"{__doc__.partition(chr(10))[0]}\n\nRanks: {world.name}\nData:  {DTYPE}, sums\n")
    for operation in args.operations:
        found = rows(world, machine, operation, args)
        if not world.first:
            continue
        factor = BUS_FACTORS[operation](world.p)
        head = ["algorithm", "time\nexpected", "\nmeasured", "algbw\nGB/s", "busbw\nGB/s"]
        tables.table([f"{operation}\n(bus: x {factor})", *head, *["native\nbusbw"] * world.real], found)
    if not world.first:
        return
    print("Every element of every result was compared, and is right.")
    if not world.real:
        link = world.network.inter if world.p > world.network.ranks_per_node else world.network.intra
        print(f"The link's own bandwidth: {1e6 / link.fs_per_byte:.2f} GB/s.")


def main() -> int:
    """Run the experiment from the command line."""
    options = cli.parser(__doc__, EXAMPLES, "number of ranks (default: 8, on real MPI 2)", plot=None, trace=False)
    options.add_argument(
        "--operations", nargs="+", choices=BUS_FACTORS, default=[*BUS_FACTORS], metavar="NAME",
        help=f"of {', '.join(BUS_FACTORS)} (default: all)",
    )  # fmt: skip
    options.add_argument("--algorithm", default="auto", metavar="NAME", help="instead of the one predicted as fastest")
    options.add_argument("--min", type=shares.size_in_bytes, default="1KiB", metavar="N", help="first size (1KiB)")
    options.add_argument("--max", type=shares.size_in_bytes, default="4MiB", metavar="N", help="last size (4MiB)")
    options.add_argument("--factor", type=int, default=4, metavar="N", help="from one size to the next (4)")
    return cli.main(options, prepare, experiment, sys.argv)


def prepare(args: argparse.Namespace) -> None:
    """Set args.ranks; check the others."""
    args.ranks = args.ranks or (2 if args.mpi else 8)
    if not 0 < args.min <= args.max or args.factor < 2:
        raise UsageError(
            f"got --min {args.min} --max {args.max} --factor {args.factor}, expected 0 < min <= max and a factor from 2"
        )
    for operation in args.operations:
        if args.algorithm not in ("auto", *CATALOGUE[operation]):
            raise UsageError(
                f"--algorithm: got {args.algorithm!r}, expected auto or one of those for {operation}: "
                f"{', '.join(CATALOGUE[operation])}; remedy: choose one, or other --operations"
            )
    held = 4 * args.max * (1 if args.mpi else args.ranks)
    cli.require_memory(f"{args.ranks} ranks of {units.nice_bytes(args.max)}", held, "a smaller --max")


if __name__ == "__main__":
    sys.exit(main())
