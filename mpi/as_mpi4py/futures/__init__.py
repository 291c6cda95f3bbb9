"""`mpi4py.futures`: tasks for other ranks. `python -m mpi -n 4 -m mpi4py.futures program.py` has three workers.

Without that, `MPIPoolExecutor` has no ranks to give tasks to, and computes each when it is submitted. A future is done
when somebody asks for it: the rank that asks waits for its result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    TimeoutError,
    as_completed,
    wait,
)
from contextvars import ContextVar
from typing import Any

from mpi.as_mpi4py import MPI

__all__ = [
    "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "BrokenExecutor", "CancelledError", "Executor", "Future",
    "InvalidStateError", "MPICommExecutor", "MPIPoolExecutor", "ProcessPoolExecutor", "ThreadPoolExecutor",
    "TimeoutError", "as_completed", "get_comm_workers", "wait",
]  # fmt: skip

_TASK, _ANSWER = 1, 2


class Workers:
    """The ranks of a communicator that compute tasks for one of them.

    idle:     They have nothing to do.
    busy:     They compute a task each, for this future.
    waiting:  These tasks have no worker yet.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.idle = deque(rank for rank in range(comm.size) if rank != comm.rank)
        self.busy: dict[int, _Future] = {}
        self.waiting: deque[tuple[_Future, Any]] = deque()

    def give(self, future: _Future, task: Any) -> None:
        """Let a worker compute a task, as soon as one is idle."""
        self.waiting.append((future, task))
        self._send()

    def call_on_all(self, function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        """Let every worker call a function; return whether none has raised."""
        self.finish()
        for worker in self.idle:
            self.comm.send((function, args, {}), dest=worker, tag=_TASK)
        answers = [self.comm.recv(source=worker, tag=_ANSWER) for worker in self.idle]
        return all(is_good for is_good, _ in answers)

    def take(self) -> None:
        """Wait for the next answer."""
        status = MPI.Status()
        is_good, value = self.comm.recv(source=MPI.ANY_SOURCE, tag=_ANSWER, status=status)
        worker = status.Get_source()
        self.busy.pop(worker).settle(is_good, value)
        self.idle.append(worker)
        self._send()

    def _send(self) -> None:
        while self.idle and self.waiting:
            future, task = self.waiting.popleft()
            if future.start():
                try:
                    self.comm.send(task, dest=self.idle[0], tag=_TASK)
                except Exception as problem:  # the task does not pickle
                    future.settle(False, problem)
                else:
                    self.busy[self.idle.popleft()] = future

    def finish(self) -> None:
        """Wait for all answers."""
        while self.busy:
            self.take()

    def stop(self) -> None:
        """Wait for all answers, and let the workers go on with something else."""
        self.finish()
        for worker in self.idle:
            self.comm.send(None, dest=worker, tag=_TASK)


def serve(comm: Any, root: int) -> None:
    """Compute the tasks that the root sends, until it sends None; all but the root call it."""
    team.set(comm.Create_group(comm.group.Excl([root])))
    while (task := comm.recv(source=root, tag=_TASK)) is not None:
        comm.send(_computed(*task), dest=root, tag=_ANSWER)


def _computed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except (Exception, SystemExit) as problem:
        return False, problem


# The workers of a program that `-m mpi4py.futures` runs; a rank sees its own.
pool: ContextVar[Workers | None] = ContextVar("pool", default=None)
# The communicator of all workers, on each of them.
team: ContextVar[Any] = ContextVar("team", default=None)


class _Future(Future[Any]):
    """A future that takes answers of workers when somebody looks at it."""

    _workers: Workers | None = None
    _now = "PENDING"

    @property
    def _state(self) -> str:  # what all of concurrent.futures looks at
        while self._workers is not None and self._now in ("PENDING", "RUNNING") and self._workers.busy:
            self._workers.take()
        return self._now

    @_state.setter
    def _state(self, value: str) -> None:
        self._now = value

    def start(self) -> bool:
        """Return whether the task is to be computed: it was not cancelled."""
        workers, self._workers = self._workers, None
        try:
            return self.set_running_or_notify_cancel()
        finally:
            self._workers = workers

    def settle(self, is_good: bool, value: Any) -> None:
        """Take the result, or what was raised."""
        self._workers = None
        if is_good:
            self.set_result(value)
        else:
            self.set_exception(value)


class MPIPoolExecutor(Executor):
    """An executor whose tasks other ranks compute, or this one if there are none."""

    def __init__(
        self, max_workers: int | None = None, initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (), **options: Any,
    ) -> None:  # fmt: skip
        if max_workers is not None and int(max_workers) < 1:
            raise ValueError(f"MPIPoolExecutor: got max_workers={max_workers}, expected 1 or more; remedy: correct it")
        if initializer is not None and not callable(initializer):
            raise TypeError(
                f"MPIPoolExecutor: got initializer={initializer!r:.60}, expected a function; remedy: pass one"
            )
        self._workers: Workers | None = options.get("workers", pool.get())
        self._is_down = self._is_broken = False
        if initializer is not None:
            if self._workers is not None:
                self._is_broken = not self._workers.call_on_all(initializer, tuple(initargs))
            else:
                self._is_broken = not _computed(initializer, tuple(initargs), {})[0]

    @property
    def num_workers(self) -> int:
        """How many ranks compute tasks; 0 when it is shut down."""
        if self._is_down or self._is_broken:
            return 0
        return 1 if self._workers is None else self._workers.comm.size - 1

    def bootup(self, wait: bool = True) -> MPIPoolExecutor:
        """Return the executor: its workers are there."""
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a worker call fn(*args, **kwargs); return its future."""
        if self._is_broken:
            raise BrokenExecutor("the initializer has failed")
        if self._is_down:
            raise RuntimeError("cannot submit after shutdown")
        future = _Future()
        if self._workers is None:
            future.start()
            future.settle(*_computed(fn, args, kwargs))
        else:
            future._workers = self._workers
            self._workers.give(future, (fn, args, kwargs))
        return future

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1,
        unordered: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """Return the results of fn for the elements of the iterables, in their order or as they come."""
        return self.starmap(fn, zip(*iterables, strict=False), timeout, chunksize, unordered)

    def starmap(
        self, fn: Callable[..., Any], iterable: Iterable[Any], timeout: float | None = None, chunksize: int = 1,
        unordered: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """Return the results of fn(*args) for each args of the iterable."""
        futures = [self.submit(fn, *args) for args in iterable]
        return (future.result() for future in (as_completed(futures) if unordered else futures))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all results; take no more tasks."""
        self._is_down = True
        if self._workers is not None:
            if cancel_futures:
                for future, _ in self._workers.waiting:
                    future._workers = None
                    future.cancel()
            self._workers.finish()


class ThreadPoolExecutor(MPIPoolExecutor):
    """The same executor: ranks are its workers, and no threads."""


class ProcessPoolExecutor(MPIPoolExecutor):
    """The same executor: no processes are started."""


class MPICommExecutor:
    """Gives the root an executor on the other ranks of a communicator; they get None when it is done."""

    def __init__(self, comm: Any = None, root: int = 0, **options: Any) -> None:
        self._comm, self._root, self._options = MPI.COMM_WORLD if comm is None else comm, root, options
        if self._comm.Is_inter() or not 0 <= root < self._comm.size:
            raise ValueError(
                f"MPICommExecutor: got root={root} in {self._comm.name}, expected a rank of a communicator of one "
                "group; remedy: pass an intracommunicator and one of its ranks"
            )
        self._executor: MPIPoolExecutor | None = None

    def __enter__(self) -> MPIPoolExecutor | None:
        if pool.get() is not None:  # the program has workers, which do not come here
            self._executor = MPIPoolExecutor(**self._options)
            return self._executor
        comm = self._comm.Dup()
        if comm.rank != self._root:
            serve(comm, self._root)
            return None
        workers = Workers(comm) if comm.size > 1 else None
        self._executor = MPIPoolExecutor(workers=workers, **self._options)
        return self._executor

    def __exit__(self, *exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            if self._executor._workers not in (None, pool.get()):
                self._executor._workers.stop()


def get_comm_workers() -> Any:
    """Return the communicator of all workers, on one of them; a rank that computes its own tasks is alone."""
    return team.get() or MPI.COMM_SELF
