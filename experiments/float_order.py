"""What does the order of a reduction do to sums of floating-point numbers?

Addition of floats is not associative: every algorithm adds the ranks in an order of its own and rounds at every step.
If an element passes through at most d additions, its error is at most d u times the sum of magnitudes, where u is half
the distance from 1 to the next float; d is p-1 in a chain and lg p in a balanced tree. Rounding errors also cancel.
They behave like independent random errors, so the error that we see grows like sqrt(p) in a chain, and hardly at all in
a tree. This script finds d and the expected error by running the algorithms themselves, on numbers that carry both
along, and compares the results with exact sums. It also checks which ranks and which runs get the same bits.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

import ranks
from collectives import CATALOGUE, commutative
from experiments.lab import cli, files, progress, tables
from experiments.lab.limits import MESSAGE_BYTES, Need, afford
from experiments.lab.options import Parser
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import World
from experiments.pictures.curves import locate
from experiments.pictures.palette import styles
from ranks import look

SHOWS = "Errors of float32 sums by algorithm and number of ranks, expected and measured; which runs give the same bits."
TAKES = "30 s"
EXAMPLES = {
    "": "up to 128 simulated ranks",
    "--ranks 256 --plot order.png": "how errors grow with the number of ranks",
    "--mpi --ranks 4": "does real MPI give the same bits in every turn?",
}
N = 1024  # elements on each rank
TURNS = 5  # runs that are compared bit by bit
JITTER_PS = 20_000_000  # messages are delayed by up to this, which is longer than a message takes
U = float(np.finfo(np.float32).eps) / 2
ALGORITHMS: dict[str, Callable[..., Any]] = {
    name: row.function for name, row in CATALOGUE["allreduce"].items() if not row.one_node
}
_TAG = 32_181

deeper = commutative(lambda a, b: np.maximum(a, b) + 1)


def _add_with_error(a: Any, b: Any) -> Any:
    """Add complex numbers whose imaginary part is the variance of the rounding errors so far."""
    total = a.real + b.real
    last_place = np.spacing(total.astype(np.float32)).astype(float)
    return total + 1j * (a.imag + b.imag + last_place**2 / 12)


add_with_error = commutative(_add_with_error)


def arrival_order(comm: Any, x: Any) -> Any:
    """Return the sum as many a hand-written all-reduce makes it: each rank adds what comes as it comes."""
    requests = [comm.Isend(x, other, _TAG) for other in range(comm.size) if other != comm.rank]
    total, came = x.copy(), np.empty_like(x)
    for _ in requests:
        comm.Recv(came, ranks.mpi_of(comm).ANY_SOURCE, _TAG)
        total += came
    for request in requests:
        request.Wait()
    return total


def share(rank: int, seed: int = 0) -> Any:
    """Return what a rank brings: numbers from 0 to 1, so that nothing cancels."""
    return np.random.default_rng((seed, rank) if seed else rank).random(N, np.float32)


@dataclass(frozen=True)
class Seen:
    """An algorithm on p ranks: depth of its additions, expected and measured errors in u of the exact sum."""

    depth: int
    expected: float
    rms: float
    largest: float


def seen(name: str, p: int, seed: int = 0, network: ranks.Network | None = None) -> Seen:
    """Return depth and errors of an algorithm; assert that the errors are what they can be."""
    algorithm = ALGORITHMS[name]
    whole = [share(rank, seed) for rank in range(p)]
    exact = np.array([math.fsum(column) for column in np.stack(whole, axis=1).tolist()])

    def on_first(program: Callable[[Any], Any]) -> Any:
        return ranks.run(program, p, network=network).results[0]

    depth = on_first(lambda comm: algorithm(comm, np.zeros(N, np.int64), deeper))
    carried = on_first(lambda comm: algorithm(comm, whole[comm.rank].astype(complex), add_with_error))
    result = on_first(lambda comm: algorithm(comm, whole[comm.rank]))
    errors = (result - exact) / exact / U
    # Higham, Accuracy and Stability of Numerical Algorithms, 4.2: |error| <= d u / (1 - d u), here of a positive sum.
    assert (abs(errors) <= depth / (1 - depth * U)).all(), f"{name}, {p} ranks: an error above its bound"
    # Few additions leave halves of a last place more often than chance would: up to an eighth more error.
    expected = float(np.sqrt(np.mean(carried.imag / exact**2))) / U
    rms = float(np.sqrt(np.mean(errors**2)))
    assert 0.8 < rms / expected < 1.25, f"{name}, {p} ranks: error {rms:.3g} u, expected {expected:.3g} u"
    return Seen(int(depth.max()), expected, rms, float(abs(errors).max()))


def same_bits(world: World, algorithm: Callable[..., Any], seed: int = 0) -> tuple[bool, bool]:
    """Return whether all ranks, and all turns, come to the same bits; on simulated ranks turns differ by jitter."""
    turns = []
    for turn in range(TURNS):
        if world.real:
            turns.append(world.comm.allgather(algorithm(world.comm, share(world.comm.rank, seed)).tobytes()))
            continue
        network = replace(world.network, jitter_ps=JITTER_PS)
        run = ranks.run(lambda comm: algorithm(comm, share(comm.rank, seed)), world.p, network=network, seed=turn)
        turns.append([result.tobytes() for result in run.results])
    return all(len(set(turn)) == 1 for turn in turns), all(one == other for one, other in pairwise(turns))


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Measure errors by p, then who gets the same bits."""
    if world.first:
        say(f"Ranks: {world.name}\n")
    sizes = [2**k for k in range(1, world.p.bit_length()) if 2**k < world.p] + [world.p] * (world.p > 1)
    found = growth(world, sizes, args.seed) if not world.real else {}
    todo = list((ALGORITHMS | {"(arrival order)": arrival_order}).items())
    bits = {name: same_bits(world, function, args.seed) for name, function in progress.track(todo, "comparing bits")}
    for name in ALGORITHMS:
        assert bits[name][1], f"{name}: turns differ"
    if world.first:
        said = [Column(f"on all {what}", "the same bits", yes_or_no) for what in ("ranks", "turns")]
        columns = [Column(f"{world.p} ranks, {TURNS} turns", called="algorithm"), *said]
        tables.table(columns, [[name, *same] for name, same in bits.items()], "bits")
        say("If ranks fix the order, the bits are the same, however late messages come.")
    if args.plot:
        files.draw(args.plot, lambda: picture(sizes, found))


