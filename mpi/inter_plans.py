"""The collectives of buffers between two groups; each function is like its namesake in `plans`.

One group has the root, which says ROOT, and the others of that group say PROC_NULL; the other group says its rank.
What runs gets `Both`: the way to the other group, and a communicator of the own group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import collectives
import ranks
from mpi.bridges import Both
from mpi.buffers import Blocks, each_its_own, simple, vector
from mpi.constants import PROC_NULL, ROOT
from mpi.errors import WrongValueError, wrong
from mpi.ops import Op
from mpi.plans import Array, _check_op, _receive_block, as_bytes

Plan = Callable[[Both], None]
_TAG = 3


def _nothing(both: Both) -> None:
    """Do nothing: this rank has no part in it."""


def barrier(c: Any) -> Plan:
    """Wait until all ranks of the other group have entered."""

    def run(both: Both) -> None:
        collectives.barrier(both.local)
        token = np.zeros(1, np.uint8)
        if both.local.rank == 0:
            both.inter.Sendrecv(token, 0, _TAG, token.copy(), 0, _TAG)
        collectives.broadcast(both.local, token, root=0)

    return run


def bcast(c: Any, buf: Any, root: int) -> Plan:
    """Give the root's buffer to all of the other group."""
    if root == PROC_NULL:
        return _nothing
    blocks = simple(buf, writable=root != ROOT)

    def run(both: Both) -> None:
        if root == ROOT:
            both.inter.Send(as_bytes(blocks.packed()), 0, _TAG)
            return
        data = np.empty(blocks.sizes()[0], np.uint8)
        if both.local.rank == 0:
            both.inter.Recv(data, root, _TAG)
        blocks.place(collectives.broadcast(both.local, data, root=0))

    return run


def _gather(received: Callable[[], Blocks], sendbuf: Any, root: int) -> Plan:
    if root == PROC_NULL:
        return _nothing
    if root == ROOT:
        into = received()

        def receive(both: Both) -> None:
            for source in range(both.inter.size):
                _receive_block(both.inter, into, source, _TAG)

        return receive
    sent = simple(sendbuf, writable=False)
    return lambda both: both.inter.Send(as_bytes(sent.packed()), root, _TAG)


