"""What must each rank send when ranks and tokens grow together, and which way to share out attention wins?

Each rank has a fixed number of tokens, so p ranks have p times as many. Ulysses swaps tokens for heads by all-to-alls:
a rank sends what it has, however many ranks there are. A ring passes all keys and values by every rank, and Megatron's
sequence parallelism gathers all tokens on every rank: both send p times as much. But a ring can send while it computes,
Ulysses cannot use more ranks than there are heads, and messages between nodes are slow. USP does both: Ulysses inside a
node, a ring between nodes. Long sequences are simulated for time only: messages and their times are exact, but no
numbers are computed. At a size that fits, numbers are computed too, and compared with dense attention.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import parallel
import ranks
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.attention import BYTES, FLOPS_PER_S, Shrunk, attend, by_name, free_kernel
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count
from experiments.lab.tables import Column, pair, time_column
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import Simulated, World
from experiments.pictures.curves import locate, tick
from experiments.pictures.palette import styles
from parallel import costs
from ranks import look

SHOWS = "What each rank sends and how long attention takes, for four ways, as ranks and tokens grow; who wins where."
TAKES = "30 s"
EXAMPLES = {
    "": "up to 64 ranks, 1 M tokens",
    "--ranks 32 --network ethernet --tokens 4096": "another network, shorter sequences",
    "--plot growth.png": "pictures of what is sent and of time",
    "--mpi --ranks 2": "the numbers, on real MPI",
}
EXPECTED = """\
Expected of each of p ranks, forward, N tokens in all, hidden h, in elements:
  Ulysses              4 N h (p-1)/p^2   stays the same if N/p does
  ring                 2 N h (p-1)/p     grows with p; sent while computing
  USP, rows of u       4 N h (u-1)/(pu) + 2 N h (p/u - 1)/p
  Megatron, sequence   4 N h (p-1)/p     grows with p: gathers, reduce-scatters
