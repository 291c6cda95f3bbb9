"""How long a sequence fits into a rank's memory, and what do more ranks buy?

This script runs causal attention, forward and backward, on real numbers: dense and blockwise on one rank, Ulysses and
a ring on all ranks. A rank's memory is all that it allocates, its own arrays included, as tracemalloc sees it. Dense
attention keeps a score for every pair, so its memory grows with the square of the sequence. The memory of the others
grows with the tokens on a rank, so p ranks take about p times as many tokens. A few short sequences give the curve;
then the script runs the longest sequence that the curve allows.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import os
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import parallel
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.attention import attend, by_name
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, size
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say, tell
from experiments.lab.units import decimals
from experiments.lab.worlds import Real
from experiments.pictures.palette import styles
from parallel.attention.local import Attention
from ranks import look

SHOWS = "The longest sequence that fits: dense, blockwise, Ulysses and a ring; memory expected and measured."
TAKES = "20 s"
EXAMPLES = {
    "": "2 processes, 32 MiB each",
    "--ranks 4 --memory 16MiB --plot context.png": "memory against tokens, drawn",
}
EXPECTED = """\
Expected of a rank, n of N tokens on it, in numbers of 4 bytes, h = {hidden}, a = {heads} heads:
  dense       some a N^2, and 8 N h for q, k, v, output and four gradients
  blockwise   some 8 N h
  Ulysses     some 8 n h, and as much again by heads and on its way
  ring        some 8 n h, and the blocks of k, v and gradients that pass
