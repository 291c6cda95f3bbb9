"""Point-to-point programs whose results must be the same on simulated ranks and on real MPI: messages and probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranks import mpi_of


def around(comm: Any, send: Callable[[int], Any], receive: Callable[[int], Any]) -> Any:
    """Let every rank send to its right and receive from its left, rank 0 first: safe without any buffering."""
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if comm.rank == 0:
        send(right)
        return receive(left)
    got = receive(left)
    send(right)
    return got


def with_buffer(comm: Any, program: Callable[[], Any]) -> Any:
    """Run `program` with a buffer for Bsend attached, which real MPI asks for."""
    mpi = mpi_of(comm)
    if not hasattr(mpi, "Attach_buffer"):
        return program()
    mpi.Attach_buffer(bytearray(1 << 16))
    try:
        return program()
    finally:
        mpi.Detach_buffer()


def facts(mpi: Any, status: Any) -> tuple[Any, ...]:
    """Return what a status says, free of the library's numbers."""
    source = "PROC_NULL" if status.Get_source() == mpi.PROC_NULL else status.source
    tag = "ANY_TAG" if status.Get_tag() == mpi.ANY_TAG else status.tag
    counts = [status.Get_count(t) for t in (mpi.BYTE, mpi.INT, mpi.DOUBLE)]
    counts += [status.count, status.Get_count(), status.Get_elements(mpi.INT)]
    return source, tag, *("UNDEFINED" if n == mpi.UNDEFINED else n for n in counts), status.Is_cancelled()


def blocking_sends_of_buffers(comm: Any) -> Any:
    def received(left: int) -> Any:
        x = np.zeros(3)
        comm.Recv(x, left, tag=5)
        return x.tolist()

    x = np.arange(3.0) + comm.rank
    sends = (comm.Send, comm.Ssend, comm.Bsend)
    return with_buffer(comm, lambda: [around(comm, lambda to, s=s: s(x, to, tag=5), received) for s in sends])


def blocking_sends_of_objects(comm: Any) -> Any:
    thing = {"rank": comm.rank, "list": [1, None, "two"]}
    sends = (comm.send, comm.ssend, comm.bsend)
    return with_buffer(
        comm,
        lambda: [around(comm, lambda to, s=s: s(thing, to, 6), lambda left: comm.recv(None, left, 6)) for s in sends],
    )


def nonblocking_sends(comm: Any) -> Any:
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    x, y = np.full(2, comm.rank, np.int32), np.zeros(2, np.int32)

    def program() -> Any:
        out = []
        for send in (comm.Isend, comm.Issend, comm.Ibsend):
            request = send(x, dest=right, tag=1)
            comm.Recv(y, source=left, tag=1)
            out.append((request.Wait(), y.tolist(), bool(request)))
        for send in (comm.isend, comm.issend, comm.ibsend):
            request = send([comm.rank], dest=right, tag=1)
            got = comm.recv(source=left, tag=1)
            out.append((request.wait(), got, bool(request)))
        return out

    return with_buffer(comm, program)


def exchanges(comm: Any) -> Any:
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    mpi, status = mpi_of(comm), mpi_of(comm).Status()
    x, y = np.full(4, comm.rank, np.float32), np.zeros(4, np.float32)
    comm.Sendrecv(x, right, 1, y, left, 1, status)
    out = [y.tolist(), facts(mpi, status)]
    comm.Sendrecv_replace(x, dest=left, sendtag=2, source=right, recvtag=2, status=status)
    out += [x.tolist(), facts(mpi, status)]
    out.append(comm.sendrecv(("object", comm.rank), right, sendtag=3, source=left, recvtag=3))
    out.append(comm.sendrecv(comm.rank, comm.rank))
    return out


def statuses(comm: Any) -> Any:
    mpi = mpi_of(comm)
    status = mpi.Status()
    fresh = facts(mpi, mpi.Status())[2:]

    def receive(left: int) -> Any:
        got = []
        for _ in range(2):
            comm.Recv(np.zeros(64, np.uint8), left, mpi.ANY_TAG, status)
            got.append(facts(mpi, status))
        comm.recv(source=left, status=status)
        return [*got, facts(mpi, status)]

    def send(right: int) -> None:
        comm.Send(np.zeros(12, np.uint8), right, 3)
        comm.Send(np.zeros(0, np.uint8), right, 4)
        comm.send(list(range(comm.rank + 2)), right, 5)

    return fresh, around(comm, send, receive)


def tags_are_taken_out_of_order_and_messages_of_one_tag_in_order(comm: Any) -> Any:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    requests = [comm.isend((tag, n), right, tag) for tag, n in ((1, 0), (2, 0), (1, 1), (2, 1))]
    got = [comm.recv(source=left, tag=tag) for tag in (2, 1, 1, 2)]
    mpi_of(comm).Request.waitall(requests)
    return got


