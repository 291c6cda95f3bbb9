"""Programs whose results must be the same on simulated ranks and on real MPI: what is a buffer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranks import mpi_of


def carried(comm: Any, send: Any, receive: Any) -> None:
    """Send one buffer to the right, receive another from the left."""
    comm.Sendrecv(send, (comm.rank + 1) % comm.size, 0, receive, (comm.rank - 1) % comm.size, 0)


def refuses(call: Callable[..., Any], *args: Any) -> bool:
    """Return whether the call raises."""
    try:
        call(*args)
    except Exception:
        return True
    return False


def every_dtype(comm: Any) -> Any:
    out = []
    for code in "?bBhHiIlLqQfdgFDG":
        x, y = np.array([0, 1, comm.rank]).astype(code), np.zeros(3, code)
        carried(comm, x, y)
        out.append((code, y.tolist()))
    return out


def shapes_and_orders(comm: Any) -> Any:
    out = []
    for shape in ((), (0,), (2, 3), (2, 0, 3), (1, 1, 1)):
        for order in "CF":
            x = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) + comm.rank, order=order)
            y = np.zeros(shape, x.dtype, order=order)
            carried(comm, x, y)
            out.append(y.tolist())
    x, y = np.arange(6).reshape(2, 3), np.zeros((2, 3), int)
    carried(comm, x.T, y)
    carried(comm, x[1], y[0])
    return [*out, y.tolist()]


def memory_that_is_no_array(comm: Any) -> Any:
    got, array = bytearray(4), np.zeros(4, np.uint8)
    carried(comm, b"abcd", got)
    carried(comm, memoryview(b"wxyz"), array)
    carried(comm, bytearray(b"1234"), memoryview(array)[:])
    number = np.zeros(())
    carried(comm, np.float64(2.5), number)
    return bytes(got), bytes(array), float(number)


def specs(comm: Any) -> Any:
    mpi = mpi_of(comm)
    x, status = np.arange(8.0) + comm.rank, mpi.Status()
    out = []
    for spec, code in (
        ([x, 3], "d"), ([x, mpi.DOUBLE], "d"), ([x, None], "d"), ([x, 3, mpi.DOUBLE], "d"), ([x, (3, 2)], "d"),
        ([x, (3, 2), mpi.DOUBLE], "d"), ([x, [3, 2], mpi.DOUBLE], "d"), ([x, "d"], "d"), ((x, 2, "f8"), "d"),
        ([x, 2, 1, mpi.DOUBLE], "d"), ([x, (2, None), mpi.DOUBLE], "d"), ([x, (None, 2), mpi.DOUBLE], "d"),
        ([x, None, mpi.DOUBLE], "d"), ([x, None, 7, mpi.DOUBLE], "d"), ([x, 0, mpi.DOUBLE], "d"), ([x, 3, None], "d"),
        ([x, mpi.BYTE], "B"), ([x, 5, mpi.BYTE], "B"), ([x, mpi.INT], "i"), ([x, (3, 1), mpi.INT], "i"),
        ([x.view("u1")[:12], 1, mpi.DOUBLE], "d"), ([None, 0, mpi.DOUBLE], "d"), ([b"abcd", 2], "B"),
        ([x, "F"], "F"), ([x, "?"], "?"), ([x, np.int64(2)], "d"),
    ):  # fmt: skip
        request = comm.Isend(spec, comm.rank)
        comm.Probe(comm.rank, status=status)
        y = np.zeros(status.Get_count(mpi.BYTE) // np.dtype(code).itemsize, code)
        comm.Recv(y, comm.rank)
        request.Wait()
        out.append((status.count, y.tobytes()))
    return out


def specs_to_receive_into(comm: Any) -> Any:
    mpi = mpi_of(comm)
    out = []
    for make in (lambda y: [y, mpi.DOUBLE], lambda y: [y, 2, mpi.DOUBLE], lambda y: [y, (2, 3), mpi.DOUBLE]):
        y = np.full(6, -1.0)
        carried(comm, np.array([1.0, comm.rank]), make(y))
        out.append(y.tolist())
    return out


def a_longer_buffer_keeps_its_tail(comm: Any) -> Any:
    y = np.full(5, -1)
    carried(comm, np.array([comm.rank, 3]), y)
    return y.tolist()


def wrong_buffers_are_refused(comm: Any) -> Any:
    mpi, here, read_only = mpi_of(comm), comm.rank, np.zeros(2)
    read_only.setflags(write=False)
    wrong = [
        np.arange(6)[::2], np.zeros((3, 3))[:, 1], np.zeros((3, 3))[:2, :2], np.array([1, "x"], object),
        np.zeros(2, [("a", int)]), np.zeros(2, "U3"), np.zeros(2, "datetime64[s]"), 3, "text", [1, 2, 3, 4, 5], [],
        [np.zeros(2)], [np.zeros(2), "no such type"], [np.zeros(2), 3, "d", 1, 1], {"a": 1}, object(),
        [np.zeros(2), -1],
        [np.zeros(2), (1, -1)], [np.zeros(2), (1,)],
        [np.zeros(2), ()], [np.zeros(2), (1, 0, 0)], [np.zeros(2), 1.0], [np.zeros(7, "u1"), mpi.DOUBLE],
        [None, 1, mpi.DOUBLE], np.zeros(2).astype(">f8"), None,
    ]  # fmt: skip
    return [refuses(comm.Send, buffer, here) for buffer in wrong], refuses(comm.Irecv, read_only, here)


def wrong_ranks_and_tags_are_refused(comm: Any) -> Any:
    mpi, p, x = mpi_of(comm), comm.size, np.zeros(1)
    out = [refuses(comm.Send, x, dest) for dest in (p, p + 7, mpi.ANY_SOURCE, "0", None)]
    out += [refuses(comm.Recv, x, source) for source in (p, "0", None)]
    out += [refuses(comm.Send, x, 0, tag) for tag in (mpi.ANY_TAG, -5, "0", None)]
    out += [refuses(comm.Irecv, x, 0, -5), refuses(comm.Probe, p), refuses(comm.Iprobe, 0, -5), refuses(comm.Mprobe, p)]
    return [*out, refuses(comm.isend, 1, p), refuses(comm.irecv, None, p), refuses(comm.sendrecv, 1, p)]


def a_message_too_long_is_refused(comm: Any) -> Any:
    request = comm.Isend(np.zeros(3), comm.rank)
    refused = refuses(comm.Recv, np.zeros(2), comm.rank)
    request.Wait()
    return refused, comm.iprobe(comm.rank)


PROGRAMS = [
    every_dtype, shapes_and_orders, memory_that_is_no_array, specs, specs_to_receive_into,
    a_longer_buffer_keeps_its_tail, wrong_buffers_are_refused, wrong_ranks_and_tags_are_refused,
    a_message_too_long_is_refused,
]  # fmt: skip
