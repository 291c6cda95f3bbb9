"""`mpi4py.util.pool`: the pools of `multiprocessing`, whose tasks other ranks compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from itertools import chain, islice
from typing import Any, Self

__all__ = ["ApplyResult", "AsyncResult", "MapResult", "Pool", "ThreadPool"]


class AsyncResult:
    """A result that may be there later.

    futures:  They compute it.
    joined:   It makes the result of theirs.
    """

    def __init__(
        self, futures: Sequence[Future[Any]], joined: Callable[[list[Any]], Any],
        callback: Callable[[Any], Any] | None, error_callback: Callable[[BaseException], Any] | None,
    ) -> None:  # fmt: skip
        self._futures, self._joined = futures, joined
        self._callback, self._error_callback = callback, error_callback
        self._n_left = len(futures)
        for future in futures:
            future.add_done_callback(self._one_is_done)

    def _one_is_done(self, done: Future[Any]) -> None:
        self._n_left -= 1
        if self._n_left or any(future.cancelled() for future in self._futures):
            return
        problems = [problem for future in self._futures if (problem := future.exception()) is not None]
        if problems and self._error_callback is not None:
            self._error_callback(problems[0])
        if not problems and self._callback is not None:
            self._callback(self._joined([future.result() for future in self._futures]))

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise what the task raised; TimeoutError if there is none in time."""
        self.wait(timeout)
        if not self.ready() or any(future.cancelled() for future in self._futures):
            raise TimeoutError(f"pool: got no result after {timeout} s, expected one; remedy: wait longer")
        return self._joined([future.result() for future in self._futures])

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there."""
        wait([future for future in self._futures if not future.cancelled()], timeout)  # nobody notifies of the others

    def ready(self) -> bool:
        """Return whether the result is there."""
        return all(future.done() for future in self._futures)

    def successful(self) -> bool:
        """Return whether no task raised; ValueError if they are not done."""
        if not self.ready():
            raise ValueError("pool: got a result that is not ready, expected one that is; remedy: wait for it")
        return not any(future.cancelled() or future.exception() for future in self._futures)


ApplyResult = MapResult = AsyncResult


class Pool:
    """Workers that compute tasks; `with` closes it, and waits for them."""

    def __init__(
        self, processes: int | None = None, initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (), **options: Any,
    ) -> None:  # fmt: skip
        if processes is not None and processes < 1:
            raise ValueError(f"Pool: got {processes} processes, expected 1 or more; remedy: correct the number")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"Pool: got initializer={initializer!r:.40}, expected a function; remedy: pass one")
        for name in ("maxtasksperchild", "context"):
            if options.pop(name, None) is not None:
                warnings.warn(f"Pool: got {name}, which is not used", UserWarning, stacklevel=2)
        self._n_workers = processes or 4
        self.executor = self._executor(processes, initializer=initializer, initargs=initargs, **options)

    @staticmethod
    def _executor(processes: int | None, **options: Any) -> Any:
        """Return what computes the tasks."""
        from mpi4py.futures import MPIPoolExecutor  # ours, by the name under which its classes pickle

        return MPIPoolExecutor(processes, **options)

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> Any:
        """Return func(*args, **kwds), which a worker computes."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None,
        callback: Any = None, error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Let a worker compute func(*args, **kwds)."""
        future = self.executor.submit(func, *args, **(kwds or {}))
        return AsyncResult([future], lambda results: results[0], callback, error_callback)

    def map(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return func(x) for all x."""
        return self.starmap(func, zip(iterable), chunksize)

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return func(*x) for all x."""
        found: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return found

    def map_async(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None, callback: Any = None,
        error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Let workers compute func(x) for all x."""
        return self.starmap_async(func, zip(iterable), chunksize, callback, error_callback)

    def starmap_async(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None, callback: Any = None,
        error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Let workers compute func(*x) for all x."""
        return AsyncResult(self._submit(func, iterable, chunksize), _chained, callback, error_callback)

    def imap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        """Yield func(x) for all x, in their order."""
        return self.istarmap(func, zip(iterable), chunksize)

    def imap_unordered(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        """Yield func(x) for all x as they are computed."""
        return self.istarmap_unordered(func, zip(iterable), chunksize)

    def istarmap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        """Yield func(*x) for all x, in their order."""
        futures = self._submit(func, iterable, chunksize)
        return (result for future in futures for result in future.result())

    def istarmap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Yield func(*x) for all x as they are computed."""
        futures = self._submit(func, iterable, chunksize)
        return (result for future in as_completed(futures) for result in future.result())

    def _submit(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None) -> list[Future[Any]]:
        """Give out tasks of several elements each; by default, each worker gets four."""
        if chunksize is None:
            iterable = list(iterable)
            chunksize = -(-len(iterable) // (4 * self._n_workers)) or 1
        elements = iter(iterable)
        return [self.executor.submit(_each, func, chunk) for chunk in iter(lambda: [*islice(elements, chunksize)], [])]

    def close(self) -> None:
        """Take no more tasks."""
        self.executor.shutdown(wait=False)

    def terminate(self) -> None:
        """Take no more tasks, and forget those that have not begun."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Wait for all tasks."""
        self.executor.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class ThreadPool(Pool):
    """Threads of this rank that compute tasks."""

    @staticmethod
    def _executor(processes: int | None, **options: Any) -> Any:
        """Return what computes the tasks."""
        return ThreadPoolExecutor(processes, **options)


def _each(func: Callable[..., Any], chunk: list[Any]) -> list[Any]:
    return [func(*args) for args in chunk]


def _chained(results: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(results))