def growth(world: World, sizes: list[int], seed: int) -> dict[tuple[str, int], Seen]:
    """Print how errors grow with the number of ranks; return what was seen of each algorithm at each size."""
    p = world.p
    todo = [(name, size) for size in sizes for name in ALGORITHMS]
    found = {(name, size): seen(name, size, seed, world.network) for name, size in progress.track(todo, "adding")}
    say(f"Sums of {N} float32 elements from 0 to 1, errors in u = 2^-24 of the exact sum (math.fsum):\n")
    for size in sizes if p <= 4 else [sizes[len(sizes) // 2 - 1], p]:
        rows = [[name, f.depth, f.depth, f.largest, f.expected, f.rms] for (name, at), f in found.items() if at == size]
        largest = [Column("at most", "largest error"), Column("measured", "largest error", decimals(".2f"))]
        columns = [Column(f"{size} ranks", called="algorithm"), Column("in a chain", "additions"), *largest]
        tables.table([*columns, *pair("rms error", decimals(".3f"))], rows, f"{size} ranks")
    return found


def yes_or_no(is_so: bool) -> str:
    """Return how a truth is written."""
    return "yes" if is_so else "no"


def picture(sizes: list[int], found: dict[tuple[str, int], Seen]) -> Any:
    """Return a Figure of errors against the number of ranks: the largest under their bounds, the rms as expected."""
    figure = look.figure(10, 5)
    largest = look.axes(figure, 1, 2, 1, title="Largest error of a float32 sum, and bounds")
    rms = look.axes(figure, 1, 2, 2, title="Root of the mean square (lines expected)")
    for name, (colour, marker) in styles(ALGORITHMS).items():
        mark: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "", "fillstyle": "none"}
        largest.plot(sizes, [found[name, p].largest for p in sizes], label=name, **mark)
        rms.plot(sizes, [found[name, p].expected for p in sizes], color=colour)
        rms.plot(sizes, [found[name, p].rms for p in sizes], **mark)
    chain, tree = [p - 1 for p in sizes], [max(math.log2(p), 1) for p in sizes]
    largest.plot(sizes, chain, ":", color=look.INK, label="bound of a chain, p - 1")
    largest.plot(sizes, tree, "--", color=look.INK, label="bound of a tree, lg p")
    rms.plot(
        sizes, [0.4 * math.sqrt(p / 3) for p in sizes], "-.", color=look.INK, label="√p: a chain, errors at random"
    )
    for axes in (largest, rms):
        axes.set(xlabel="ranks p", ylabel="error, in u = 2^-24 of the exact sum")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
        locate(axes)
        axes.grid(alpha=0.3)
    look.legend(figure, fontsize="small", ncols=4, loc="outside lower center")
    return figure


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("smaller numbers are shown too", default=128, mpi=4, network="infiniband", least=2)
    made.add_seed("the numbers that are added")
    made.add_plot("errors against ranks")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: a complex and an exact sum of each rank; a message from each to each, all at once."""
    p = args.ranks
    if args.mpi:
        return Need(memory=p * p * 4 * N)
    return Need(memory=p * N * 64 + p * p * (4 * N + MESSAGE_BYTES), messages=100 * p * p)


def prepare(args: argparse.Namespace) -> None:
    """Check that the machine can hold the ranks."""
    afford(args, need, ranks=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
