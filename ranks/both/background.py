"""Operations in the background: a function of a communicator, started now and waited for later, simulated or real.

The function runs unchanged in a greenlet of its own. Blocking calls of its communicator post their messages, and return
control to the rank until the messages are complete. The rank's own greenlet makes all real calls. It makes progress for
everything that it has started in `start`, `Wait` and `Test`, so ranks may wait in different orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Literal

from greenlet import getcurrent, greenlet

from ranks.both.background_comm import Posted, background_comm, tag_block
from ranks.both.kept import kept
from ranks.comm.communicator import Comm, announce
from ranks.words.callsite import current_call
from ranks.words.constants import behind, mpi_of
from ranks.words.errors import InvalidHandleError


def start(operation: Callable[..., Any], comm: Any, *args: Any, **kwargs: Any) -> Started:
    """Begin `operation(comm, *args, **kwargs)` and return a request for its result.

        ranks.run(lambda comm: start(ring_allreduce, comm, np.array([comm.rank + 1])).wait(), 3).results
        # [array([6]), array([6]), array([6])]

    Operation: any function whose only calls of `comm` are sends and receives of buffers with tags below 32,768,
             and waits for them. Its buffers must be left alone until the request is complete.
    Order:   all ranks start operations of a communicator in the same order, among its other collectives too; they may
             wait for them in any order.
    Progress: is made in start, Wait and Test, for all operations that this rank has started, and nowhere else.
    Raises:  what the operation raises: at once if it fails before its first wait, else in Wait or Test;
             UnfinishedRequestError at the end of a simulated run if nobody waited.
    """
    if not callable(operation):
        raise TypeError(f"start: got operation={operation!r}, expected a function of comm; remedy: pass the function")
    if isinstance(getcurrent(), _Background):
        raise TypeError(
            "start: got a call in the background, expected one by the rank; remedy: call the function directly"
        )
    mine = unfinished(getcurrent())
    started = Started(operation, comm, args, kwargs)
    if any(other._shift == started._shift and other._comm == comm for other in mine):
        raise RuntimeError(
            f"start: got {len(mine)} operations under way, expected fewer, so that their tags can "
            "differ; remedy: Wait for some"
        )
    mine.append(started)
    started._go_on(started._greenlet.switch)
    if started._problem is not None:
        started.wait()
    return started


def unfinished(rank: greenlet | None) -> list[Started]:
    """Return the operations that a rank, that is the greenlet that called `start`, has not yet completed."""
    started: list[Started] = [] if rank is None else vars(rank).setdefault("started", [])
    return started


class _Background(greenlet):
    """The thread of control of an operation in the background."""


class Started:
    """The request of an operation in the background, spelled as mpi4py's. False once it is complete."""

    def __init__(self, operation: Callable[..., Any], comm: Any, args: Any, kwargs: Any) -> None:
        self._name = getattr(operation, "__name__", repr(operation))
        comm = behind(comm)
        self._comm, self._mpi = comm, mpi_of(comm)
        self._pending: list[Posted] = []
        self._ended = self._waited = False
        self._result: Any = None
        self._problem: Exception | None = None
        self._where = current_call().where if isinstance(comm, Comm) else ""
        number = next(kept(comm, start, count))
        self._shift = tag_block(comm, number)
        mine = background_comm(comm, number)

        def body() -> Any:
            announce(mine, "start", operation=self._name)
            mine._shift = self._shift
            return operation(mine, *args, **kwargs)

        self._greenlet = _Background(body)

    def __bool__(self) -> bool:
        return not self._waited

    def __repr__(self) -> str:
        return f"<{'complete' if self._waited else 'active'} request of {self._name}>"

    def Wait(self) -> Literal[True]:
        """Wait until the operation is complete."""
        self.wait()
        return True

    def wait(self) -> Any:
        """Wait until the operation is complete, and return its result."""
        self._check_owner()
        while not self._ended:
            running = [each for each in unfinished(getcurrent()) if not each._ended]
            pending = [posted for each in running for posted in each._pending]
            if len(running) == 1:
                self._finish_all(pending)
            else:
                status = self._mpi.Status()
                pending[self._mpi.Request.Waitany([posted.request for posted in pending], status)].note(status)
            _advance(running)
        return self._finish()

    def _wait_with(self, requests: Sequence[Any], statuses: list[Any] | None) -> list[Any]:
        """Wait for all of some requests, of which this is one; return their results and objects, as Waitall does.

        While it waits for one, all others make progress too.
        """
        found = list(statuses or ()) + [self._mpi.Status() for _ in range(len(requests) - len(statuses or ()))]
        objects: dict[int, Any] = {}
        started = [each for each in requests if isinstance(each, Started)]
        plain = [index for index, each in enumerate(requests) if not isinstance(each, Started) and each]
        for each in started:
            each._check_owner()
        while not all(each._ended for each in started):
            running = [each for each in unfinished(getcurrent()) if not each._ended]
            pending = [posted for each in running for posted in each._pending]
            others = [index for index in plain if index not in objects]
            status = self._mpi.Status()
            waiting = [posted.request for posted in pending] + [requests[index] for index in others]
            place, got = self._mpi.Request.waitany(waiting, status)
            if place < len(pending):
                pending[place].note(status)
                _advance(running)
            else:
                index = others[place - len(pending)]
                objects[index], found[index] = got, status
        if statuses is not None:
            statuses[:] = found
        for index, each in enumerate(requests):
            if index not in objects:
                objects[index] = each.wait() if isinstance(each, Started) else each.wait(found[index])
        return [objects[index] for index in range(len(requests))]

    def Test(self) -> bool:
        """Make progress, and return whether the operation is complete."""
        return self.test()[0]

    def test(self) -> tuple[bool, Any]:
        """Make progress, and return (True, the result) if the operation is complete, else (False, None)."""
        self._check_owner()
        while not self._ended:
            running = [each for each in unfinished(getcurrent()) if not each._ended]
            pending = [posted for each in running for posted in each._pending]
            statuses: list[Any] = []
            complete = self._mpi.Request.Testsome([posted.request for posted in pending], statuses)
            if not complete:
                return False, None
            for index, status in zip(complete, statuses, strict=False):
                pending[index].note(status)
            _advance(running)
        return True, self._finish()

    def _check_owner(self) -> None:
        if not self._waited and self not in unfinished(getcurrent()):
            raise InvalidHandleError(
                None, f"Wait or Test for {self._name}", got="a request that another rank or thread has started",
                expected="one of the caller's own", remedy="wait where the operation was started",
            )  # fmt: skip

    def _finish(self) -> Any:
        """Return the result or raise the error, the first time only: as in MPI, waiting again returns nothing."""
        if self._waited:
            return None
        self._waited = True
        unfinished(getcurrent()).remove(self)
        result, problem = self._result, self._problem
        self._result = self._problem = None
        if problem is not None:
            raise problem
        return result

    def close(self) -> None:
        """End the operation where it waits; its `finally` blocks run."""
        self._greenlet.throw()

    def _go_on(self, resume: Callable[[], Any]) -> None:
        """Let the operation run until it waits for messages that are not complete, or ends.

        It asks for two things: a function to be called, or a list of requests to be waited for.
        """
        while True:
            try:
                asked = resume()
            except Exception as problem:
                self._ended, self._problem = True, problem
                return
            if self._greenlet.dead:
                self._ended, self._result = True, asked
                return
            if callable(asked):
                resume = self._answer(asked)
                continue
            self._pending = [posted for posted in asked if posted]
            if not self._finish_what_is_sent():
                return
            resume = self._greenlet.switch

    def _answer(self, asked: Callable[[], Any]) -> Callable[[], Any]:
        try:
            return partial(self._greenlet.switch, asked())
        except Exception as problem:
            return partial(self._greenlet.throw, problem)

    def _finish_what_is_sent(self) -> bool:
        """Finish what is pending, and return True, if it was complete at once.

        On simulated ranks only sends are looked at: a Test alone can tell whether a message has arrived by now, and a
        Test takes time.
        """
        if isinstance(self._comm, Comm):
            are_sent = all(map(_is_sent, self._pending))
            if are_sent:
                self._finish_all(self._pending)
            return are_sent
        statuses: list[Any] = []
        complete = bool(self._mpi.Request.Testall([posted.request for posted in self._pending], statuses))
        if complete:
            _note_all(self._pending, statuses)
        return complete

    def _finish_all(self, pending: list[Posted]) -> None:
        statuses: list[Any] = []
        self._mpi.Request.Waitall([posted.request for posted in pending], statuses)
        _note_all(pending, statuses)


def _note_all(pending: list[Posted], statuses: list[Any]) -> None:
    for posted, status in zip(pending, statuses, strict=False):
        posted.note(status)


def _is_sent(posted: Posted) -> bool:
    operation = posted.request._operation
    if operation is None or operation.what != "send" or operation.ready_ps is None:
        return operation is None
    return bool(operation.ready_ps <= operation.state.now)


def _advance(running: list[Started]) -> None:
    """Let those operations go on that have nothing left to wait for."""
    for each in running:
        each._pending = [posted for posted in each._pending if posted]
        if not each._pending:
            each._go_on(each._greenlet.switch)