"""
HEADS, HEAD_DIM, NODE = 32, 128, 8
PLAYED = 8  # tokens that a rank's are played with
SIZES = (2, 4, 8, 16, 32, 64)
NAMES = ("Ulysses", "ring", "USP", "Megatron")
WINNERS_NETWORKS, WINNERS_TOKENS, WINNERS_RANKS = ("nvlink", "dgx-h100", "ethernet"), (1024, 16384), (8, 32, 64)


def sent(name: str, p: int, tokens: int) -> int:
    """Return the elements that the busiest rank is expected to send, forward."""
    lengths = [tokens] * p
    row = min(p, NODE)
    traffic = {
        "Ulysses": lambda: costs.ulysses_traffic(lengths, HEADS, HEADS, HEAD_DIM),
        "ring": lambda: costs.ring_traffic(lengths, HEADS, HEAD_DIM),
        "USP": lambda: costs.usp_traffic(lengths, row, HEADS, HEADS, HEAD_DIM),
        "Megatron": lambda: costs.sequence_parallel_traffic(lengths, HEADS * HEAD_DIM),
    }
    return max(traffic[name]().forward)


def play(
    name: str, network: ranks.Network, p: int, tokens: int, *, compute: bool = True, trace: bool = False
) -> ranks.Run:
    """Return the run of one forward of attention (Megatron: of a block) with `tokens` a rank, on shrunk arrays."""
    shrunk = Shrunk(tokens // PLAYED, HEAD_DIM)

    def program(comm: Any) -> None:
        kernel = shrunk.kernel(comm) if compute else free_kernel(comm)
        q, lengths = np.zeros((1, PLAYED, HEADS, 1), np.float32), [PLAYED] * p
        if name == "Megatron":
            sizes = parallel.BlockSizes(HEADS, HEADS, HEADS, HEADS)
            attention = parallel.local_attention(kernel, causal=True)
            strategy = parallel.SequenceParallel(comm, sizes, attention, tokens=PLAYED, lengths=lengths)
            whole = parallel.random_parameters(np.random.default_rng(0), sizes, np.float32)
            parallel.block(strategy, parallel.split_parameters(whole, sizes, p, comm.rank), q[..., 0])
        else:
            by_name(name, comm, min(p, NODE), lengths, kernel).forward(q, q, q)

    return ranks.run(program, p, network=shrunk.network(network), trace=trace)


def growth(world: Simulated, tokens: int, sizes: list[int]) -> dict[tuple[str, int], ranks.Run]:
    """Print what is sent and how long it takes as ranks and tokens grow together; return the runs."""
    runs, rows = {}, []
    for p, name in progress.track([*product(sizes, NAMES)], "playing"):
        run = runs[name, p] = play(name, world.network, p, tokens)
        silent = play(name, world.network, p, tokens, compute=False)
        elements = played_elements(run, tokens)
        assert elements == sent(name, p, tokens), f"{name}, {p} ranks: sent {elements}"
        wire = [n * BYTES for n in (sent(name, p, tokens), elements)]
        rows.append([p, name, p * tokens, *wire, silent.time_ps, run.time_ps])
    wire_columns = pair("sent a rank", units.nice_bytes, "bytes")
    times = [time_column("alone", "messages"), time_column("attention", "with")]
    tables.table([Column("ranks"), Column("way", names=True), Column("tokens"), *wire_columns, *times], rows, "growth")
    return runs


def winners(largest: int, lengths: Sequence[int]) -> None:
    """Print which strategy is fastest where, up to so many ranks, and how much slower the second is."""
    sizes = [p for p in WINNERS_RANKS if p <= largest] or [largest]
    rows = []
    for network, tokens, p in progress.track([*product(WINNERS_NETWORKS, lengths, sizes)], "comparing"):
        names = [name for name in NAMES if name != "USP" or p > NODE]  # within a node USP is Ulysses
        times = sorted((play(name, ranks.presets[network], p, tokens).time_ps, name) for name in names)
        (first_ps, first), (second_ps, second) = times[:2]
        rows.append([network, tokens, p, first, first_ps, second, second_ps / first_ps])
    fastest = [Column("way", "fastest"), time_column("time", "fastest")]
    second_best = [Column("way", "second"), Column("times as long", "second", decimals(".2f"))]
    names = [Column("forward on"), Column("tokens a rank", names=True), Column("ranks", names=True)]
    tables.table([*names, *fastest, *second_best], rows, "winners")


def numbers(world: World) -> None:
    """Compare output and gradients with dense attention at a size that fits."""
    p, heads, head_dim = world.p, 8, 16
    n = 16 * p
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((1, n, heads, head_dim)) for _ in range(4)]
    expected = [
        parallel.attention(*arrays[:3], causal=True),
        *parallel.attention_backward(*arrays, causal=True),
    ]
    for name in progress.track(NAMES[:3], "computing"):
        layout = "plain" if name == "Ulysses" else "zigzag"
        row = next(u for u in range(min(p, NODE), 0, -1) if p % u == 0)

        def program(comm: Any, name: str = name, layout: str = layout, row: int = row) -> Any:
            mine = np.arange(n)[None]
            if name == "USP":
                held = parallel.usp_grid(comm, row).shard(mine, layout)[0]
            else:
                held = parallel.shard(mine, p, comm.rank, layout)[0]
            attention = by_name(name, comm, row, None)
            got = attend(attention, [x[:, held] for x in arrays])
            return max(float(abs(a - b[:, held]).max()) for a, b in zip(got, expected, strict=True))

        measured = world.measure(program, lambda rank, error: error < 1e-12)
        assert measured.right, f"{name}: not the numbers of dense attention"
    if world.first:
        say(f"Numbers: {n:,} tokens on {p} ranks, forward and backward")
        for name in NAMES[:3]:
            say(f"  {name:<8} equal to dense attention within 1e-12")


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Play, compare, compute, draw."""
    if world.first:
        say(f"{EXPECTED}\nRanks: {world.name}")
    if not world.real:
        sizes = [p for p in SIZES if p < args.ranks] + [args.ranks]
        say(f"Model: {HEADS} heads of {HEAD_DIM}, causal, 2 bytes an element, {args.tokens:,} tokens a rank;")
        say(f"       attention at {FLOPS_PER_S / 1e12:g} TFLOP/s, other work left out\n")
        runs = growth(world, args.tokens, sizes)
        winners(args.ranks, [args.tokens] if "--tokens" in args.given else WINNERS_TOKENS)
    numbers(world)
    if args.plot:
        draw(args.plot, world.network.name, args.tokens, sizes, runs)
    if args.trace or args.html:
        p = min(args.ranks, 8)
        trace = play("ring", world.network, p, args.tokens, trace=True).trace
        files.save_trace(args, trace, f"Ring attention, {p} ranks, {args.tokens:,} tokens each")


