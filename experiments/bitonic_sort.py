"""Why does a bitonic network sort, and what is it worth?

A sorting network is a fixed list of comparators: which wires are compared does not depend on the values. So zeros and
ones suffice to prove that it sorts, all comparators of a stage can work at once, and the wires can be ranks that
exchange blocks. This script proves networks and counts their comparators. It climbs from pure-Python pairs to a sort in
tiles that fit the cache. Then ranks sort together: as the wires of a bitonic and of an odd-even network, and by
samples, after which every element moves once.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from collectives import cost
from experiments.lab import cli, files, progress, tables, units
from experiments.lab.errors import UsageError
from experiments.lab.limits import MESSAGE_BYTES, Need, afford
from experiments.lab.networks import show_networks
from experiments.lab.options import Parser, count
from experiments.lab.tables import Bound, Column, pair, time_column
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import Measured, Real, Simulated, World
from experiments.pictures import gif
from experiments.pictures.curves import Points, curves
from experiments.pictures.networks import flow
from sorting import (
    ComparatorNetwork,
    bitonic,
    bitonic_block_sort,
    bitonic_sort,
    draw,
    odd_even_block_sort,
    odd_even_transposition,
    partition_sort,
    sample_sort,
)
from sorting.kernel import sort_rows
from sorting.plain import sort_pairs, sort_views

SHOWS = "Proof and size of four networks, a ladder from pure Python to tiles, and four sorts over ranks."
TAKES = "15 s"
EXAMPLES = {
    "": "proof, ladder of 2^22 numbers, up to 64 ranks",
    "--log2-size 24 --ranks 256 --plot sort.png": "larger, and drawn",
    "--log2-size 10 --animate network.gif": "numbers on their way through the network",
    "--mpi --ranks 2": "the sorts over ranks on real MPI, by the wall clock",
}
EXPECTED = """\
Expected, with n = 2^k wires:
  bitonic                    k(k+1)/2 stages, n k(k+1)/4 comparators
  odd-even merge, pairwise   k(k+1)/2 stages, (k^2-k+4) n/4 - 1 comparators
  odd-even transposition     n stages, n(n-1)/2 comparators
and with p ranks that hold blocks of b bytes, after ceil(lg p) rounds to agree:
  bitonic block sort    lg p (lg p + 1)/2 (alpha + b beta)
  odd-even block sort   p (alpha + b beta), if no message waits at a port
  sample sort           p-1 + 2 ceil(lg p) messages, but an element moves once
"""
Sort = Callable[[Any, Any], Any]
BLOCK_SORTS: dict[str, tuple[Sort, Callable[[int], ComparatorNetwork]]] = {
    "bitonic_block_sort": (bitonic_block_sort, bitonic),
    "odd_even_block_sort": (odd_even_block_sort, odd_even_transposition),
}
SORTS: dict[str, Sort] = {
    **{name: sort for name, (sort, _) in BLOCK_SORTS.items()},
    "sample_sort": sample_sort,
    "partition_sort": partition_sort,
}
DRAWN = np.array([5, 2, 7, 1, 8, 3, 6, 4])  # a value for each wire
PAIRS_AT = 14  # pure Python sorts 2^14 numbers, in a fraction of a second
HEADER = [Column("ranks"), Column("sort", names=True), *pair("most sends"), *pair("time", units.nice_time, "ps")]
AGREE_BYTES = 64  # what a rank tells the others about its block


# -- the ladder --------------------------------------------------------------------------------------------------


def in_one_tile(x: np.ndarray) -> np.ndarray:
    """Return the int32 `x` sorted in two layouts, as if all of it fitted the cache."""
    rows = x[None].copy()
    sort_rows(rows, tile_bytes=2 ** (rows.nbytes - 1).bit_length())
    return rows[0]


def climb(k: int, seed: int = 0) -> dict[str, float]:
    """Time the same network written in four ways, and other sorts beside it; return the ns a comparator of each."""
    x = np.random.default_rng(seed).integers(-(2**31), 2**31, 2**k, np.int32)
    few = x[: 2 ** min(k, PAIRS_AT)]
    rungs: list[tuple[str, str, np.ndarray, Callable[[], Any]]] = [
        ("pure-Python pairs", "", few, partial(sort_pairs, few.tolist())),
        ("a stage at once, on views", "idea", x, partial(sort_views, x)),
        ("two layouts, long rows", "engineering", x, partial(in_one_tile, x)),
        ("tiles that fit the cache", "engineering", x, partial(bitonic_sort, x)),
        ("np.sort, no network", "", x, partial(np.sort, x)),
    ]
    torch_sort = one_thread_of_torch(x)
    if torch_sort:
        rungs.append(("torch.sort, one thread", "", x, torch_sort))
    rows, each_ns, before = [], {}, 0.0
    for name, kind, data, call in progress.track(rungs, "climbing"):
        assert np.array_equal(np.asarray(call()), np.sort(data)), name
        levels = data.size.bit_length() - 1
        seconds = fastest_s(call)
        each_ns[name] = seconds * 1e9 / (data.size * levels * (levels + 1) // 4)
        gain = before / each_ns[name] if kind else None
        rows.append([name, kind, f"2^{levels}", seconds * 1e12, each_ns[name], gain])
        before = each_ns[name]
    say("\nThe ladder, int32; a sort that is no network is given the same comparators, to compare:")
    three = decimals(".3g")
    each, gained = Column("comparator", "ns a", three), Column("last step", "gain on", three)
    tables.table([Column("sort"), Column("step"), Column("numbers"), time_column("time"), each, gained], rows, "ladder")
    return each_ns


def one_thread_of_torch(x: np.ndarray) -> Callable[[], Any] | None:
    """Return torch's sort of `x` by one thread, None if torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return lambda: torch.sort(torch.from_numpy(x))[0]


