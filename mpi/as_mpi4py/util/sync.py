"""`mpi4py.util.sync`: ranks that take turns, count together, and wait for one another.

Mutex and Condition rest on the locks of a window, which rank 0 keeps: they are given in the order of asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from mpi.as_mpi4py import MPI
from mpi.memory import EMPTY
from mpi.universe import universe

__all__ = ["Condition", "Counter", "Mutex", "Semaphore", "Sequential"]
_NOTHING = [bytearray(), 0, MPI.BYTE]


class _Context:
    """What `with` acquires and releases."""

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def acquire(self, blocking: bool = True) -> bool:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError


class Sequential:
    """Ranks enter one after the other, in their order."""

    def __init__(self, comm: Any, tag: int = 0) -> None:
        self.comm, self.tag = comm, int(tag)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def begin(self) -> None:
        """Wait until the rank before has come to its end."""
        if self.comm.rank:
            self.comm.Recv(_NOTHING, self.comm.rank - 1, self.tag)

    def end(self) -> None:
        """Let the next rank begin."""
        if self.comm.rank < self.comm.size - 1:
            self.comm.Send(_NOTHING, self.comm.rank + 1, self.tag)


class Counter:
    """A number of the root that all ranks count on."""

    def __init__(
        self, start: float = 0, step: float = 1, *, typecode: str = "i", comm: Any = MPI.COMM_SELF,
        info: Any = None, root: int = 0,
    ) -> None:  # fmt: skip
        datatype = MPI.Datatype.fromcode(typecode)
        self._start, self._step, self._root = start, step, root
        self._dtype = np.dtype(datatype.typechar)
        self._window: Any = MPI.Win.Allocate(datatype.size if comm.rank == root else 0, datatype.size, info, comm)
        if comm.rank == root:
            np.frombuffer(self._window, self._dtype)[:] = start
        comm.Barrier()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, incr: float | None = None) -> Any:
        """Return the number, and add `incr` or the step to it."""
        _check(self._window, "counter")
        step = np.array([self._step if incr is None else incr], self._dtype)
        before = np.zeros(1, self._dtype)
        self._window.Lock(self._root, MPI.LOCK_SHARED)
        self._window.Fetch_and_op(step, before, self._root)
        self._window.Unlock(self._root)
        return before[0].item()

    def free(self) -> None:
        """Let go of the counter; all ranks call it."""
        window, self._window = self._window, MPI.WIN_NULL
        window.free()


class Mutex(_Context):
    """What one rank at a time may hold, several times over if it is recursive."""

    def __init__(self, *, recursive: bool = False, comm: Any = MPI.COMM_SELF, info: Any = None) -> None:
        self._recursive, self._held, self._comm = recursive, 0, comm
        self._window: Any = MPI.Win.Allocate(0, 1, info, comm)

    def acquire(self, blocking: bool = True) -> bool:
        """Wait until the rank holds it, or return False if another does and `blocking` is false."""
        if self.locked() and not self._recursive:
            raise RuntimeError("mutex: got an acquire by the rank that holds it, expected one; remedy: recursive=True")
        if not self._held and not self._window._acquires(0, blocking=blocking):
            return False
        self._held += 1
        return True

    def release(self) -> None:
        """Let go of it."""
        if not self.locked():
            raise RuntimeError("mutex: got a release, expected an acquire before; remedy: acquire it first")
        self._held -= 1
        if not self._held:
            self._window.Unlock(0)

    def locked(self) -> bool:
        """Return whether the rank holds it."""
        return self.count() > 0

    def count(self) -> int:
        """Return how many times the rank holds it."""
        _check(self._window, "mutex")
        return self._held

    def free(self) -> None:
        """Let go of it for good; all ranks call this."""
        if self._window and self._held:
            self._release_all()
        window, self._window = self._window, MPI.WIN_NULL
        window.free()

    def _release_all(self) -> int:
        held, self._held = self._held, 1
        self.release()
        return held


class Condition(_Context):
    """Ranks that hold a mutex, and wait until another one notifies them."""

    def __init__(
        self, mutex: Mutex | None = None, *, recursive: bool = True, comm: Any = MPI.COMM_SELF, info: Any = None
    ) -> None:
        self._mutex = Mutex(recursive=recursive, comm=comm, info=info) if mutex is None else mutex
        self._owns_mutex = mutex is None
        self._comm: Any = self._mutex._comm.Dup()
        c = self._comm._c
        # Who holds the mutex may use this, so ranks need no message to agree about it.
        self._waiting: deque[int] = universe(c).fetch(("condition", c._context), c.size, deque)

    def acquire(self, blocking: bool = True) -> bool:
        """Acquire the mutex."""
        _check(self._comm, "condition")
        return self._mutex.acquire(blocking)

    def release(self) -> None:
        """Release the mutex."""
        _check(self._comm, "condition")
        self._mutex.release()

    def locked(self) -> bool:
        """Return whether the rank holds the mutex."""
        return self._mutex.locked()

    def wait(self) -> bool:
        """Release the mutex, wait until a rank notifies this one, and acquire it again; return True."""
        self._check_held("wait")
        self._waiting.append(self._comm.rank)
        held = self._mutex._release_all()
        self._comm.Recv(_NOTHING, MPI.ANY_SOURCE)
        self._mutex.acquire()
        self._mutex._held = held
        return True

    def wait_for(self, predicate: Callable[[], Any]) -> Any:
        """Wait until the predicate is true, and return what it returns."""
        while not (found := predicate()):
            self.wait()
        return found

    def notify(self, n: int = 1) -> int:
        """Wake up to n ranks that wait, and return how many."""
        self._check_held("notify")
        woken = [self._waiting.popleft() for _ in range(min(n, len(self._waiting)))]
        for rank in woken:
            self._comm._c.Bsend(EMPTY, rank)
        return len(woken)

    def notify_all(self) -> int:
        """Wake all ranks that wait, and return how many."""
        return self.notify(self._comm.size)

    def free(self) -> None:
        """Let go of it for good; all ranks call this."""
        if self._mutex._window and self._mutex.locked():
            self._mutex._release_all()
        if self._owns_mutex:
            self._mutex.free()
        self._comm.free()

    def _check_held(self, call: str) -> None:
        _check(self._comm, "condition")
        if not self.locked():
            raise RuntimeError(f"condition: got {call}, expected an acquire before; remedy: use it inside of `with`")


class Semaphore(_Context):
    """As many ranks as its value may hold it at a time."""

    def __init__(self, value: int = 1, *, bounded: bool = True, comm: Any = MPI.COMM_SELF, info: Any = None) -> None:
        if value < 0:
            raise ValueError(f"semaphore: got the value {value}, expected 0 or more; remedy: correct it")
        self._most, self._bounded = value, bool(bounded)
        self._counter = Counter(value, comm=comm, info=info)
        self._condition = Condition(recursive=False, comm=comm, info=info)

    def acquire(self, blocking: bool = True) -> bool:
        """Wait until the rank holds it, or return False if it cannot and `blocking` is false."""
        with self._condition:
            while not self._counter.next(0):
                if not blocking:
                    return False
                self._condition.wait()
            self._counter.next(-1)
            return True

    def release(self, n: int = 1) -> None:
        """Let n more ranks hold it."""
        if n < 1:
            raise ValueError(f"semaphore: got a release of {n}, expected 1 or more; remedy: correct it")
        with self._condition:
            if self._bounded and self._counter.next(0) + n > self._most:
                raise ValueError(f"semaphore: got more releases than acquires, expected at most {self._most} in all")
            self._counter.next(n)
            self._condition.notify(n)

    def free(self) -> None:
        """Let go of it for good; all ranks call this."""
        self._counter.free()
        self._condition.free()


def _check(handle: Any, what: str) -> None:
    if not handle:
        raise RuntimeError(f"{what}: got a call after free, expected none; remedy: free it last")