def picture(network: str, tokens: int, sizes: list[int], runs: dict[tuple[str, int], ranks.Run]) -> Any:
    """Return a Figure of what a rank sends, and of how long attention takes, against the number of ranks."""
    figure = look.figure(11, 4.5)
    left, right = look.axes(figure, 1, 2, 1), look.axes(figure, 1, 2, 2)
    for name, (colour, marker) in styles(NAMES).items():
        style: dict[str, Any] = {"color": colour, "label": name}
        left.plot(sizes, [sent(name, p, tokens) * BYTES for p in sizes], **style)
        style |= {"marker": marker, "fillstyle": "none"}
        played = [played_elements(runs[name, p], tokens) * BYTES for p in sizes]
        left.plot(sizes, played, linestyle="", markersize=8, **style | {"label": None})
        right.plot(sizes, [runs[name, p].time_ps for p in sizes], **style)
    left.set_title("Sent by each rank, forward (lines expected, marks measured)", fontsize="medium")
    right.set_title(f"Time of a forward on {network}, with attention", fontsize="medium")
    for axes, nice, base in ((left, units.nice_bytes, 2), (right, units.nice_time, 10)):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=base)
        axes.yaxis.set_major_formatter(lambda y, _, nice=nice: tick(nice(y)))
        axes.set_xticks(sizes, [f"{p}" for p in sizes])
        axes.set_xlabel(f"ranks of {tokens:,} tokens each")
        axes.grid(alpha=0.3)
    locate(right)
    look.legend(right)
    return figure


def played_elements(run: ranks.Run, tokens: int) -> int:
    """Return the elements that the busiest rank of a `play` sent, in terms of the sequence that it stands for."""
    return max(run.bytes_sent) // 4 * (tokens // PLAYED) * HEAD_DIM


def draw(path: Path, network: str, tokens: int, sizes: list[int], runs: dict[tuple[str, int], ranks.Run]) -> None:
    """Draw what is sent and how long it takes, and beside it a ring's messages."""
    files.draw(path, lambda: picture(network, tokens, sizes, runs))
    p = min(sizes[-1], 8)
    trace = play("ring", ranks.presets[network], p, tokens, trace=True).trace
    title = f"Ring attention, {p} ranks, {tokens:,} tokens each: blocks move while ranks compute"
    files.save(files.beside(path), partial(trace.picture, title=title))


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("smaller numbers are shown too", default=64, mpi=2, network="dgx-h100", least=2)
    text = "tokens on each rank (default: 16384; who wins is asked for 1024 too)"
    made.simulated.add_argument("--tokens", type=count, default=16384, metavar="N", help=text)
    made.add_plot("what is sent, and time")
    made.add_trace("the messages of a ring of up to 8 ranks")
    return made


def full_nodes(p: int) -> int:
    """Return the most ranks up to p that fill their nodes, or fit into one."""
    return p if p <= NODE else p // NODE * NODE


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: scores of dense attention, on real MPI in each process; messages from each to each."""
    scores = 3 * 8 * 8 * (16 * args.ranks) ** 2
    return Need(scores * (args.ranks if args.mpi else 1), messages=40 * args.ranks**2)


def prepare(args: argparse.Namespace) -> None:
    """Check ranks and tokens."""
    afford(args, need, ranks=full_nodes)
    if args.tokens % PLAYED:
        raise UsageError(f"--tokens: got {args.tokens}, expected a multiple of {PLAYED}")
    if not args.mpi and args.ranks != full_nodes(args.ranks):
        raise UsageError(f"--ranks: got {args.ranks}, expected up to {NODE}, or a multiple of {NODE}: full nodes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
