"""Work beside a rank's program: nonblocking collectives, which progress by themselves on a clock of their own.

A worker begins at the time of the call. It sends, receives and reduces as the rank would; when it is done, the
operation is complete at the worker's time, whatever the rank has done meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi.requests import Prequest, Request
from mpi.status import Status
from mpi.universe import beside
from ranks.engine.rank import ALL
from ranks.messages.message import TRAFFIC_SHIFT
from ranks.messages.operation import Operation, Work

# A worker's messages are numbered from a multiple of 2**32 on, in the rank's count of messages.
_APART = 1 << (TRAFFIC_SHIFT + 32)


def post(shared: Any, call: str, plan: Callable[[Any], Any]) -> Operation:
    """Begin a collective beside the program, and return its operation.

    shared: what stands behind the communicator. plan: what runs, given the communicator that it is to use.
    """
    c = shared.c
    c._check_usable()
    number = shared.n_begun = shared.n_begun + 1
    state, communicators = shared.worker(number)
    owner = c._state
    _begin(state, owner)
    work = Work(call, owner, c._box, state)
    c._open(work)

    def body(state: Any) -> None:
        plan(communicators())
        _finish(work)

    owner.scheduler.begin_beside(state, body)
    return work


def post_both(c: Any, sent: Operation, received: Operation) -> Operation:
    """Return an operation that is complete when a send and a receive are, which the rank has just posted."""
    owner = c._state
    state = beside(owner)
    _begin(state, owner)
    work = Work("Isendrecv", owner, c._box, state)
    for operation in (sent, received):
        del owner.open[operation]
        operation.state = state
    twin = type(c)(c._transport, state, c._context, c.rank)
    twin._box = c._box
    owner.scheduler.begin_beside(state, lambda state: _await(twin, (sent, received), work))
    c._open(work)
    return work


def _await(c: Any, posted: tuple[Operation, Operation], work: Work) -> None:
    state = work.beside
    for operation in posted:
        if operation.ready_ps is None:
            operation.waiting = ALL
            state.scheduler.park_for(state, posted)
    status = Status()
    c._settle(posted[0], None)
    c._settle(posted[1], status)
    work.found = status.source, status.tag, status.n_bytes
    _finish(work)


def _begin(state: Any, owner: Any) -> None:
    """Let a worker begin at the time of its rank, and number its messages as no other of the rank does."""
    state.local = mine = owner.local
    mine.n_workers += 1
    state.now, state.sent = owner.now, mine.n_workers * _APART


def _finish(work: Work) -> None:
    """Let the work be complete at the time of the worker, whose messages count as the rank's."""
    state, owner = work.beside, work.state
    owner.sent += state.sent % _APART
    owner.received += state.received
    work.complete(state.now)


def begin(shared: Any, call: str, plan: Callable[[Any], Any]) -> Request:
    """Begin a collective beside the program, and return its request."""
    return Request._of(shared.c, post(shared, call, plan))


def prepare(shared: Any, call: str, plan: Callable[[Any], Any]) -> Prequest:
    """Return a persistent request that begins a collective at each Start."""
    return Prequest._to_post(shared.c, lambda: post(shared, call, plan))
