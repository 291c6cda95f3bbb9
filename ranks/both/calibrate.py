"""The cost of a communicator's messages, measured: the network model of the MPI underneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks.both.shared import can_share_memory, shared_array
from ranks.comm.communicator import Comm
from ranks.network.measured import MeasuredNetwork, Table, Times, fs_per_byte, link_of, looked_up
from ranks.network.model import PS_PER_S
from ranks.words.constants import behind, mpi_of
from ranks.words.progress import Bar

_TAG = 32_031
_KIB = 1024
# 1 KiB to 16 MiB. Small ones are close, since there protocols change.
SIZES = (0, *(_KIB << shift for shift in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14)))
_PIECE, _PIECES = 1 << 20, 16  # bytes that are written to shared memory at a time; so many make an array
_PAGE = 4096
_BLOCKS = 4  # parts are timed in arrays of at most so many parts, which are soon larger than all caches
# Steps are timed in batches. After each step all ranks wait for all, as a step of an algorithm waits for the one
# before; otherwise messages would overlap. Small messages have more and longer batches, as a clock is read in 0.1 µs.
_BATCH, _BATCH_BYTES, _SMALL = 3, 1 << 18, 1 << 18
# After half of this time, steps are timed only once; after all of it, no more: the program waits for its first call.
_PATIENCE_S = 3.0
_GO, _HURRY, _STOP = range(3)
_LARGE = 1 << 22  # bytes of arrays that NumPy puts on huge pages

Array = NDArray[Any]
Key = tuple[str, int, int]  # what is timed, how many rows its arrays have, and the bytes of a row
Step = Callable[[], None]


def calibrate(comm: Any, repeats: int = 25) -> MeasuredNetwork:
    """Return, on every rank of `comm`, the network that it runs on, as measured by rank 0.

        network = ranks.calibrate(mpi4py.MPI.COMM_WORLD)
        network.inter.transfer_ps(1_000_000)  # picoseconds of 1 MB, beyond those of an empty message

    Messages: all ranks pass 0 B to 16 MiB to the right at once, as in a ring; o is part of alpha. Reduction: np.add of
    float32 arrays of these sizes. Both are measured on whole arrays and on parts of larger ones. Memory: pieces up to 1
    MiB of arrays up to 16 MiB, if all ranks share memory. The result is the least of `repeats` rounds, each of which
    times everything. After three seconds no further round begins, but there is always one. One round is not enough:
    other programs may use the processors meanwhile, and a hypervisor may migrate a virtual machine between cores that
    share a cache and cores that do not, several times a second. Such a slow phase must not hit only the messages, or
    only the memory. Calibrating takes a second or two on one idle node.
    Raises:  ValueError if comm has one rank, or repeats is below 1.
    """
    if comm.size < 2 or repeats < 1:
        raise ValueError(
            f"ranks.calibrate: got {comm.size} ranks and repeats={repeats}, expected at least 2 and 1; remedy: start "
            "more processes"
        )
    blocks = min(comm.size, _BLOCKS)
    arrays = _Arrays()
    steps, shares = _steps(comm, arrays, blocks), can_share_memory(comm)
    stage = _Stage(comm) if shares else None
    if stage:
        steps |= stage.steps(arrays)
    taken = _Stopwatch(comm, stage).least_ps(steps, repeats)
    passed = Times(_table(_passing_ps(taken, 1)), _table(_passing_ps(taken, blocks)), blocks)
    reduced = Times(_table(_adding_ps(taken, 1)), _table(_adding_ps(taken, blocks)), blocks)
    made = MeasuredNetwork(
        name="calibrated",
        inter=link_of(passed.parts),
        reduce_fs_per_byte=fs_per_byte(reduced.parts),
        reductions=reduced.parts,
        source=f"measured by {comm.size} ranks that pass messages on at once",
        messages=passed,
        sums=reduced,
        memory=link_of(stage.table(taken, reduced)) if stage else None,
    )
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.send(made, other, _TAG)
        return made
    received: MeasuredNetwork = comm.recv(source=0, tag=_TAG)
    return received


def _passing_ps(taken: dict[Key, int], many: int) -> dict[int, int]:
    """Return the times of passing messages on, by size: those of writing and passing them less those of writing."""
    rows = {n_bytes: _n_rows(many, n_bytes) for n_bytes in SIZES}
    both = {n_bytes: taken["write and pass", rows[n_bytes], n_bytes] for n_bytes in SIZES}
    return {n: max(time_ps - taken["write", rows[n], n], time_ps // 2) for n, time_ps in both.items()}


def _adding_ps(taken: dict[Key, int], many: int) -> dict[int, int]:
    """Return the times of adding, by size."""
    return {n_bytes: taken["add", _n_rows(many, n_bytes), n_bytes] if n_bytes else 0 for n_bytes in SIZES}


def _table(times_ps: dict[int, int]) -> Table:
    """Return times by size, none longer than that of a larger size: if it was longer, something disturbed it."""
    least = np.minimum.accumulate([*times_ps.values()][::-1])[::-1]
    return tuple(zip(times_ps, least.tolist(), strict=True))


class _Stopwatch:
    """Times what all ranks of a communicator do together."""

    def __init__(self, comm: Any, stage: _Stage | None) -> None:
        self.comm, self.simulated = comm, isinstance(behind(comm), Comm)
        self.pace = np.zeros(1, np.int64)
        self.wtime: Callable[[], float] = mpi_of(comm).Wtime
        # Simulated ranks stay in step.
        self.wait: Step = (lambda: None) if self.simulated else stage.sync if stage else comm.Barrier

    def least_ps(self, steps: dict[Key, Step], repeats: int) -> dict[Key, int]:
        """Return, on rank 0, the least time of each step in `repeats` rounds, the time of waiting for all left out."""
        nothing = "nothing", 1, 0
        times_s: dict[Key, list[float]] = {key: [] for key in (nothing, *steps)}
        self._measure({nothing: lambda: None, **steps}, times_s, repeats)
        least_s = {key: slowest.min() for key, slowest in self._slowest(times_s).items()}
        # Keep at least half: if others used the processors while the wait was timed, too much would be subtracted.
        return {key: round(max(each - least_s[nothing], each / 2) * PS_PER_S) for key, each in least_s.items()}

    def _measure(self, steps: dict[Key, Step], times_s: dict[Key, list[float]], repeats: int) -> None:
        """Time all steps in each of so many rounds, or until patience is over and each was timed once."""
        begin_s = self.wtime()
        done = 0
        with Bar("measuring the network", lambda: done / (repeats * len(steps)), patience=len(steps)) as bar:
            for turn in range(repeats):
                for key, step in steps.items():
                    pace = self._pace(begin_s, turn)
                    if pace == _STOP:
                        return
                    times_s[key] += self._times_s(step, key[2], few=pace == _HURRY)
                    done += 1
                    if self.comm.rank == 0:
                        bar.update()

    def _pace(self, begin_s: float, turn: int) -> int:
        """Return how to go on, by the clock of rank 0: on a busy machine a single round may take long."""
        if self.simulated:
            return _GO
        if self.comm.rank:
            self.comm.Recv(self.pace, 0, _TAG)
            return int(self.pace[0])
        taken_s = self.wtime() - begin_s
        self.pace[0] = _GO if taken_s < _PATIENCE_S / 2 else _HURRY if taken_s < _PATIENCE_S or turn == 0 else _STOP
        for other in range(1, self.comm.size):
            self.comm.Send(self.pace, other, _TAG)
        return int(self.pace[0])

    def _times_s(self, step: Step, n_bytes: int, *, few: bool) -> list[float]:
        """Return times of a step that handles n_bytes, after one that warms up; few: as few as possible."""
        few = few or self.simulated or n_bytes >= _LARGE
        batch = 1 if few else max(_BATCH, min(8, _BATCH_BYTES // max(n_bytes, 1)))
        wait = self.wait
        step()
        times_s = []
        for _ in range(3 if n_bytes <= _SMALL and not few else 1):
            wait()
            begin_s = self.wtime()
            for _ in range(batch):
                step()
                wait()
            times_s.append((self.wtime() - begin_s) / batch)
        return times_s

    def _slowest(self, times_s: dict[Key, list[float]]) -> dict[Key, Array]:
        """Return, on rank 0, each time as the rank saw it that began first: one that comes late finds work done."""
        seen = {key: np.array(times) for key, times in times_s.items()}
        if self.comm.rank:
            self.comm.send(seen, 0, _TAG)
            return seen
        for other in range(1, self.comm.size):
            of_other = self.comm.recv(source=other, tag=_TAG)
            seen = {key: np.maximum(times, of_other[key]) for key, times in seen.items()}
        return seen


def _steps(comm: Any, arrays: _Arrays, blocks: int) -> dict[Key, Step]:
    """Return the steps of passing messages on and of adding them: of whole arrays, and of parts of larger ones."""
    steps: dict[Key, Step] = {}
    for many in (1, blocks):
        for n_bytes in SIZES:
            n_rows = _n_rows(many, n_bytes)
            came = arrays.rows("came", 1, n_bytes)
            sent, made = (arrays.rows(name, n_rows, n_bytes) for name in ("sent", "made"))
            steps["write", n_rows, n_bytes] = _writing(sent)
            steps["write and pass", n_rows, n_bytes] = _passing_on(comm, sent, made)
            steps["add", n_rows, n_bytes] = _adding(came, sent, made)
    return steps


def _n_rows(many: int, n_bytes: int) -> int:
    """Return how many rows are used in turn: twice `many`, since there are results besides what is reduced.

    There are fewer rows if they are large: together they are no larger than the largest size, which fits no cache.
    """
    return max(1, min(2 * many, SIZES[-1] // max(n_bytes, 1)))


class _Arrays:
    """The arrays that are received, sent and made, in rows; each begins with a page, and large ones share memory.

    Some processors copy many times as slowly if the address of the target, modulo a page, is a little above that of
    the source. A copy that is slow by such chance here may be fast elsewhere.
    """

    def __init__(self) -> None:
        self._large: dict[str, Array] = {}

    def rows(self, name: str, n_rows: int, n_bytes: int) -> Array:
        """Return rows of n_bytes of the array of this name."""
        if n_rows * n_bytes < _LARGE:
            return _from_a_page(n_rows * n_bytes).reshape(n_rows, n_bytes)
        if name not in self._large:
            self._large[name] = _from_a_page(SIZES[-1])
        return self._large[name][: n_rows * n_bytes].reshape(n_rows, n_bytes)


def _from_a_page(n_bytes: int) -> Array:
    # Ones, since zeros that nobody has written all lie in one page.
    memory = np.ones(n_bytes + _PAGE, np.uint8)
    begin = -memory.ctypes.data % _PAGE
    return memory[begin : begin + n_bytes]


def _writing(rows: Array) -> Step:
    """Return the step of writing to all bytes of a row, of the next one each time."""
    words, block = rows.view(np.uint64 if rows.size else rows.dtype), 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % len(words)
        words[block].fill(block)

    return step


def _passing_on(comm: Any, sent: Array, came: Array) -> Step:
    """Return the step in which every rank writes a row, sends it to its right neighbour, and receives one.

    The row is written before, since most programs have just computed what they send. So it lies in the sender's cache,
    while the row before is still in the receiver's.
    """
    p, rank = comm.size, comm.rank
    right, left, block, write = (rank + 1) % p, (rank - 1) % p, 0, _writing(sent)

    def step() -> None:
        nonlocal block
        block = (block + 1) % len(sent)
        write()
        comm.Sendrecv(sent[block], right, _TAG, came[block], left, _TAG)

    return step


def _adding(came: Array, x: Array, total: Array) -> Step:
    """Return the step of adding what has come to a row. All ranks do it at once: they share caches and memory.

    What has come is in a cache; the share it is added to, and where the result goes, are parts of larger arrays.
    """
    if not came.size:
        return lambda: None  # there are no float32 of no bytes
    added, rows, totals, block = came[0].view(np.float32), x.view(np.float32), total.view(np.float32), 0

    def step() -> None:
        nonlocal block
        block = (block + 1) % len(rows)
        np.add(added, rows[block], out=totals[block])

    return step


class _Stage:
    """Memory that all ranks share, to which they write pieces of their arrays, and read those of others.

    Larger arrays than a piece go through it piece by piece: the stage is in a cache by then, the arrays are not.
    """

    def __init__(self, comm: Any) -> None:
        self.rank, p = comm.rank, comm.size
        self.sizes = [n_bytes for n_bytes in SIZES if n_bytes <= _PIECE]
        self.shared = shared_array(comm, (2, (_PIECE + _PAGE) // 4), np.float32)
        self.sync = self.shared.sync
        others = [(comm.rank + distance) % p for distance in range(1, p)]
        # Ranks read all other ranks' small arrays, but only blocks of large ones, together about as much as one array.
        self.read = {n_bytes: others if n_bytes * p <= _PIECE else others[:1] for n_bytes in self.sizes}

    def steps(self, arrays: _Arrays) -> dict[Key, Step]:
        """Return the steps of writing, waiting for all, and reducing what others have written; of 0 bytes, the wait."""
        x, out = (arrays.rows(name, _PIECES, _PIECE).view(np.float32) for name in ("sent", "made"))
        steps = {("stage", 1, n): self._step(x[:1, : n // 4], out[:1, : n // 4]) for n in self.sizes}
        return steps | {("stage", _PIECES, _PIECE): self._step(x, out), ("stage", 1, 0): self.sync}

    def _step(self, x: Array, out: Array) -> Step:
        shared, rank, others = self.shared, self.rank, self.read[x[0].nbytes]
        turn = row = 0
        begin = _PAGE // 8  # items, as in the stage itself: where in their pages slots and arrays begin matters
        slots = [[array[each, begin : begin + x.shape[1]] for array in shared.arrays] for each in (0, 1)]

        def step() -> None:
            nonlocal turn, row
            turn, row = 1 - turn, (row + 1) % len(x)
            so_far = x[row]
            slots[turn][rank][...] = so_far
            shared.sync()
            for other in others:
                np.add(so_far, slots[turn][other], out=out[row])
                so_far = out[row]
                if shared.charge:
                    shared.charge(other, so_far.nbytes)

        return step

    def table(self, taken: dict[Key, int], reduced: Times) -> Table:
        """Return the times in which a rank writes n bytes and reads another's: reducing them left out."""
        sync_ps, made = taken["stage", 1, 0], {}

        def beyond_ps(n_rows: int, n_bytes: int) -> int:
            of_one_ps = (taken["stage", n_rows, n_bytes] - sync_ps) // len(self.read[n_bytes])
            return max(0, of_one_ps - looked_up(reduced.within(n_rows * n_bytes), n_bytes))

        for n_bytes in self.sizes:
            made[n_bytes] = sync_ps + (beyond_ps(1, n_bytes) if n_bytes else 0)
        made[_PIECES * _PIECE] = sync_ps + _PIECES * beyond_ps(_PIECES, _PIECE)
        return _table(made)
