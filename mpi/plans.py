"""The collectives of buffers: each function reads its arguments and returns what then runs on a communicator.

So one function serves the blocking, the nonblocking and the persistent call. What runs is an algorithm of
`collectives`, which its cost model has chosen; blocks travel packed, as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import collectives
from mpi.buffers import Blocks, check_apart, each_its_own, simple, vector
from mpi.constants import InPlaceType
from mpi.errors import ERR_OP, WrongValueError, wrong
from mpi.ops import Op, check_alike

Array = NDArray[Any]
Plan = Callable[[Any], None]

_GATHERV, _SCATTERV = 1, 2


def in_place(spec: Any) -> bool:
    """Return whether a rank's own part is where the result goes."""
    return spec is None or isinstance(spec, InPlaceType)


def as_bytes(array: Array) -> Array:
    """Return packed elements as bytes."""
    return array.reshape(-1).view(np.uint8)


def barrier(c: Any) -> Plan:
    """Wait until all ranks have entered."""
    return collectives.barrier


def bcast(c: Any, buf: Any, root: int) -> Plan:
    """Give the root's buffer to all."""
    blocks = simple(buf, writable=c.rank != root)

    def run(c: Any) -> None:
        x = as_bytes(blocks.packed())
        collectives.broadcast(c, x, root=root, out=None if c.rank == root else x)
        if c.rank != root and not blocks.layout.is_flat:
            blocks.place(x)

    return run


# -- gathering and scattering ------------------------------------------------------------------------------------------