"""
HEADS, HEAD_DIM = 4, 32
PROBES = (512, 1024, 2048)
DENSE_PROBES = (128, 256, 384)

Make = Callable[[Any], Attention]


def dense(comm: Any) -> Attention:
    """Return dense attention on one rank."""

    def backward(saved: Any, d_out: Any) -> Any:
        return parallel.attention_backward(*saved, d_out, causal=True)

    return Attention(lambda q, k, v: (parallel.attention(q, k, v, causal=True), (q, k, v)), backward)


METHODS: dict[str, tuple[Make, bool]] = {
    "dense": (dense, False),
    "blockwise": (lambda comm: parallel.local_attention(causal=True), False),
    "Ulysses": (lambda comm: by_name("Ulysses", comm, 1, None), True),
    "ring": (lambda comm: by_name("ring", comm, 1, None), True),
}
"""How to attend, and whether all ranks do."""


def peak_bytes(comm: Any, name: str, n: int) -> int:
    """Return the most memory that a rank allocates for forward and backward over n tokens."""
    make, shared = METHODS[name]
    used = 0
    if shared or comm.rank == 0:
        p = comm.size if shared else 1
        attention, rng = make(comm), np.random.default_rng(comm.rank)
        # Run once without measuring: what is loaded or kept at the first call belongs to no sequence.
        attend(attention, [np.zeros((1, 2, HEADS, HEAD_DIM), np.float32)] * 4)
        tracemalloc.start()
        arrays = [rng.standard_normal((1, n // p, HEADS, HEAD_DIM), np.float32) for _ in range(4)]
        attend(attention, arrays)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return max(comm.allgather(used))


def longest(
    comm: Any, name: str, budget: int, step: int, advance: Callable[[], Any]
) -> tuple[int, int, Callable[[float], float]]:
    """Return the longest sequence that fits, a multiple of `step`, the bytes it takes, and the curve through probes.

    advance: It is called after each of the probes and once at the end.
    """
    larger = comm.size / 2 if METHODS[name][1] else 1  # so that each rank has as many tokens of a probe as one of two
    probes = [int(n * larger) // step * step for n in (DENSE_PROBES if name == "dense" else PROBES)]
    peaks = []
    for n in probes:
        peaks.append(peak_bytes(comm, name, n))
        advance()
    curve = np.polynomial.Polynomial.fit(probes, peaks, 2 if name == "dense" else 1)
    n = step
    while curve(n + step) <= budget:
        n += step
    while (measured := peak_bytes(comm, name, n)) > budget:
        n -= step * max(1, round(n * (measured / budget - 1) / step))  # the curve was a little too hopeful
    advance()
    return n, measured, curve


def experiment(world: Real, args: argparse.Namespace, job: None) -> None:
    """Probe, predict, run the longest, compare, draw."""
    comm, budget = world.comm, args.memory
    if world.first:
        say(EXPECTED.format(hidden=HEADS * HEAD_DIM, heads=HEADS))
        say(f"Ranks: {world.p} processes, {units.nice_bytes(budget)} each")
    rows: list[list[Any]] = []
    curves: dict[str, Any] = {}
    step = 2 * world.p
    with progress.steps("running", len(METHODS) * (len(PROBES) + 1)) as advance:
        for name in METHODS:
            curves[name] = longest(comm, name, budget, step, advance)
    for name, (n, measured, curve) in curves.items():
        expected = float(curve(n))
        assert abs(measured - expected) <= 0.1 * budget, f"{name}: {measured} bytes at {n} tokens, expected {expected}"
        ranks_used = world.p if METHODS[name][1] else 1
        rows.append([name, ranks_used, n, n / curves["dense"][0], expected, measured])
    if world.first:
        tokens = [Column("tokens", "longest"), Column("times dense", "longest", decimals(".1f"))]
        memory = pair("memory", units.nice_bytes, "bytes")
        tables.table([Column("causal, forward and backward"), Column("ranks"), *tokens, *memory], rows, "longest")
        by_ulysses, by_ring = (curves[name][0] / curves["blockwise"][0] for name in ("Ulysses", "ring"))
        more = f"{by_ulysses:.2f} times (Ulysses) and {by_ring:.2f} times (ring) as many tokens as one"
        tell(f"{world.p} ranks take {more}.")
        if args.plot:
            files.draw(args.plot, lambda: picture(budget, curves))
    comm.Barrier()


def picture(budget: int, curves: dict[str, Any]) -> Any:
    """Return a Figure of memory against the length of the sequence: curves expected, marks measured."""
    figure = look.figure(8, 4.5)
    axes = look.axes(figure, title="Memory of a rank, forward and backward", xlabel="tokens in the whole sequence")
    looks = styles(curves)
    for name, (n, measured, curve) in curves.items():
        colour, marker = looks[name]
        lengths = np.geomspace(64, n, 100)
        axes.plot(lengths, [curve(each) for each in lengths], color=colour)
        mark: dict[str, Any] = {"marker": marker, "fillstyle": "none", "color": colour}
        axes.plot([n], [measured], **mark)
        axes.plot([], [], label=name, **mark)
    axes.axhline(budget, color=look.INK, linestyle=":", label="the rank's memory")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda n, _: units.nice_bytes(n))
    axes.grid(alpha=0.3)
    look.legend(axes, title="lines through the probes, marks measured", alignment="left")
    return figure


def parser() -> Parser:
    """Return the options: real ranks only, since simulated ones share the memory of one process."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("MPI processes", default=2, mpi=2, least=2)
    text = "memory that a rank may use, 8MiB or more (default: 32MiB)"
    made.add_argument("--memory", type=size, default="32MiB", metavar="N", help=text)
    made.add_plot("memory against tokens", mpi=True)
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: what it may, and time for each pair of tokens, of one rank and twice of all."""
    tokens, p = args.memory / (8 * HEADS * HEAD_DIM * 4), args.ranks
    pairs = tokens**2 * (0.5 + p**2 / min(p, os.cpu_count() or 1))
    return Need(memory=p * args.memory, seconds=2e-7 * pairs)


def prepare(args: argparse.Namespace) -> None:
    """Check that the probes fit, and that the machine has what the ranks may use."""
    if args.memory < 8 * 2**20:
        raise UsageError(f"--memory: got {args.memory} bytes, expected 8MiB or more: the probes need as much")
    afford(args, need, ranks=1, memory=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