def everybody_sends_to_any_source(comm: Any) -> Any:
    mpi = mpi_of(comm)
    if comm.rank:
        for n in range(3):
            comm.send((comm.rank, n), dest=0, tag=n)
        return None
    seen: dict[int, list[Any]] = {}
    status = mpi.Status()
    for _ in range(3 * (comm.size - 1)):
        source, n = comm.recv(source=mpi.ANY_SOURCE, tag=mpi.ANY_TAG, status=status)
        assert (status.source, status.tag) == (source, n)
        seen.setdefault(source, []).append(n)
    return sorted(seen.items())


def probes(comm: Any) -> Any:
    mpi = mpi_of(comm)
    status = mpi.Status()

    def receive(left: int) -> Any:
        out: list[Any] = [comm.Probe(source=left, tag=8, status=status), facts(mpi, status)]
        x = np.zeros(status.Get_count(mpi.DOUBLE))
        comm.Recv(x, left, 8)
        while not comm.Iprobe(mpi.ANY_SOURCE, mpi.ANY_TAG, status):
            pass
        out += [x.tolist(), facts(mpi, status), comm.recv(source=left, tag=9)]
        return [*out, comm.iprobe(left, 10)]

    def send(right: int) -> None:
        comm.Send(np.arange(2.0 + comm.rank), right, 8)
        comm.send("nine", right, 9)

    return around(comm, send, receive)


def matched_probes(comm: Any) -> Any:
    mpi = mpi_of(comm)
    status = mpi.Status()

    def receive(left: int) -> Any:
        message = comm.Mprobe(left, 1, status)
        x, y = np.zeros(2), np.zeros(2)
        out = [facts(mpi, status), bool(message)]
        message.Recv(x, status)
        out += [x.tolist(), facts(mpi, status), bool(message)]
        while (found := comm.Improbe(left, 2)) is None:
            pass
        found.Irecv(y).Wait()
        out += [y.tolist(), comm.mprobe(left, 3).recv()]
        while (found := comm.improbe(left, 4, status)) is None:
            pass
        return [*out, facts(mpi, status), found.irecv().wait(), comm.improbe(left, 1)]

    def send(right: int) -> None:
        comm.Send(np.full(2, 1.5), right, 1)
        comm.Send(np.full(2, 2.5), right, 2)
        comm.send("three", right, 3)
        comm.send("four", right, 4)

    return around(comm, send, receive)


def a_matched_message_is_out_of_reach_of_receives(comm: Any) -> Any:
    def receive(left: int) -> Any:
        first = comm.mprobe(source=left)
        return comm.recv(source=left), first.recv()

    def send(right: int) -> None:
        requests = [comm.isend(text, right) for text in ("first", "second")]
        mpi_of(comm).Request.waitall(requests)

    return around(comm, send, receive)


def nobody(comm: Any) -> Any:
    mpi = mpi_of(comm)
    null, status, x = mpi.PROC_NULL, mpi.Status(), np.full(2, 7.0)
    comm.Send(x, null)
    comm.Ssend(x, null)
    comm.send(x, null)
    comm.Recv(x, null, status=status)
    out = [x.tolist(), facts(mpi, status), comm.recv(source=null), comm.Isend(x, null).Wait()]
    comm.Sendrecv(x, null, 0, x, null, 0, status)
    out += [facts(mpi, status), comm.Irecv(x, null).Wait(status), facts(mpi, status), comm.irecv(source=null).wait()]
    out += [comm.Probe(null, status=status), facts(mpi, status), comm.Iprobe(null, status=status), facts(mpi, status)]
    message = comm.Mprobe(null, status=status)
    message.Recv(x, status)
    out += [bool(message), facts(mpi, status), comm.improbe(null).recv(), comm.sendrecv(1, null, source=null)]
    return [*out, comm.isend(1, null).wait(), comm.isend(1, null).test(), x.tolist()]


def to_oneself(comm: Any) -> Any:
    x, y = np.arange(3), np.zeros(3, int)
    request = comm.Isend(x, comm.rank)
    comm.Recv(y, comm.rank)
    request.Wait()
    later = comm.irecv(source=comm.rank)
    comm.send("me", comm.rank)
    return y.tolist(), later.wait(), comm.iprobe(comm.rank)


def a_sent_buffer_may_be_written_after_its_wait(comm: Any) -> Any:
    x = np.full(2, comm.rank)
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    got = np.zeros((3, 2), int)
    requests = [comm.Irecv(got[n], left) for n in range(3)]
    for n in range(3):
        x[:] = 10 * n + comm.rank
        comm.Isend(x, right).Wait()
    mpi_of(comm).Request.Waitall(requests)
    return got.tolist()


PROGRAMS = [
    blocking_sends_of_buffers, blocking_sends_of_objects, nonblocking_sends, exchanges, statuses,
    tags_are_taken_out_of_order_and_messages_of_one_tag_in_order, everybody_sends_to_any_source, probes,
    matched_probes, a_matched_message_is_out_of_reach_of_receives, nobody, to_oneself,
    a_sent_buffer_may_be_written_after_its_wait,
]  # fmt: skip