def fastest_s(call: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of up to 5 calls in a second: what else the machine does only adds to it."""
    gc.collect()
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 1:
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


# -- sorts over ranks --------------------------------------------------------------------------------------------


def numbers(n: int, seed: int) -> np.ndarray:
    """Return the n float64 that all ranks together sort."""
    return np.random.default_rng((seed, 1) if seed else 1).standard_normal(n)


def measure(world: World, sort: Sort, n: int, *, seed: int = 0, trace: bool = False) -> Measured:
    """Return what a sort of n float64 over the ranks costs; its results are checked."""
    every = numbers(n, seed)
    share = n // world.p
    expected = np.sort(every)

    def right(rank: int, result: np.ndarray) -> bool:
        if sort is not sample_sort:  # whose blocks have lengths of their own
            return np.array_equal(result, expected[rank * share : (rank + 1) * share])
        first = np.searchsorted(expected, result[0]) if result.size else 0
        return np.array_equal(result, expected[first : first + result.size])

    return world.measure(lambda comm: sort(comm, every[comm.rank * share :][:share]), right, trace=trace)


def expected_of(world: World, name: str, n: int) -> tuple[list[int], int | None]:
    """Return the sends by rank and the time that the formulas give; None where no time is claimed."""
    p = world.p
    if name not in BLOCK_SORTS:
        # partition_sort sends parts of blocks in pieces, and no empty ones: how many depends on the numbers.
        return [3 * (p - 1).bit_length() + (p - 1 if name == "sample_sort" else 0)] * p, None
    network = BLOCK_SORTS[name][1](p)
    pairs = [pair for stage in network.stages for pair in stage]
    sends = [(p - 1).bit_length() + sum(rank in pair for pair in pairs) for rank in range(p)]
    agree = cost("bruck_allgather", world.network, p, p * AGREE_BYTES, 1).time_ps
    # In the odd-even network the first and the last rank have rounds off. What they send early, if that is buffered,
    # is in the way of others at their neighbour's port.
    early = name == "odd_even_block_sort" and p > 2 and 8 * (n // p) <= world.network.eager_limit
    if not world.network.is_uniform(p) or agree is None or p & (p - 1) or early:
        return sends, None
    return sends, agree + network.depth * world.network.message_ps(world.network.link(0, p - 1), 8 * (n // p))


def compare(world: World, n: int, rows: list[list[Any]], seed: int = 0) -> dict[str, int]:
    """Add rows for one number of ranks, expected beside measured; return the times."""
    times = {}
    for name, sort in SORTS.items():
        measured = measure(world, sort, n, seed=seed)
        assert measured.right, f"{name}: a result is wrong"
        sends, time_ps = expected_of(world, name, n)
        if name == "partition_sort":
            assert all(a <= b for a, b in zip(sends, measured.sends, strict=True)), name
        else:
            assert measured.sends == sends, f"{name}: sends {measured.sends}, expected {sends}"
        if not world.real and time_ps is not None:
            assert measured.time_ps == time_ps, f"{name}: {measured.time_ps} ps, expected {time_ps}"
        most = Bound("≥", max(sends)) if name == "partition_sort" else max(sends)
        times_ps = None if world.real else time_ps, measured.time_ps
        rows.append([world.p, name, most, max(measured.sends), *times_ps])
        times[name] = measured.time_ps
    return times


def on_ranks(world: Simulated, n: int, seed: int = 0) -> dict[int, dict[str, int]]:
    """Sort n float64 over 2, 4, ... ranks; say from where on samples win."""
    sizes = [*(2**k for k in range(1, (world.p - 1).bit_length())), world.p] if world.p > 1 else [1]
    say(f"\n{n:,} float64 over p ranks, {world.name}")
    say("Time of the messages: what ranks compute on their own takes none here.")
    rows: list[list[Any]] = []
    times = {}
    for p in progress.track(sizes, "sorting"):
        times[p] = compare(Simulated(p, world.network), n // p * p, rows, seed)
    tables.table(HEADER, rows)
    for name in ("odd_even_block_sort", "sample_sort", "partition_sort"):
        wins = [p for p in sizes if times[p][name] < times[p]["bitonic_block_sort"]]
        text = f"at p = {', '.join(map(str, wins))}" if wins else "nowhere"
        say(f"{name} beats bitonic_block_sort {text}.")
    return times


def draw_all(world: Simulated, path: Path, n: int, times: dict[int, dict[str, int]]) -> None:
    """Draw time against ranks, the network with data on its wires, and the messages of 8 ranks that sort."""
    points: dict[str, Points] = {name: [(p, times[p][name]) for p in times] for name in SORTS}
    lines: dict[str, Points] = {}
    for name, p in product(SORTS, times):
        time_ps = expected_of(Simulated(p, world.network), name, n // p * p)[1]
        if time_ps is not None:
            lines.setdefault(name, []).append((p, time_ps))
    title = f"Sorting {n:,} numbers on {world.network.name}"
    files.draw(path, lambda: curves(title, "ranks", lines, points, "{:.0f}".format, units.nice_time))
    network = "Bitonic network, 8 wires: colour is size, an orange comparator swaps"
    files.draw(path.with_stem(f"{path.stem}-network"), lambda: draw(bitonic(DRAWN.size), DRAWN, network))
    p = min(world.p, 8)
    trace = measure(Simulated(p, world.network), bitonic_block_sort, 8 * 4096, trace=True).trace
    title = f"{p} ranks sort: they agree, then exchange blocks like the wires of the network"
    files.save(files.beside(path), partial(trace.picture, title=title))


# -- the way in --------------------------------------------------------------------------------------------------


def experiment(world: World, args: argparse.Namespace, job: int) -> None:
    """Prove, climb, and sort over ranks."""
    if world.first:
        say(EXPECTED)
    if isinstance(world, Real):
        on_mpi(world, job, args.seed)
        return
    show_networks()
    climb(args.log2_size, args.seed)
    times = on_ranks(world, job, args.seed)
    if args.trace or args.html:
        trace = measure(world, bitonic_block_sort, job, seed=args.seed, trace=True).trace
        files.save_trace(args, trace, f"Bitonic sort of {job:,} numbers, {world.p} ranks, {world.network.name}")
    if args.plot:
        draw_all(world, args.plot, job, times)
    if args.animate:
        files.save(args.animate, lambda path: path.write_bytes(gif.gif(*flow(bitonic(DRAWN.size), DRAWN))))


def on_mpi(world: Real, n: int, seed: int) -> None:
    """Compare the sorts over processes with one sort of all by one of them."""
    if world.first:
        say(f"{n:,} float64 over {world.name}")
    rows: list[list[Any]] = []
    times = compare(world, n, rows, seed)
    everything = numbers(n, seed)
    if world.first:
        tables.table(HEADER, rows)
        alone = fastest_s(partial(np.sort, everything))
        gains = [f"{name} {alone * 1e12 / time_ps:.2f}" for name, time_ps in times.items()]
        say(f"np.sort of all in one process: {units.nice_time(alone * 1e12)}. Times as fast: {', '.join(gains)}.")
    world.comm.Barrier()


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("smaller numbers are shown too", default=64, mpi=2, network="infiniband")
    text = "lg of how many numbers the ladder sorts, up to 28; the ranks sort up to 2^18 of them (default: 22)"
    made.add_argument("--log2-size", type=count, default=22, metavar="K", help=text)
    made.add_seed("the numbers that are sorted")
    made.add_plot("time against ranks, the network, and messages")
    made.add_animation("numbers on their way through the network")
    made.add_trace("the messages of the bitonic sort over ranks")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: copies of the numbers, on real MPI in each process; p^2 messages of samples."""
    numbers = 40 * 2**args.log2_size
    if args.mpi:
        return Need(memory=numbers * args.ranks)
    return Need(numbers + 3 * MESSAGE_BYTES * args.ranks**2, messages=16 * args.ranks**2)


def prepare(args: argparse.Namespace) -> int:
    """Return how many numbers the ranks sort: as many for each."""
    if args.log2_size > 28:
        raise UsageError(f"--log2-size: got {args.log2_size}, expected 1 to 28, for 2 to 2^28 numbers")
    afford(args, need, ranks=1, log2_size=1)
    total = 2**args.log2_size if args.mpi else 2 ** min(args.log2_size, 18)
    if args.ranks > total:
        raise UsageError(f"got {args.ranks} ranks and {total} numbers, expected a number for each; remedy: fewer")
    return total // args.ranks * args.ranks


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
