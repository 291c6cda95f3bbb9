"""The collectives of objects: mpi4py's lower-case names, from those of buffers and from messages.

Reductions go up and across the trees of mpi4py, so that floating-point sums are equal to its sums bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

import collectives
from mpi.common import CommBase
from mpi.errors import ERR_OTHER, WrongTypeError, WrongValueError, wrong
from mpi.ops import SUM, Op
from mpi.pickles import pickle
from mpi.process import process

Array = NDArray[Any]
Combine = Op | Callable[[Any, Any], Any]

_GATHER, _SCATTER, _REDUCE, _SCAN = 11, 12, 13, 14


def packed(obj: Any) -> Array:
    """Return the bytes of an object, as an array."""
    return np.frombuffer(pickle.dumps(obj), np.uint8)


def unpacked(data: Array) -> Any:
    """Return the object of some bytes."""
    return pickle.loads(data.tobytes())


def bcast_object(c: Any, obj: Any, root: int) -> Any:
    """Return the root's object on all ranks: its size first, then its bytes."""
    data = packed(obj) if c.rank == root else None
    size = np.array([0 if data is None else data.size], np.int64)
    collectives.broadcast(c, size, root=root, out=size)
    x = data if data is not None else np.empty(int(size[0]), np.uint8)
    return unpacked(collectives.broadcast(c, x, root=root))


def gather_objects(c: Any, obj: Any, root: int) -> list[Any] | None:
    """Return the objects of all ranks on the root; each sends its own."""
    if c.rank != root:
        c.send(obj, root, _GATHER)
        return None
    own = unpacked(packed(obj))
    return [own if source == root else c.recv(None, source, _GATHER) for source in range(c.size)]


def allgather_objects(c: Any, obj: Any) -> list[Any]:
    """Return the objects of all ranks: their sizes first, then their bytes."""
    data = packed(obj)
    sizes = collectives.allgather(c, np.array([data.size], np.int64)).reshape(-1).tolist()
    return _cut(collectives.allgather(c, data, counts=sizes), sizes)


def _cut(data: Array, sizes: list[int]) -> list[Any]:
    ends = np.cumsum(sizes).tolist()
    return [unpacked(data[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def exchanged(c: Any, objects: Sequence[Any]) -> list[Any]:
    """Return what each rank has for this one."""
    leaving = [packed(obj) for obj in objects]
    sizes = [data.size for data in leaving]
    came = collectives.alltoall(c, np.array(sizes, np.int64)).tolist()
    return _cut(collectives.alltoallv(c, np.concatenate(leaving), sizes, came), came)


def tree_reduce(c: Any, obj: Any, op: Combine, root: int) -> Any:
    """Return the reduction of the objects of all ranks on the root, up mpi4py's binomial tree to rank 0."""
    result, mask = unpacked(packed(obj)), 1
    while mask < c.size:
        if c.rank & mask:
            c.send(result, c.rank & ~mask, _REDUCE)
            break
        if c.rank | mask < c.size:
            result = op(result, c.recv(None, c.rank | mask, _REDUCE))
        mask <<= 1
    if root and c.rank == 0:
        c.send(result, root, _REDUCE)
    elif root and c.rank == root:
        result = c.recv(None, 0, _REDUCE)
    return result if c.rank == root else None


def goes_along_trees() -> bool:
    """Return whether objects are reduced along trees, as `mpi4py.rc.fast_reduce` says."""
    return bool(process().settings["fast_reduce"])


def reduced_in_order(c: Any, obj: Any, op: Combine, n: int) -> Any:
    """Return the reduction of the objects of the first `n` ranks in their order, None if n is 0; all ranks call it."""
    objects = allgather_objects(c, obj)
    return reduce(op, objects[:n]) if n else None


def butterfly_scan(c: Any, obj: Any, op: Combine, *, inclusive: bool) -> Any:
    """Return the reduction of the objects of the ranks up to this one, or below it, across mpi4py's butterfly."""
    partial, mask = unpacked(packed(obj)), 1
    result, is_begun = (partial, True) if inclusive else (None, False)
    while mask < c.size:
        other = c.rank ^ mask
        if other < c.size:
            came = c.sendrecv(partial, other, _SCAN, None, other, _SCAN)
            if c.rank > other:
                partial = op(came, partial)
                result, is_begun = (op(came, result) if is_begun else came), True
            else:
                partial = op(partial, came)
        mask <<= 1
    return result


class ObjectCollectives(CommBase):
    """Collectives of objects that pickle."""

    __slots__ = ()

    def barrier(self) -> None:
        """Wait until all ranks have entered."""
        collectives.barrier(self._collective())

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Return the root's object on all ranks."""
        lock = self._object().locks.setdefault("bcast", Lock())
        if not lock.acquire(blocking=False):
            raise wrong(ERR_OTHER, "bcast while an object of the same communicator's bcast is pickled", "one at a time",
                        "let __reduce__ use a communicator of its own")  # fmt: skip
        try:
            return bcast_object(self._collective(), obj, self._checked_root(root))
        finally:
            lock.release()

    def gather(self, sendobj: Any, root: int = 0) -> list[Any] | None:
        """Return the objects of all ranks on the root, None elsewhere."""
        return gather_objects(self._collective(), sendobj, self._checked_root(root))

    def scatter(self, sendobj: Sequence[Any] | None, root: int = 0) -> Any:
        """Return this rank's of the root's objects."""
        c, root = self._collective(), self._checked_root(root)
        if c.rank != root:
            return c.recv(None, root, _SCATTER)
        objects = _one_for_each(sendobj, c.size)
        for dest, obj in enumerate(objects):
            if dest != root:
                c.send(obj, dest, _SCATTER)
        return unpacked(packed(objects[root]))

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return the objects of all ranks."""
        return allgather_objects(self._collective(), sendobj)

    def alltoall(self, sendobj: Sequence[Any]) -> list[Any]:
        """Return what each rank has for this one."""
        c = self._collective()
        return exchanged(c, _one_for_each(sendobj, c.size))

    def reduce(self, sendobj: Any, op: Combine = SUM, root: int = 0) -> Any:
        """Return the reduction of the objects of all ranks on the root, None elsewhere."""
        c, op, root = self._collective(), _callable(op), self._checked_root(root)
        if not goes_along_trees():
            return reduced_in_order(c, sendobj, op, c.size if c.rank == root else 0)
        return tree_reduce(c, sendobj, op, root)

    def allreduce(self, sendobj: Any, op: Combine = SUM) -> Any:
        """Return the reduction of the objects of all ranks."""
        c, op = self._collective(), _callable(op)
        if not goes_along_trees():
            return reduced_in_order(c, sendobj, op, c.size)
        return bcast_object(c, tree_reduce(c, sendobj, op, 0), 0)

    def _collective(self) -> Any:
        """Return the communicator of the ranks for collectives, or raise if there is none."""
        return self._object().hidden


def _one_for_each(objects: Any, size: int) -> list[Any]:
    found = list(objects) if objects is not None else [None] * size
    if len(found) != size:
        raise wrong(WrongValueError, f"{len(found)} objects", f"{size}, one for each rank", f"pass a list of {size}")
    return found


def _callable(op: Any) -> Any:
    if not callable(op):
        raise wrong(WrongTypeError, f"op {op!r:.60}", "an Op, or a function of two objects", "pass MPI.SUM")
    return op
