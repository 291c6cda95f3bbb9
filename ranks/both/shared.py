"""Memory that the ranks of one node share: each rank reads and writes the arrays of all, with `sync` in between.

On real MPI the arrays are in one anonymous file in memory that all processes map. The file lives until the last array
is gone, so no array can outlive its memory. `sync` is a flag for each rank in that memory on processors where all see
stores in the order in which they are made (x86); on other processors it is MPI's barrier, which orders them. On
simulated ranks the arrays are plain memory, and a flag is a message of 0 bytes.
"""

from __future__ import annotations

import math
import mmap
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ranks.both.flags import LINE, Flags
from ranks.both.kept import kept
from ranks.comm.communicator import Comm
from ranks.words.constants import behind, mpi_of

Array = NDArray[Any]
Charge = Callable[[int, int], None]

# Each array of a communicator has a tag of its own, below those of operations in the background.
_TAGS = 32_768
_PAGE = 4096
# On these processors, all cores see loads and stores of aligned words in program order. Only a load may overtake an
# earlier store. `sync` allows that: it stores data, then a flag, and the other side loads the flag, then the data.
_ORDERED = ("x86_64", "AMD64", "i686", "i386")


class SharedArray:
    """An array of each rank of `comm`, all of one shape and dtype: `arrays[rank]`, and this rank's own, `local`.

    together: the same memory as one array of shape (p, ...), which is not contiguous.
    sync(): return when all ranks have called it as often as this one. What they wrote before is then visible.
    charge: on simulated ranks, charge(rank, n_bytes) lets pass the time that it takes to read or write n_bytes of that
    rank's array: n*G of the link inside the node, and none for this rank's own. None on real MPI.
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
    comm = behind(comm)
    return (_simulated if isinstance(comm, Comm) else _real)(comm, shape, made)


def can_share_memory(comm: Any) -> bool:
    """Return whether all ranks of `comm` are on one node and can share memory; all must ask, at least at first.

    ranks.run(can_share_memory, 2, network="nvlink").results  # [True, True]
    ranks.run(can_share_memory, 2, network="ethernet").results  # [False, False]
    """
    comm = behind(comm)
    if isinstance(comm, Comm):
        return len({box.owner.node for box in comm._context.boxes}) == 1
    return kept(comm, can_share_memory, lambda: hasattr(os, "memfd_create") and _on_one_node(comm))


def _on_one_node(comm: Any) -> bool:
    node = comm.Split_type(mpi_of(comm).COMM_TYPE_SHARED)
    alone = node.size == comm.size
    node.Free()
    return bool(alone)


# -- simulated ranks -------------------------------------------------------------------------------------------


def _simulated(comm: Comm, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    brought = comm._meet("shared_array", None, {"shape": shape, "dtype": dtype})
    if -1 not in brought:
        brought[-1] = np.zeros((comm.size, *shape), dtype)
    signals, tag = comm._hidden(), comm._announced % _TAGS
    link, state, me, p = comm._transport.network.intra, comm._state, comm.rank, comm.size
    nothing = np.empty(0, np.uint8)

    def sync() -> None:
        for distance in range(1, p):
            signals.Bsend(nothing, (me + distance) % p, tag)
        for distance in range(1, p):
            signals.Recv(nothing, (me - distance) % p, tag)

    def charge(rank: int, n_bytes: int) -> None:
        if rank != me:
            begin_ps = state.now
            state.now += link.transfer_ps(n_bytes)
            for observer in comm._transport.observers:
                observer.computed(state, begin_ps)

    return SharedArray(comm, brought[-1], sync, charge)


# -- real MPI --------------------------------------------------------------------------------------------------


def _real(comm: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    p = comm.size
    asked = comm.allgather((shape, dtype.str if dtype.names is None else dtype.descr))
    if any(other != asked[0] for other in asked):
        raise ValueError(f"shared_array: got (shape, dtype) {asked} by rank, expected the same; remedy: agree on one")
    n_bytes = math.prod(shape) * dtype.itemsize
    room = _rounded(n_bytes)
    header = _rounded((p + 1) * LINE)
    memory = _mapped(comm, header + p * room, p * LINE)
    if n_bytes:
        rows = np.frombuffer(memory, np.uint8, p * room, header).reshape(p, room)
        together = rows[:, :n_bytes].view(dtype).reshape(p, *shape)
    else:
        together = np.zeros((p, *shape), dtype)
    if platform.machine() not in _ORDERED:
        return SharedArray(comm, together, comm.Dup().Barrier, None)
    return SharedArray(comm, together, Flags(comm, memoryview(memory)[: p * LINE].cast("q")).make_sync(), None)


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
