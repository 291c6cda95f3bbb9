"""What the messages of a communicator cost, measured: the network model of the MPI underneath.

A straight line alpha + n*beta is wrong by a factor of two or three between caches and memory, and where an MPI
changes its protocol. So times are kept as tables, and what lies between two sizes is taken from the line between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks.communicator import Comm
from ranks.constants import mpi_of
from ranks.network import PS_PER_S, Link, Network
from ranks.shared import can_share_memory, shared_array

_TAG = 32_031
_KIB = 1024
# 1 KiB to 16 MiB. Small ones are close, since there protocols change.
SIZES = (0, *(_KIB << shift for shift in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14)))
_PIECE = 1 << 20  # bytes of an array that are written to shared memory at a time, at most
_PAGE = 4096
_BLOCKS = 4  # parts are timed in arrays of at most so many of them: these are beyond all caches soon enough
# Steps are timed in batches: in a single one a rank that comes late finds all others waiting for it, and measures only
# its own work. After each step all wait for all, as steps of an algorithm wait for the one before: otherwise messages
# overlap. Batches of small messages are larger, since a clock is read in 0.1 us; large ones are timed less often.
_BATCH, _BATCH_BYTES, _ALL_BYTES = 3, 1 << 18, 1 << 26

Array = NDArray[Any]
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
class Times:
    """Times by bytes, of whole arrays, and of parts of arrays `blocks` times as large: those are in no near cache."""

    whole: Table
    parts: Table
    blocks: int

    def within(self, n_bytes: int) -> Table:
        """Return the times of parts of arrays of n_bytes: between both tables, by how many parts an array has.

        Times(((0, 0), (10, 100)), ((0, 0), (10, 300)), 3).within(20)  # ((0, 0), (10, 200))
        """
        made = []
        for (size, near), (_, far) in zip(self.whole, self.parts, strict=True):
            further = min(self.blocks, max(1, n_bytes / size)) - 1 if size else 0
            made.append((size, near + round((far - near) * further / (self.blocks - 1))))
        return tuple(made)


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
    messages, sums: what was measured, from which `within` takes the links and reductions for arrays of a size.
    """

    reductions: Table = ((0, 0), (1, 0))
    memory: MeasuredLink | None = None
    calls: tuple[tuple[str, int], ...] = ()
    messages: Times | None = None
    sums: Times | None = None

    def reduce_ps(self, n_bytes: int) -> int:
        """Return the time to reduce `n_bytes` into another `n_bytes`."""
        return looked_up(self.reductions, n_bytes)

    def within(self, n_bytes: int) -> MeasuredNetwork:
        """Return the network as a call sees it whose arrays have n_bytes: what fits into a cache costs less."""
        if self.messages is None or self.sums is None:
            return self
        link, memory = _link(self.messages.within(n_bytes)), self.memory
        if memory is not None and n_bytes:
            # Pieces and blocks of an array are alike: each takes its share of the time of all.
            memory = replace(memory, table=((0, 0), (n_bytes, memory.transfer_ps(n_bytes))))
        reductions = self.sums.within(n_bytes)
        return replace(self, inter=link, intra=link, itself=link, reductions=reductions, memory=memory)


def calibrate(comm: Any, repeats: int = 40) -> MeasuredNetwork:
    """Return, on every rank of `comm`, the network that it runs on, as measured by rank 0.

        network = ranks.calibrate(mpi4py.MPI.COMM_WORLD)
        network.inter.transfer_ps(1_000_000)  # picoseconds of 1 MB, beyond those of an empty message

    Messages: all ranks pass 0 B to 16 MiB on to the right at once, as they do in a ring; o is part of alpha.
    Reduction: np.add of float32 of these sizes. Both as whole arrays and as parts of larger ones. Memory: pieces up to
    1 MiB, where all ranks share memory.
    The least of `repeats` times counts, fewer for large messages: others may use the processors meanwhile, and what is
    slow by chance now will not be slow later. Takes a second on one idle node.
    Raises:  ValueError if comm has one rank, or repeats is below 1.
    """
    if comm.size < 2 or repeats < 1:
        raise ValueError(
            f"ranks.calibrate: got {comm.size} ranks and repeats={repeats}, expected at least 2 and 1; remedy: start "
            "more processes"
        )
    clock, blocks = _Stopwatch(comm, repeats), min(comm.size, _BLOCKS)
    passed = _times(blocks, partial(_time_passing_on, clock))
    reduced = _times(blocks, partial(_time_reduction, clock))
    made = MeasuredNetwork(
        name="calibrated",
        inter=_link(passed.parts),
        reduce_fs_per_byte=_fs_per_byte(reduced.parts),
        reductions=reduced.parts,
        source=f"measured by {comm.size} ranks that pass messages on at once",
        messages=passed,
        sums=reduced,
    )
    if can_share_memory(comm):
        made = replace(made, memory=_link(_staged(clock, made)))
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.send(made, other, _TAG)
        return made
    received: MeasuredNetwork = comm.recv(source=0, tag=_TAG)
    return received


