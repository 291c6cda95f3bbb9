"""Memory that the ranks of one node share: each reads and writes the arrays of all, with `sync` in between.

On real MPI the arrays lie in one anonymous file of memory that all processes map; it lives until the last array
is gone, so that none can outlive its memory. `sync` is a flag for each rank in that memory, where stores become
visible in the order in which they are made (x86); on other processors it is MPI's barrier, which orders them.
On simulated ranks the arrays are plain memory, and a flag is a message of 0 bytes.
"""

from __future__ import annotations

import math
import mmap
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ranks.agreement import meet
from ranks.communicator import Comm
from ranks.constants import mpi_of
from ranks.errors import RanksError
from ranks.keeping import kept

Array = NDArray[Any]
Charge = Callable[[int, int], None]

_TAG = 32_150
_LINE = 64  # a cache line: flags on one line would travel together
_STEP = _LINE // 8  # words from one flag to the next
_PAGE = 4096
# On these, loads and stores of aligned words are seen by all in program order (but for a load that overtakes an
# earlier store, which `sync` does not mind: it stores data, then a flag; the other side loads flag, then data).
_ORDERED = ("x86_64", "AMD64", "i686", "i386")
_LOOKS = 300  # at a flag before the processor is offered to others; some 20 us
_YIELDS = 20  # offers before a wait is taken for a long one
_NAP_S, _NAP_AFTER_S, _LOOK_AFTER_S = 100e-6, 2e-3, 1.0


class LostPeerError(RanksError):
    """A process that others wait for has ended."""


class SharedArray:
    """An array of each rank of `comm`, all of one shape and dtype: `arrays[rank]`, and this rank's own, `local`.

    together: the same memory as one array of shape (p, ...), not in one piece.
    sync(): return when all ranks have called it as often as this one. What they wrote before is visible then.
    charge: on simulated ranks charge(rank, n_bytes) lets the time pass that reading or writing n_bytes of that
    rank's array takes, n*G of the link inside the node; own memory is free. None on real MPI.
    plans: what algorithms have prepared for these arrays, by keys of their own.
    """

    __slots__ = ("arrays", "charge", "comm", "local", "plans", "sync", "together")

    def __init__(self, comm: Any, together: Array, sync: Callable[[], None], charge: Charge | None) -> None:
        self.comm, self.together, self.sync, self.charge = comm, together, sync, charge
        self.arrays: list[Array] = [together[rank, ...] for rank in range(comm.size)]
        self.local = self.arrays[comm.rank]
        self.plans: dict[Any, Any] = {}