def gather(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Collect equal blocks of the other group on the root."""
    return _gather(lambda: simple(recvbuf, c.size, writable=True), sendbuf, root)


def gatherv(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Collect blocks of the other group, of any sizes, on the root."""
    return _gather(lambda: vector(recvbuf, c.size, writable=True), sendbuf, root)


def _scatter(sent: Callable[[], Blocks], recvbuf: Any, root: int) -> Plan:
    if root == PROC_NULL:
        return _nothing
    if root == ROOT:
        blocks = sent()

        def send(both: Both) -> None:
            for dest in range(both.inter.size):
                both.inter.Send(as_bytes(blocks.packed(dest)), dest, _TAG)

        return send
    received = simple(recvbuf, writable=True)
    return lambda both: _receive_block(both.inter, received, root, _TAG, block=0)


def scatter(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Give each rank of the other group its block of the root's buffer; all are equal."""
    return _scatter(lambda: simple(sendbuf, c.size, writable=False), recvbuf, root)


def scatterv(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Give each rank of the other group its block of the root's buffer, of any size."""
    return _scatter(lambda: vector(sendbuf, c.size, writable=False), recvbuf, root)


def _exchange(leaving: Sequence[Any], arriving: Sequence[Any]) -> Plan:
    """Send a block to each rank of the other group, and receive one from each."""

    def run(both: Both) -> None:
        requests = []
        for source, (blocks, block) in enumerate(arriving):
            piece = blocks.piece(block)
            if isinstance(piece, np.ndarray):
                piece = as_bytes(piece)
            else:
                piece.dtype = np.dtype(np.uint8)
            requests.append(both.inter.Irecv(piece, source, _TAG))
        for dest, (blocks, block) in enumerate(leaving):
            requests.append(both.inter.Isend(as_bytes(blocks.packed(block)), dest, _TAG))
        ranks.Request.Waitall(requests)

    return run


def _each(blocks: Blocks) -> list[Any]:
    return [(blocks, block) for block in range(len(blocks))]


def allgather(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Collect equal blocks of the other group on all ranks."""
    return _exchange([(simple(sendbuf, writable=False), 0)] * c.size, _each(simple(recvbuf, c.size, writable=True)))


def allgatherv(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Collect blocks of the other group, of any sizes, on all ranks."""
    return _exchange([(simple(sendbuf, writable=False), 0)] * c.size, _each(vector(recvbuf, c.size, writable=True)))


def alltoall(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange equal blocks with all ranks of the other group."""
    return _exchange(_each(simple(sendbuf, c.size, writable=False)), _each(simple(recvbuf, c.size, writable=True)))


def alltoallv(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange blocks of any sizes with all ranks of the other group."""
    return _exchange(_each(vector(sendbuf, c.size, writable=False)), _each(vector(recvbuf, c.size, writable=True)))


def alltoallw(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange blocks of any sizes and datatypes with all ranks of the other group."""
    received, sent = each_its_own(recvbuf, c.size, writable=True), each_its_own(sendbuf, c.size, writable=False)
    return _exchange([(block, 0) for block in sent], [(block, 0) for block in received])


# -- reductions --------------------------------------------------------------------------------------------------------


def reduce(c: Any, sendbuf: Any, recvbuf: Any, op: Op, root: int) -> Plan:
    """Reduce the buffers of the other group to the root's."""
    _check_op(op)
    if root == PROC_NULL:
        return _nothing
    if root == ROOT:
        received = simple(recvbuf, writable=True)
        return lambda both: _receive_block(both.inter, received, 0, _TAG, block=0)
    sent = simple(sendbuf, writable=False)
    function, _ = op._on(sent)

    def run(both: Both) -> None:
        got = collectives.reduce(both.local, op._on(sent)[1], function, root=0)
        if got is not None:
            both.inter.Send(as_bytes(got), root, _TAG)

    return run


def _swapped(both: Both, mine: Array | None) -> Array | None:
    """Return on rank 0 what rank 0 of the other group has; the sizes may differ."""
    if mine is None:
        return None
    size, theirs = np.array([mine.nbytes]), np.zeros(1, np.int64)
    both.inter.Sendrecv(size, 0, _TAG, theirs, 0, _TAG)
    came = np.empty(int(theirs[0]), np.uint8)
    both.inter.Sendrecv(as_bytes(mine), 0, _TAG, came, 0, _TAG)
    return came


def allreduce(c: Any, sendbuf: Any, recvbuf: Any, op: Op) -> Plan:
    """Reduce the buffers of the other group, and give the result to all of this one."""
    _check_op(op)
    sent, received = simple(sendbuf, writable=False), simple(recvbuf, writable=True)
    function, _ = op._on(sent)

    def run(both: Both) -> None:
        came = _swapped(both, collectives.reduce(both.local, op._on(sent)[1], function, root=0))
        data = np.empty(received.sizes()[0], np.uint8) if came is None else came
        received.place(collectives.broadcast(both.local, data, root=0))

    return run


def _scattered(sent: Blocks, received: Blocks, counts: list[int], op: Op) -> Plan:
    function, _ = op._on(sent)

    def run(both: Both) -> None:
        came = _swapped(both, collectives.reduce(both.local, op._on(sent)[1], function, root=0))
        sizes = [count * received.layout.size for count in counts]
        out = np.empty(sizes[both.local.rank], np.uint8) if came is None else None
        received.place(collectives.scatter(both.local, came, root=0, counts=sizes, out=out))

    return run


def reduce_scatter_block(c: Any, sendbuf: Any, recvbuf: Any, op: Op) -> Plan:
    """Reduce the buffers of the other group, and give each rank of this one its block; all are equal."""
    _check_op(op)
    sent, received = simple(sendbuf, writable=False), simple(recvbuf, writable=True)
    n = len(c._members())
    if sum(sent.counts) % n:
        raise wrong(WrongValueError, f"{sum(sent.counts)} elements", f"a multiple of {n}", "give each rank as many")
    return _scattered(sent, received, [received.counts[0]] * n, op)


def reduce_scatter(c: Any, sendbuf: Any, recvbuf: Any, recvcounts: Any, op: Op) -> Plan:
    """Reduce the buffers of the other group, and give each rank of this one its block, of any size."""
    _check_op(op)
    sent, received = simple(sendbuf, writable=False), simple(recvbuf, writable=True)
    n = len(c._members())
    counts = [received.counts[0]] * n if recvcounts is None else [int(count) for count in recvcounts]
    if len(counts) != n:
        raise wrong(WrongValueError, f"{len(counts)} recvcounts", f"{n}", "give one for each rank of the own group")
    return _scattered(sent, received, counts, op)