def gather(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Collect equal blocks on the root."""
    received = simple(recvbuf, c.size, writable=True) if c.rank == root else None
    sent = _own(sendbuf, received, c.rank)

    def run(c: Any) -> None:
        got = collectives.gather(c, as_bytes(sent()), root=root)
        if received is not None:
            _place(received, got)

    return run


def gatherv(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Collect blocks of any sizes on the root, which alone knows them: one message from each rank."""
    received = vector(recvbuf, c.size, writable=True) if c.rank == root else None
    sent = _own(sendbuf, received, c.rank)

    def run(c: Any) -> None:
        if received is None:
            c.Send(as_bytes(sent()), root, _GATHERV)
            return
        if not in_place(sendbuf):
            received.place(sent(), root)
        for source in range(c.size):
            if source != root:
                _receive_block(c, received, source, _GATHERV)

    return run


def scatter(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Give each rank its block of the root's buffer; all are equal."""
    sent = simple(sendbuf, c.size, writable=False) if c.rank == root else None
    received = None if c.rank == root and in_place(recvbuf) else simple(recvbuf, writable=True)
    if sent is not None and received is not None:
        check_apart(received, sent, root)

    def run(c: Any) -> None:
        if sent is not None:
            whole = as_bytes(sent.joined()).reshape(c.size, -1)
            got = collectives.scatter(c, whole, root=root)
        else:
            assert received is not None
            got = collectives.scatter(c, None, root=root, out=np.empty(received.sizes()[0], np.uint8))
        if received is not None:
            received.place(got)

    return run


def scatterv(c: Any, sendbuf: Any, recvbuf: Any, root: int) -> Plan:
    """Give each rank its block of the root's buffer, of a size that the root alone knows: one message to each rank."""
    sent = vector(sendbuf, c.size, writable=False) if c.rank == root else None
    received = None if c.rank == root and in_place(recvbuf) else simple(recvbuf, writable=True)
    if sent is not None and received is not None:
        check_apart(received, sent, root)

    def run(c: Any) -> None:
        if sent is None:
            assert received is not None
            _receive_block(c, received, root, _SCATTERV, block=0)
            return
        for dest in range(c.size):
            if dest != root:
                c.Send(as_bytes(sent.packed(dest)), dest, _SCATTERV)
        if received is not None:
            received.place(sent.packed(root))

    return run


def _receive_block(c: Any, received: Blocks, source: int, tag: int, block: int | None = None) -> None:
    """Receive a block, of at most its size, and put it in its place."""
    place = source if block is None else block
    piece = received.piece(place)
    if isinstance(piece, np.ndarray):
        c.Recv(as_bytes(piece), source, tag)
    else:
        piece.dtype = np.dtype(np.uint8)
        c.Recv(piece, source, tag)


def allgather(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Collect equal blocks on all ranks."""
    received = simple(recvbuf, c.size, writable=True)
    sent = _own(sendbuf, received, c.rank)
    return lambda c: _place(received, collectives.allgather(c, as_bytes(sent()).copy()))


def allgatherv(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Collect blocks of any sizes on all ranks, which all know them."""
    received = vector(recvbuf, c.size, writable=True)
    sent = _own(sendbuf, received, c.rank)
    if not in_place(sendbuf):
        n_bytes, expected = sum(simple(sendbuf, writable=False).sizes()), received.sizes()[c.rank]
        if n_bytes != expected:
            raise wrong(
                WrongValueError, f"{n_bytes} B to send, and {expected} B of rank {c.rank} to receive", "the same",
                "give all ranks the counts of what each of them sends",
            )  # fmt: skip

    def run(c: Any) -> None:
        received.place_all(collectives.allgather(c, as_bytes(sent()).copy(), counts=received.sizes()))

    return run


def alltoall(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange equal blocks, one for each pair of ranks."""
    received = simple(recvbuf, c.size, writable=True)
    sent = received if in_place(sendbuf) else simple(sendbuf, c.size, writable=False)
    check_apart(sent, received)

    def run(c: Any) -> None:
        _place(received, collectives.alltoall(c, as_bytes(sent.joined()).copy().reshape(c.size, -1)))

    return run


def alltoallv(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange blocks of any sizes."""
    received = vector(recvbuf, c.size, writable=True)
    sent = received if in_place(sendbuf) else vector(sendbuf, c.size, writable=False)
    check_apart(sent, received)

    def run(c: Any) -> None:
        data = np.concatenate([as_bytes(sent.packed(block)) for block in range(c.size)])
        received.place_all(collectives.alltoallv(c, data, sent.sizes(), received.sizes()))

    return run


def alltoallw(c: Any, sendbuf: Any, recvbuf: Any) -> Plan:
    """Exchange blocks of any sizes and datatypes."""
    received = each_its_own(recvbuf, c.size, writable=True)
    sent = received if in_place(sendbuf) else each_its_own(sendbuf, c.size, writable=False)

    def run(c: Any) -> None:
        leaving = [as_bytes(block.packed()) for block in sent]
        sizes = [block.sizes()[0] for block in received]
        came = collectives.alltoallv(c, np.concatenate(leaving), [x.size for x in leaving], sizes)
        begin = 0
        for block, size in zip(received, sizes, strict=True):
            block.place(came[begin : begin + size])
            begin += size

    return run


def _own(sendbuf: Any, received: Blocks | None, rank: int) -> Callable[[], Array]:
    """Return what gives the rank's own block, packed, whenever it is asked for."""
    if in_place(sendbuf) and received is not None:
        return lambda: received.packed(rank)
    sent = simple(sendbuf, writable=False)
    if received is not None:
        check_apart(sent, received, rank)
    return sent.packed


def _place(received: Blocks, got: Any) -> None:
    """Write what came from each rank to its block, which may have room for more."""
    if got.nbytes == sum(received.sizes()):
        received.place_all(got)
    else:
        for block, each in enumerate(got):
            received.place(each, block)


# -- reductions --------------------------------------------------------------------------------------------------------


def _check_op(op: Any) -> None:
    if not isinstance(op, Op):
        raise TypeError(f"op: got {op!r:.60}, expected an Op; remedy: make one by Op.Create")
    if not op:
        raise wrong(ERR_OP, "OP_NULL", "an op", "check that the op is true before its use")


def _operand(sendbuf: Any, received: Blocks | None, blocks: int = 1) -> Blocks:
    """Return what a rank gives to a reduction; what is in place is what it gets."""
    if in_place(sendbuf) and received is not None:
        return received
    sent = simple(sendbuf, blocks, writable=False)
    if received is not None:
        check_alike(sent, received)
        check_apart(sent, received)
    return sent


def reduce(c: Any, sendbuf: Any, recvbuf: Any, op: Op, root: int) -> Plan:
    """Reduce the buffers of all ranks to the root's."""
    _check_op(op)
    received = simple(recvbuf, writable=True) if c.rank == root else None
    sent = _operand(sendbuf, received)
    function, _ = op._on(sent)

    def run(c: Any) -> None:
        got = collectives.reduce(c, op._on(sent)[1], function, root=root)
        if received is not None and got is not None:
            received.place(got)

    return run


def _reduction(collective: Callable[..., Any]) -> Callable[[Any, Any, Any, Op], Plan]:
    def plan(c: Any, sendbuf: Any, recvbuf: Any, op: Op) -> Plan:
        _check_op(op)
        received = simple(recvbuf, writable=True)
        sent = _operand(sendbuf, received)
        function, _ = op._on(sent)
        return lambda c: received.place(collective(c, op._on(sent)[1], function))

    return plan


allreduce = _reduction(collectives.allreduce)
scan = _reduction(collectives.scan)


def exscan(c: Any, sendbuf: Any, recvbuf: Any, op: Op) -> Plan:
    """Reduce the buffers of the ranks below; that of rank 0 is left as it is."""
    _check_op(op)
    received = simple(recvbuf, writable=True)
    sent = _operand(sendbuf, received)
    function, _ = op._on(sent)

    def run(c: Any) -> None:
        x = op._on(sent)[1]
        got = collectives.exscan(c, x, function, first=np.zeros(1, x.dtype)[0])
        if c.rank:
            received.place(got)

    return run


def reduce_scatter_block(c: Any, sendbuf: Any, recvbuf: Any, op: Op) -> Plan:
    """Reduce the buffers of all ranks, and give each rank its block; all are equal."""
    _check_op(op)
    is_in_place = in_place(sendbuf)
    received = simple(recvbuf, c.size if is_in_place else 1, writable=True)
    sent = received if is_in_place else simple(sendbuf, c.size, writable=False)
    check_apart(sent, received)
    if sent.datatype != received.datatype and sent.datatype.name != received.datatype.name:
        check_alike(sent, received)
    if not is_in_place and sent.counts[0] != received.counts[0]:
        raise wrong(
            WrongValueError, f"blocks of {sent.counts[0]} to send and {received.counts[0]} to receive", "the same",
            "correct one of them",
        )  # fmt: skip
    function, _ = op._on(sent)

    def run(c: Any) -> None:
        x = op._on(sent)[1]
        received.place(collectives.reduce_scatter(c, x, function, counts=[x.size // c.size] * c.size))

    return run


def reduce_scatter(c: Any, sendbuf: Any, recvbuf: Any, recvcounts: Any, op: Op) -> Plan:
    """Reduce the buffers of all ranks, and give each rank its block; `recvcounts` are their sizes."""
    _check_op(op)
    is_in_place = in_place(sendbuf)
    received = simple(recvbuf, writable=True)
    sent = received if is_in_place else simple(sendbuf, writable=False)
    check_apart(sent, received)
    if recvcounts is None:
        if is_in_place:
            n, longer = divmod(sum(sent.counts), c.size)
            counts = [n + (rank < longer) for rank in range(c.size)]
        else:
            own = np.array([received.counts[0]], np.int64)
            counts = [int(count) for count in collectives.allgather(c, own).reshape(-1)]
    else:
        counts = [int(count) for count in recvcounts]
    if len(counts) != c.size or (not is_in_place and sum(counts) != sent.counts[0]):
        raise wrong(
            WrongValueError, f"recvcounts {counts} of {sent.counts[0]} elements", f"{c.size} counts that add up to it",
            "correct recvcounts",
        )  # fmt: skip
    if not is_in_place:
        mine = Blocks(sent.memory, sent.datatype, [counts[c.rank]], [0])
        check_alike(mine, received)
    function, _ = op._on(sent)

    def run(c: Any) -> None:
        x = op._on(sent)[1]
        per = x.size // sent.counts[0] if sent.counts[0] else 1
        got = collectives.reduce_scatter(c, x[: sum(counts) * per], function, counts=[n * per for n in counts])
        Blocks(received.memory, received.datatype, [counts[c.rank]], received.displs).place(got)

    return run