def shared_array(comm: Any, shape: int | tuple[int, ...], dtype: DTypeLike = float) -> SharedArray:
    """Return arrays of zeros, one of each rank of `comm`, that all its ranks can read and write.

        def program(comm):
            shared = ranks.shared_array(comm, 1, int)
            shared.local[0] = comm.rank
            shared.sync()
            return int(shared.arrays[-1][0])

        ranks.run(program, 3, network="nvlink").results  # [2, 2, 2]

    All ranks must call it, with the same shape and dtype, and all must be on one node. A read of what another rank
    wrote, or a write to what another rank read, must have a sync in between.
    Cost:    sync sends p-1 messages of 0 bytes a rank, buffered: max(2(p-1) o, L + p o). On real MPI it sends none.
    Raises:  ValueError on every rank if ranks are on several nodes, differ in shape or dtype, or the system gives no
             memory; TypeError if dtype holds objects; CollectiveMismatchError if simulated ranks differ.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    made = np.dtype(dtype)
    if made.hasobject:
        raise TypeError(
            f"shared_array: got dtype {made}, expected one of fixed size; remedy: choose another, since another "
            "process cannot follow Python's references"
        )
    if not can_share_memory(comm):
        raise ValueError(
            f"shared_array: got a communicator of {comm.size} ranks that are not all on one node, or a system without "
            "memfd_create, expected one node of Linux; remedy: comm.Split_type(COMM_TYPE_SHARED), or an algorithm "
            "that sends messages"
        )
    return (_simulated if isinstance(comm, Comm) else _real)(comm, shape, made)


def can_share_memory(comm: Any) -> bool:
    """Return whether all ranks of `comm` are on one node and can share memory; all must ask, at least at first.

    ranks.run(can_share_memory, 2, network="nvlink").results  # [True, True]
    ranks.run(can_share_memory, 2, network="ethernet").results  # [False, False]
    """
    if isinstance(comm, Comm):
        return len({box.owner.node for box in comm._boxes}) == 1
    return kept(comm, can_share_memory, lambda: hasattr(os, "memfd_create") and _on_one_node(comm))


def _on_one_node(comm: Any) -> bool:
    node = comm.Split_type(mpi_of(comm).COMM_TYPE_SHARED)
    alone = node.size == comm.size
    node.Free()
    return bool(alone)


# -- simulated ranks -------------------------------------------------------------------------------------------


def _simulated(comm: Comm, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    brought = meet(comm, "shared_array", None, {"shape": shape, "dtype": dtype})
    if -1 not in brought:
        brought[-1] = np.zeros((comm.size, *shape), dtype)
    signals = comm.Dup()  # so that no wildcard of the program can take a signal
    link, state, me, p = comm._world.network.intra, comm._state, comm.rank, comm.size
    nothing = np.empty(0, np.uint8)

    def sync() -> None:
        for distance in range(1, p):
            signals.Bsend(nothing, (me + distance) % p, _TAG)
        for distance in range(1, p):
            signals.Recv(nothing, (me - distance) % p, _TAG)

    def charge(rank: int, n_bytes: int) -> None:
        if rank != me:
            state.now += link.transfer_ps(n_bytes)

    return SharedArray(comm, brought[-1], sync, charge)


# -- real MPI --------------------------------------------------------------------------------------------------


def _real(comm: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    p = comm.size
    asked = comm.allgather((shape, dtype.str if dtype.names is None else dtype.descr))
    if any(other != asked[0] for other in asked):
        raise ValueError(f"shared_array: got (shape, dtype) {asked} by rank, expected the same; remedy: agree on one")
    n_bytes = math.prod(shape) * dtype.itemsize
    room = _rounded(n_bytes)
    header = _rounded((p + 1) * _LINE)
    memory = _mapped(comm, header + p * room, p * _LINE)
    if n_bytes:
        rows = np.frombuffer(memory, np.uint8, p * room, header).reshape(p, room)
        together = rows[:, :n_bytes].view(dtype).reshape(p, *shape)
    else:
        together = np.zeros((p, *shape), dtype)
    if platform.machine() not in _ORDERED:
        return SharedArray(comm, together, comm.Dup().Barrier, None)
    return SharedArray(comm, together, Flags(comm, memoryview(memory)[: p * _LINE].cast("q")).make_sync(), None)


def _rounded(n_bytes: int) -> int:
    return -(-n_bytes // _PAGE) * _PAGE


def _mapped(comm: Any, n_bytes: int, token_at: int) -> mmap.mmap:
    """Return zeroed memory that is the same in all processes; rank 0 makes it, the others open it through /proc.

    The random token proves that it is the same, and so that all see each other under the same process numbers.
    """
    token = os.urandom(16)
    memory, problem, where = None, "", ("", b"")
    fd = -1
    if comm.rank == 0:
        try:
            fd = os.memfd_create("ranks")
            os.ftruncate(fd, n_bytes)
            os.pwrite(fd, token, token_at)
            where = (f"/proc/{os.getpid()}/fd/{fd}", token)
        except (OSError, OverflowError) as error:
            problem = str(error)
    path, token = comm.bcast(where)
    try:
        if path:
            memory = _opened(path, n_bytes)
            problem = "" if memory[token_at : token_at + 16] == token else f"{path} is another file here"
    except (OSError, OverflowError, ValueError) as error:
        problem = str(error)
    problems = [f"rank {rank}: {each}" for rank, each in enumerate(comm.allgather(problem)) if each]
    if fd >= 0:
        os.close(fd)
    if memory is None or problems:
        raise ValueError(
            f"shared_array: got {'; '.join(problems)}, expected {n_bytes} bytes of memory that all ranks can map; "
            "remedy: use an algorithm that sends messages"
        )
    return memory


def _opened(path: str, n_bytes: int) -> mmap.mmap:
    with open(path, "r+b", buffering=0) as file:
        memory = mmap.mmap(file.fileno(), n_bytes)
    with suppress(OSError):  # large pages are a wish
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class Flags:
    """How often each rank has called `sync`: one word a rank in shared memory, written by that rank alone."""

    def __init__(self, comm: Any, words: memoryview[int]) -> None:
        self._words, self._rank = words, comm.rank
        self._world = mpi_of(comm).COMM_WORLD  # not `comm`, which may be freed while its arrays live on
        self._pids = comm.allgather(os.getpid())
        # With fewer processors than ranks, the one that is waited for may be the one that would run instead.
        self._looks = _LOOKS if comm.size <= len(os.sched_getaffinity(0)) else 0

    def make_sync(self) -> Callable[[], None]:
        """Return what waits until all ranks have called it as often as this one.

        It looks often, then it lets others run. All is at hand, since two ranks take 0.3 us for this: to look up
        attributes or call a function as well would take half as long again.
        """
        words, looks, patience = self._words, self._looks, self._looks + _YIELDS
        own, others = self._rank * _STEP, [rank * _STEP for rank in range(len(self._pids)) if rank != self._rank]
        let_others_run, wait_long, count = os.sched_yield, self._wait_long, 0

        def sync() -> None:
            nonlocal count
            count += 1
            words[own] = count
            for other in others:
                looked = 0
                while words[other] < count:
                    looked += 1
                    if looked > looks:
                        let_others_run()
                        if looked > patience:
                            wait_long(other, count)

        return sync

    def _wait_long(self, other: int, count: int) -> None:
        """Return when a rank's word has reached `count`: let others run for a while, then sleep."""
        words = self._words
        begin_s = looked_s = time.monotonic()
        while words[other] < count:
            # A peer may be waiting for a message of ours, which only moves while we are inside MPI. That must be the
            # world: in COMM_SELF, MPICH knows that nothing can come, and moves nothing.
            self._world.Iprobe(self._world.rank, _TAG)
            now_s = time.monotonic()
            if now_s - begin_s < _NAP_AFTER_S:
                os.sched_yield()
                continue
            time.sleep(_NAP_S)
            if now_s - looked_s > _LOOK_AFTER_S:
                looked_s = now_s
                self._look_for(other // _STEP, count)

    def _look_for(self, rank: int, count: int) -> None:
        """Raise LostPeerError if the process of a rank is gone before its word has reached `count`."""
        try:
            os.kill(self._pids[rank], 0)
        except ProcessLookupError:
            if self._words[rank * _STEP] >= count:
                return  # it has come, and ended since
            raise LostPeerError(
                self._rank,
                "sync of a shared array",
                got=f"no process {self._pids[rank]}, which was rank {rank}",
                expected="it to call sync too",
                remedy=f"see why rank {rank} ended",
            ) from None
        except PermissionError:
            pass  # it is there, and belongs to somebody else
