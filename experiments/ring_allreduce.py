"""Why is a ring all-reduce a reduce-scatter plus an all-gather, and when does it beat the others?

Data-parallel training adds up the gradients of all workers after each step: this is an all-reduce. The workers could
send them to one rank, which adds them and sends the sum back. That is a chain of two messages, but everything passes
through that rank's port. A ring cuts the array into p blocks. After p-1 rounds each rank holds one block of the sum
(reduce-scatter). In p-1 more rounds the blocks go round until every rank holds all of them (all-gather). This script
runs both algorithms, and each half of the ring. It checks every result against NumPy bit for bit, and counts and times
against their formulas.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import ranks
from collectives import cost, naive_allreduce, ring_allgather, ring_allreduce, ring_reduce_scatter
from collectives.arrays import block_bounds
from experiments.lab import cli, files, progress, shares, tables, units
from experiments.lab.options import Parser
from experiments.lab.provenance import held_in_ring, passed_in_ring
from experiments.lab.shares import Array, Share, random_share
from experiments.lab.terminal import say, tell
from experiments.lab.worlds import Measured, Trial, World, rounds
from experiments.pictures.curves import Points, curves
from experiments.pictures.ring import animation

SHOWS = "Rounds, bytes and time of the ring, its two halves and a naive all-reduce; expected and measured."
TAKES = "2 s"
EXAMPLES = {
    "": "8 ranks, a gradient bucket of 25 MiB each",
    "--ranks 64 --network ethernet --plot ring.png": "where the ring overtakes the naive one, drawn",
    "--ranks 5 --animate ring.gif": "the blocks on their way round",
    "--npy a.npy b.npy": "2 ranks, each with one of your arrays",
    "--mpi --ranks 2": "the same on real MPI, by the wall clock",
}
EXPECTED = """\
Expected for p ranks, n bytes each: alpha a message, beta a byte, gamma a sum
  ring reduce-scatter   (p-1) (alpha + n/p beta + n/p gamma)   to a block each
  ring all-gather       (p-1) (alpha + n/p beta)               to all blocks
  ring all-reduce       their sum; a rank sends 2(p-1)/p n bytes, the fewest
  naive all-reduce      2 messages in a chain, (p-1) n bytes through the root
"""


def gather_blocks(comm: Any, x: Array) -> Array:
    """Return the flat `x`, to which each rank gives its block: the second half of the all-reduce."""
    bounds = block_bounds(x.size, comm.size)
    own = x[bounds[comm.rank] : bounds[comm.rank + 1]]
    return ring_allgather(comm, own, counts=np.diff(bounds).tolist())


def native(comm: Any, x: Array) -> Array:
    """Return the sum by the MPI library's own all-reduce."""
    out = np.empty_like(x)
    comm.Allreduce(x, out)
    return out


SCATTER, GATHER, RING, NAIVE = "ring_reduce_scatter", "ring_allgather", "ring_allreduce", "naive_allreduce"
NATIVE = "native Allreduce"
ALGORITHMS: dict[str, Callable[[Any, Array], Array]] = {
    SCATTER: ring_reduce_scatter,
    GATHER: gather_blocks,
    RING: ring_allreduce,
    NAIVE: naive_allreduce,
    NATIVE: native,
}
SIZES = [4 * round(2 ** (k / 8)) for k in range(8 * 28 + 1)]  # bytes, up to 1 GiB