def _times(blocks: int, time_ps: Callable[[int, int], int]) -> Times:
    """Return the times that time_ps(blocks, n_bytes) gives."""
    return Times(_table(partial(time_ps, 1)), _table(partial(time_ps, blocks)), blocks)


def _table(time_ps: Callable[[int], int], sizes: tuple[int, ...] = SIZES) -> Table:
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
        self.wait: Callable[[], object] = self._barrier()
        self.wait_ps = 0
        self.wait_ps = self.least_ps(lambda: None, 0)

    def _barrier(self) -> Callable[[], object]:
        if isinstance(self.comm, Comm):
            return lambda: None  # simulated ranks stay in step
        return shared_array(self.comm, 0).sync if can_share_memory(self.comm) else self.comm.Barrier

    def least_ps(self, step: Callable[[], None], n_bytes: int) -> int:
        """Return the least time of a step that handles n_bytes, after one that warms up."""
        batch = 1 if isinstance(self.comm, Comm) else max(_BATCH, min(8, _BATCH_BYTES // max(n_bytes, 1)))
        wait = self.wait
        step()
        times_s = []
        for _ in range(max(3, min(self.repeats, _ALL_BYTES // max(n_bytes * batch, 1)))):
            wait()
            begin_s = self.wtime()
            for _ in range(batch):
                step()
                wait()
            times_s.append((self.wtime() - begin_s) / batch)
        least: int = round(min(times_s) * PS_PER_S)
        # Half of it at least: if others used the processors when the wait was timed, too much would be taken off.
        return max(least - self.wait_ps, least // 2)


def _time_passing_on(clock: _Stopwatch, blocks: int, n_bytes: int) -> int:
    """Return the time in which every rank sends to its right neighbour and receives from its left one.

    blocks: of how many such messages the arrays are made; the next is not in a cache if there are several.
    """
    comm = clock.comm
    p, rank = comm.size, comm.rank
    sent, came = _rows(blocks, n_bytes), _rows(blocks, n_bytes)
    block = 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % blocks
        comm.Sendrecv(sent[block], (rank + 1) % p, _TAG, came[block], (rank - 1) % p, _TAG)

    return clock.least_ps(step, n_bytes)


def _rows(n_rows: int, n_bytes: int) -> Array:
    """Return rows of n_bytes, from the beginning of a page on.

    Some processors copy many times as slowly to where addresses end in little more than those they copy from, as
    modulo a page: what is slow by such chance here may be fast elsewhere.
    """
    # Ones, since zeros that nobody has written all lie in one page.
    memory = np.ones(n_rows * n_bytes + _PAGE, np.uint8)
    begin = -memory.ctypes.data % _PAGE
    return memory[begin : begin + n_rows * n_bytes].reshape(n_rows, n_bytes)


def _time_reduction(clock: _Stopwatch, blocks: int, n_bytes: int) -> int:
    """Return the time of adding n_bytes to others.

    All ranks do it at once, since they share caches, memory, and maybe processors.
    """
    if not n_bytes:
        return 0
    # What has come is in a cache; the share it is added to, and where the result goes, are parts of larger arrays.
    came, x, total = (_rows(each, n_bytes).view(np.float32) for each in (1, blocks, blocks))
    block = 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % blocks
        np.add(came[0], x[block], out=total[block])

    return clock.least_ps(step, n_bytes)


def _staged(clock: _Stopwatch, network: MeasuredNetwork) -> Table:
    """Return the times in which all ranks write n bytes and read another's: reducing them left out.

    Up to a piece only: larger arrays go through the stage piece by piece, and each is in a cache by then.
    """
    comm = clock.comm
    shared = shared_array(comm, (2, (_PIECE + _PAGE) // 4), np.float32)
    aside = _PAGE // 8  # items, as in the stage itself: where in their pages slots and arrays begin matters (`_rows`)
    others = [(comm.rank + distance) % comm.size for distance in range(1, comm.size)]
    own, out = (_rows(1, _PIECE)[0].view(np.float32) for _ in range(2))
    turn = 0

    def write_and_reduce(n: int, others: list[int]) -> None:
        nonlocal turn
        turn = 1 - turn
        mine, total, slots = own[:n], out[:n], [array[turn, aside : aside + n] for array in shared.arrays]
        slots[comm.rank][...] = mine
        shared.sync()
        for other in others:
            np.add(mine, slots[other], out=total)
            mine = total
            if shared.charge:
                shared.charge(other, mine.nbytes)

    sync_ps = clock.least_ps(shared.sync, 0)

    def beyond_ps(n_bytes: int) -> int:
        if not n_bytes:
            return sync_ps
        # Of small arrays ranks read all the others', of large ones only blocks, together about as much as one array.
        read = others if n_bytes * comm.size <= _PIECE else others[:1]
        taken_ps = clock.least_ps(lambda: write_and_reduce(n_bytes // 4, read), n_bytes) - sync_ps
        return sync_ps + max(0, taken_ps // len(read) - network.within(n_bytes).reduce_ps(n_bytes))

    return _table(beyond_ps, tuple(n_bytes for n_bytes in SIZES if n_bytes <= _PIECE))
