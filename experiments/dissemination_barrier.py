"""How do thousands of ranks wait for each other without a centre?

A barrier holds every rank until all have entered. Counting them at one rank is simple, but p-1 messages come in through
its port and p-1 go out. In a dissemination barrier rank r tells r+1, then r+2, then r+4, ... Each round doubles the
number of ranks that it knows to have entered, so ceil(lg p) rounds suffice, for any p. In Brooks' butterfly, rank r
exchanges messages with r xor 1, then r xor 2, ..., which fits powers of two; for other p, some ranks also play a
second, virtual rank. This script measures all three, and proves by vector clocks that no rank can leave before every
rank has entered.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import ranks
from collectives import butterfly_barrier, central_barrier, cost, dissemination_barrier
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser
from experiments.lab.terminal import say, tell
from experiments.lab.worlds import Real, Simulated, Trial, World, rounds
from experiments.pictures.curves import Points, curves

SHOWS = "Rounds, messages and time of three barriers up to thousands of ranks, and a proof that nobody leaves early."
TAKES = "5 s"
EXAMPLES = {
    "": "up to 2048 simulated ranks",
    "--ranks 1000 --plot barriers.svg": "time against ranks, and messages over time, drawn",
    "--ranks 6 --trace six.json": "each message of 6 ranks",
    "--mpi --ranks 4": "on real MPI, by the wall clock",
}
EXPECTED = """\
Expected of p ranks: latency L, o for each side of a message, alpha = L + 2o
  dissemination   ceil(lg p) rounds of one send a rank    ceil(lg p) alpha
  central         2(p-1) messages, all through the root   2(L + p o)
  butterfly       the same as dissemination if p is a power of two;
                  else some ranks send for a virtual one too
"""
BARRIERS: dict[str, Callable[[Any], None]] = {
    "dissemination": dissemination_barrier,
    "central": central_barrier,
    "butterfly": butterfly_barrier,
}
SIZES = (2, 3, 6, 8, 32, 100, 256, 1000, 4096)  # shown, if not above --ranks; also those that are no powers of two
# What a simulated rank holds after a barrier, greenlet and messages together.
RANK_BYTES = 20_000
PROVED = range(1, 34)
CALLS = 200  # of a barrier on real MPI, timed together


def neighbours_only(comm: Any) -> None:
    """Exchange with the neighbours in a ring: no barrier, which shows that the proof can fail."""
    nothing = np.empty(0, np.uint8)
    comm.Sendrecv(nothing, (comm.rank + 1) % comm.size, 0, nothing, (comm.rank - 1) % comm.size, 0)


def entered_late(barrier: Callable[[Any], None], p: int, network: ranks.Network) -> ranks.Trace:
    """Return the trace of a barrier that p ranks enter one after the other, 1 µs apart."""

    def program(comm: Any) -> None:
        ranks.spend(comm, comm.rank * 1_000_000)
        with ranks.region(comm, "barrier"):
            barrier(comm)

    return ranks.run(program, p, network=network, trace=True).trace


def trial(world: World, name: str, calls: int = 1) -> Trial:
    """Return what is expected and what is measured of a barrier; it has no result that could be wrong."""
    measured = world.measure(BARRIERS[name], lambda rank, result: True, calls=calls)
    expected = cost(f"{name}_barrier", world.network, world.p)
    return Trial(name, expected, rounds(BARRIERS[name], world.p), measured, world.p)


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Measure the barriers, prove them and draw."""
    if world.first:
        say(f"{EXPECTED}\nRanks: {world.name}")
    if isinstance(world, Real):
        on_mpi(world)
        return
    sizes = [*(p for p in SIZES if p < world.p), world.p]
    todo = list(product(sizes, BARRIERS))
    trials = [trial(Simulated(p, world.network), name) for p, name in progress.track(todo, "running")]
    tables.compare(world, "sends", trials)
    prove(world.network)
    if args.trace or args.html:
        trace = entered_late(dissemination_barrier, world.p, world.network)
        title = f"Dissemination barrier, entered 1 µs apart, {world.p} ranks, {world.network.name}"
        files.save_trace(args, trace, title)
    if args.plot:
        draw(world, args.plot, dict(zip(todo, trials, strict=True)))


def prove(network: ranks.Network) -> None:
    """Show by vector clocks that nobody can leave before everybody has entered, whatever the network."""
    for p in progress.track(PROVED, "proving"):
        for name, barrier in BARRIERS.items():
            early = entered_late(barrier, p, network).left_before_entered("barrier")
            assert not early, f"{name}, {p} ranks: (a, b) where b may leave before a has entered: {early}"
    tell(
        f"Proved by vector clocks for all three, p = {PROVED[0]} to {PROVED[-1]}: no rank can leave before all have "
        "entered, however late they come and however fast or slow messages travel."
    )
    late, hasty = entered_late(neighbours_only, 4, network).left_before_entered("barrier")[0]
    say(f"An exchange with neighbours is no barrier: if p = 4, rank {hasty} may leave before rank {late} has entered.")


def draw(world: Simulated, path: Path, trials: dict[tuple[int, str], Trial]) -> None:
    """Draw time against the number of ranks, and the messages of 8 ranks that enter one after the other."""
    points: dict[str, Points] = {
        name: [(p, trials[p, name].measured.time_ps) for p, other in trials if other == name] for name in BARRIERS
    }
    sizes = sorted({round(world.p ** (k / 200)) for k in range(1, 201)} - {1})
    lines: dict[str, Points] = {}
    for name in ("dissemination", "central"):  # the butterfly's formula is for powers of two only
        times_ps: list[Any] = [cost(f"{name}_barrier", world.network, p).time_ps for p in sizes]
        if None not in times_ps:
            lines[name] = [*zip(sizes, times_ps, strict=True)]
    title = f"Barriers on {world.network.name}"
    files.draw(path, lambda: curves(title, "ranks", lines, points, "{:.0f}".format, units.nice_time))
    p = min(world.p, 8)
    trace = entered_late(dissemination_barrier, p, world.network)
    title = f"Dissemination barrier: {p} ranks enter 1 µs apart, none leaves before the last has entered"
    files.save(files.beside(path), partial(trace.picture, title=title))


def on_mpi(world: Real) -> None:
    """Compare the barriers by the wall clock, and see that late ranks are waited for."""
    trials = [trial(world, name, calls=CALLS) for name in BARRIERS]
    native = world.measure(lambda comm: comm.Barrier(), lambda rank, result: True, calls=CALLS)
    for name, barrier in BARRIERS.items():
        time.sleep(0.01 * world.comm.rank)
        entered = time.monotonic()
        barrier(world.comm)
        times = world.comm.allgather((entered, time.monotonic()))
        assert max(enter for enter, _ in times) <= min(leave for _, leave in times), f"{name}: {times}"
    tables.compare(world, "sends", [*trials, Trial("native Barrier", None, 0, native, world.p)])
    if world.first:
        say("Ranks that entered 10 ms apart: none left before the last one had entered.")


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("smaller numbers are shown too", default=2048, mpi=4, network="infiniband", least=2)
    made.add_plot("time against ranks, and messages beside it")
    made.add_trace("the messages of ranks that enter 1 µs apart")
    return made


def prepare(args: argparse.Namespace) -> None:
    """Check that the machine can hold the ranks."""
    # Three barriers, counted and timed, of at most 2 lg p messages a rank.
    afford(args, lambda args: Need(messages=12 * args.ranks * args.ranks.bit_length()), ranks=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