class Arrays:
    """The ranks' arrays, and what the algorithms must make of them."""

    def __init__(self, world: World, share: Share) -> None:
        self.by_rank = {rank: share(rank) for rank in world.local_ranks}
        self.x = self.by_rank[world.local_ranks[0]]
        self.bounds = block_bounds(self.x.size, world.p)
        self.ring_sum, self.rank_sum, self.slack = world.from_first(
            lambda: self.by_numpy([self.by_rank[r] if r in self.by_rank else share(r) for r in range(world.p)])
        )

    def by_numpy(self, shares: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Return the flat sum in the ring's order of ranks, that in rank order, and how far others may be off."""
        flat, p, dtype = [share.reshape(-1) for share in shares], len(shares), self.x.dtype
        # Block b is summed over ranks b+1, b+2, ... and at last b.
        blocks = [
            reduce(np.add, [flat[(b + turn) % p][start:stop] for turn in range(1, p + 1)])
            for b, (start, stop) in enumerate(pairwise(self.bounds))
        ]
        # p-1 additions err by at most (p-1) eps/2 times the sum of magnitudes; two orders differ by twice that.
        eps = np.finfo(dtype).eps if dtype.kind in "fc" else 0
        slack = (p - 1) * eps * reduce(np.add, map(np.abs, flat))
        return np.concatenate(blocks).astype(dtype), reduce(np.add, flat).astype(dtype), slack

    def right(self, name: str, rank: int, result: Array) -> bool:
        """Return whether a result is NumPy's: bit for bit, but within rounding where MPI chose the order."""
        if name == NATIVE:
            return not np.any(np.abs(result.reshape(-1) - self.rank_sum) > self.slack)
        whole = self.rank_sum if name == NAIVE else self.ring_sum
        mine = slice(*self.bounds[rank : rank + 2]) if name == SCATTER else slice(None)
        return np.array_equal(result.reshape(-1), whole[mine], equal_nan=True)


def measure(world: World, arrays: Arrays, name: str, *, trace: bool = False) -> Measured:
    """Return what an algorithm costs on these arrays; its result is checked."""

    def program(comm: Any) -> Array:
        return ALGORITHMS[name](comm, arrays.ring_sum if name == GATHER else arrays.by_rank[comm.rank])

    calls = max(1, min(100, 2**20 // max(1, arrays.x.nbytes)))  # so that small ones take a time that can be measured
    return world.measure(program, partial(arrays.right, name), trace=trace, calls=calls)


def expected_ps(world: World, name: str, n_bytes: int) -> Any:
    """Return the time that the formula gives for n_bytes of float32, None if there is no formula."""
    return cost(name, world.network, world.p, n_bytes // 4, 4).time_ps


def experiment(world: World, args: argparse.Namespace, share: Share) -> None:
    """Run the algorithms, compare and draw."""
    if world.first:
        say(f"{EXPECTED}\nRanks: {world.name}")
    arrays = Arrays(world, share)
    x, trials = arrays.x, {}
    if world.first:
        say(f"Data:  {units.nice_bytes(x.nbytes)} on each, {x.dtype} of shape {x.shape}")
    for name in progress.track([name for name in ALGORITHMS if name != NATIVE or world.real], "running"):
        measured = measure(world, arrays, name, trace=name == RING and bool(args.trace or args.html))
        wanted = cost(name, world.network, world.p, x.size, x.itemsize) if name != NATIVE else None
        trials[name] = Trial(
            name, wanted, rounds(ALGORITHMS[name], world.p, np.zeros(world.p)) if wanted else 0, measured
        )
    tables.compare(world, "bytes sent", [*trials.values()])
    if world.first:
        conclude(world, {name: trial.measured.time_ps for name, trial in trials.items()})
    if args.trace or args.html:
        files.save_trace(args, trials[RING].measured.trace, f"Ring all-reduce, {world.p} ranks, {world.network.name}")
    if args.plot:
        draw(world, args.plot, x.nbytes)
    if args.animate:
        p = min(world.p, 6)  # more blocks would not be told apart
        files.save(args.animate, lambda path: path.write_bytes(animation(held_in_ring(p), passed_in_ring(p))))


def conclude(world: World, times_ps: dict[str, int]) -> None:
    """Print what the table shows, and from which size on the ring is expected to win."""
    say("Every result is NumPy's, bit for bit: the algorithms fix the order in which ranks are added up.")
    slower, faster = sorted(((times_ps[RING], "the ring"), (times_ps[NAIVE], "naive")), reverse=True)
    say(f"Here {slower[1]} takes {slower[0] / faster[0]:.3g} times as long as {faster[1]}.")
    if world.real:
        ratio = times_ps[NATIVE] / times_ps[RING]
        tell(
            f"The library's own takes {ratio:.3g} times as long as the ring. It chooses its order, so its result may "
            "differ by rounding: at most (p-1) eps times the sum of magnitudes."
        )
        return
    if expected_ps(world, RING, 4) is None:  # a ring across links of several kinds
        return
    assert times_ps[SCATTER] + times_ps[GATHER] == times_ps[RING]
    say("The ring's time is that of its reduce-scatter and its all-gather, to the picosecond.")
    naive_wins = next((n for n in reversed(SIZES) if expected_ps(world, NAIVE, n) < expected_ps(world, RING, n)), None)
    if naive_wins and naive_wins < SIZES[-1]:
        say(f"The ring is expected to win above {units.nice_bytes(naive_wins)}; below, its many rounds cost more.")
    else:
        say(f"{'Naive' if naive_wins else 'The ring'} is expected to be no slower at any size.")


def draw(world: World, path: Path, n_bytes: int) -> None:
    """Draw time against bytes up to n_bytes, and the messages of the first ranks of a ring of at most 16."""
    names = [NAIVE, RING, *([NATIVE] if world.real else [])]
    points: dict[str, Points] = {name: [] for name in names}
    largest = max(n_bytes // 4 * 4, 64)
    for size in progress.track([*(4**k for k in range(3, 16) if 4**k < largest), largest], "measuring sizes"):
        arrays = Arrays(world, random_share(size, 0))
        for name in names:
            measured = measure(world, arrays, name)
            assert measured.right, (name, size)
            assert world.real or expected_ps(world, name, size) in (None, measured.time_ps), (name, size)
            points[name].append((size, measured.time_ps))
    if not world.first:
        return
    lines: dict[str, Points] = {}
    if not world.real and expected_ps(world, RING, 4) is not None:
        sizes = [size for size in SIZES if 64 <= size <= largest]
        lines = {name: [(size, expected_ps(world, name, size)) for size in sizes] for name in names}
    where = "real MPI" if world.real else world.network.name
    title = f"All-reduce on {world.p} ranks, {where}"
    files.draw(path, lambda: curves(title, "on each rank", lines, points, units.nice_bytes, units.nice_time))
    if not world.real:
        p, x = min(world.p, 16), np.zeros(largest // 4, np.float32)
        trace = ranks.run(ring_allreduce, p, x, network=world.network, trace=True).trace
        title = f"Ring all-reduce of {units.nice_bytes(largest)} on {p} ranks: {p - 1} steps each way"
        files.save(files.beside(path), partial(trace.picture, title=title, ranks=range(min(p, 4))))


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks(default="8, or one a .npy file", mpi=8, network="infiniband", least=2)
    shares.add_options(made)
    made.add_plot("time against bytes, and messages beside it", mpi=True)
    made.add_animation("the blocks of up to 6 ranks on their way")
    made.add_trace()
    return made


def prepare(args: argparse.Namespace) -> Share:
    """Return what makes each rank's array; set args.ranks."""
    return shares.prepare(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
