"""What the messages of a communicator cost, measured: the network model of the MPI underneath.

A straight line alpha + n*beta is wrong by a factor of two or three between caches and memory, and where an MPI
changes its protocol. So times are kept as tables, and what lies between two sizes is taken from the line between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ranks.communicator import Comm
from ranks.constants import mpi_of
from ranks.network import PS_PER_S, Link, Network
from ranks.shared import can_share_memory, shared_array

_TAG = 32_031
_KIB = 1024
# Four times as much each time: protocols and caches change about so.
SIZES = (0, *(_KIB << shift for shift in range(0, 16, 2)))  # 1 KiB to 16 MiB
STAGED_SIZES = (0, *(_KIB << shift for shift in range(0, 12, 2)))  # to 1 MiB, which is what is staged at a time
# Steps are timed in batches: in a single one a rank that comes late finds all others waiting for it, and measures only
# its own work. Batches of small messages are larger, since a clock is read in 0.1 us; large ones are timed less often.
_BATCH, _BATCH_BYTES, _ALL_BYTES = 3, 1 << 18, 1 << 26

Table = tuple[tuple[int, int], ...]


def looked_up(table: Table, n_bytes: int) -> int:
    """Return the time of n_bytes by a table of (bytes, time), linear in between and beyond.

    looked_up(((0, 0), (10, 100), (20, 400)), 15)  # 250
    looked_up(((0, 0), (10, 100), (20, 400)), 30)  # 700
    """
    for (below, early), (above, late) in pairwise(table):
        if n_bytes <= above or above == table[-1][0]:
            return early + (late - early) * (n_bytes - below) // (above - below)
    return table[0][1]


@dataclass(frozen=True, slots=True)
class MeasuredLink(Link):
    """A link whose transfer times were measured: (bytes, picoseconds beyond those of nothing), by size."""

    table: Table = ((0, 0), (1, 0))

    def transfer_ps(self, n_bytes: int) -> int:
        """Return how long `n_bytes` take beyond the latency."""
        return looked_up(self.table, n_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetwork(Network):
    """A network whose reductions were measured too, and its shared memory, if its ranks have some.

    calls: (function, picoseconds that its own code takes in one call), as far as they were timed.
    reductions: (bytes, picoseconds). memory: latency is that of a sync of all ranks, transfer_ps(n) the time in which
    a rank writes n bytes and reads those of another, beyond that of reducing them; None without shared memory.
    """

    reductions: Table = ((0, 0), (1, 0))
    memory: Link | None = None
    calls: tuple[tuple[str, int], ...] = ()

    def reduce_ps(self, n_bytes: int) -> int:
        """Return the time to reduce `n_bytes` into another `n_bytes`."""
        return looked_up(self.reductions, n_bytes)


def calibrate(comm: Any, repeats: int = 40) -> MeasuredNetwork:
    """Return, on every rank of `comm`, the network that it runs on, as measured by rank 0.

        network = ranks.calibrate(mpi4py.MPI.COMM_WORLD)
        network.inter.transfer_ps(1_000_000)  # picoseconds of 1 MB, beyond those of an empty message

    Messages: all ranks pass 0 B to 16 MiB on to the right at once, as they do in a ring; o is part of alpha.
    Reduction: np.add of float32 of these sizes. Memory: pieces up to 1 MiB, where all ranks share memory.
    The least of `repeats` times counts, fewer for large messages: others may use the processors meanwhile, and what is
    slow by chance now will not be slow later. Takes half a second on one idle node.
    Raises:  ValueError if comm has one rank, or repeats is below 1.
    """
    if comm.size < 2 or repeats < 1:
        raise ValueError(
            f"ranks.calibrate: got {comm.size} ranks and repeats={repeats}, expected at least 2 and 1; remedy: start "
            "more processes"
        )
    clock = _Stopwatch(comm, repeats)
    passed = _table(SIZES, lambda n: _time_passing_on(clock, n))
    reduced = _table(SIZES, lambda n: max(0, _time_reduction(clock, n) - passed[0][1]) if n else 0)
    staged = _staged(clock, reduced) if can_share_memory(comm) else None
    made = MeasuredNetwork(
        name="calibrated",
        inter=_link(passed),
        reduce_fs_per_byte=_fs_per_byte(reduced),
        reductions=reduced,
        memory=None if staged is None else _link(staged),
        source=f"measured by {comm.size} ranks that pass messages on at once",
    )
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.send(made, other, _TAG)
        return made
    received: MeasuredNetwork = comm.recv(source=0, tag=_TAG)
    return received


def _table(sizes: tuple[int, ...], time_ps: Callable[[int], int]) -> Table:
    """Return times by size, none longer than that of a larger size, which has fewer disturbances to thank for it."""
    times = [time_ps(n_bytes) for n_bytes in sizes]
    return tuple(zip(sizes, np.minimum.accumulate(times[::-1])[::-1].tolist(), strict=True))


def _link(table: Table) -> MeasuredLink:
    latency_ps = table[0][1]
    beyond = tuple((n_bytes, time_ps - latency_ps) for n_bytes, time_ps in table)
    return MeasuredLink(latency_ps, _fs_per_byte(table), beyond)


def _fs_per_byte(table: Table) -> int:
    """Return the slope between the two largest sizes."""
    (below, early), (above, late) = table[-2:]
    return round((late - early) * 1000 / (above - below))


class _Stopwatch:
    """Times what all ranks of a communicator do together."""

    def __init__(self, comm: Any, repeats: int) -> None:
        self.comm, self.repeats, self.wtime = comm, repeats, mpi_of(comm).Wtime

    def least_ps(self, step: Callable[[], None], n_bytes: int) -> int:
        """Return the least time of a step that handles n_bytes, after one that warms up."""
        batch = 1 if isinstance(self.comm, Comm) else max(_BATCH, min(8, _BATCH_BYTES // max(n_bytes, 1)))
        step()
        times_s = []
        for _ in range(max(3, min(self.repeats, _ALL_BYTES // max(n_bytes * batch, 1)))):
            begin_s = self.wtime()
            for _ in range(batch):
                step()
            times_s.append((self.wtime() - begin_s) / batch)
        least: int = round(min(times_s) * PS_PER_S)
        return least


def _time_passing_on(clock: _Stopwatch, n_bytes: int) -> int:
    """Return the time in which every rank sends to its right neighbour and receives from its left one."""
    comm = clock.comm
    p, rank = comm.size, comm.rank
    # As in an algorithm, messages are parts of larger arrays: they are cut out, and the next is not in a cache by then.
    # Ones, since zeros that nobody has written all lie in one page.
    sent, came = np.ones(p * n_bytes + 1, np.uint8), np.ones(p * n_bytes + 1, np.uint8)
    block = 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % p
        begin, end = block * n_bytes, (block + 1) * n_bytes
        comm.Sendrecv(sent[begin:end], (rank + 1) % p, _TAG, came[begin:end], (rank - 1) % p, _TAG)

    return clock.least_ps(step, n_bytes)


def _time_reduction(clock: _Stopwatch, n_bytes: int) -> int:
    """Return the time of adding n_bytes to others and of passing an empty message on.

    All ranks do it at once, since they share caches, memory, and maybe processors; the message lets each wait for all.
    """
    comm, nothing = clock.comm, np.empty(0, np.uint8)
    p, rank = comm.size, comm.rank
    following, before = (rank + 1) % p, (rank - 1) % p
    # What has come is in a cache; the share it is added to, and where the result goes, are parts of larger arrays.
    came, x, total = (np.ones((blocks, n_bytes // 4), np.float32) for blocks in (1, p, p))
    block = 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % p
        np.add(came[0], x[block], out=total[block])
        comm.Sendrecv(nothing, following, _TAG, nothing, before, _TAG)

    return clock.least_ps(step, n_bytes)


def _staged(clock: _Stopwatch, reduced: Table) -> Table:
    """Return the times in which all ranks write n bytes, sync, and read those of another: reducing them left out."""
    comm = clock.comm
    shared = shared_array(comm, (2, STAGED_SIZES[-1]), np.uint8)
    others = [(comm.rank + distance) % comm.size for distance in range(1, comm.size)]
    turn = 0

    def write_and_reduce(n_bytes: int) -> None:
        nonlocal turn
        turn = 1 - turn
        slots = [array[turn, :n_bytes].view(np.float32) for array in shared.arrays]
        mine, total = own[: n_bytes // 4], out[: n_bytes // 4]
        slots[comm.rank][...] = mine
        shared.sync()
        for other in others:
            np.add(mine, slots[other], out=total)
            mine = total
            if shared.charge:
                shared.charge(other, n_bytes)

    own, out = (np.ones(STAGED_SIZES[-1] // 4, np.float32) for _ in range(2))

    def time_ps(n_bytes: int) -> int:
        return clock.least_ps(lambda: write_and_reduce(n_bytes) if n_bytes else shared.sync(), n_bytes)

    taken = _table(STAGED_SIZES, time_ps)
    sync_ps = taken[0][1]
    beyond = [(all_ps - sync_ps) // len(others) - looked_up(reduced, n_bytes) for n_bytes, all_ps in taken]
    return tuple(zip(STAGED_SIZES, (sync_ps + np.maximum.accumulate([0, *beyond[1:]])).tolist(), strict=True))
