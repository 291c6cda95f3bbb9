"""Programs whose results must be the same on simulated ranks and on real MPI: what is refused, and what is not."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mpi_programs.buffers import refuses
from mpi_programs.messages import facts
from ranks import mpi_of


def used_status(comm: Any) -> Any:
    """Return a status that a message of 3 bytes with tag 4 has filled in."""
    status, request = mpi_of(comm).Status(), comm.Isend(b"abc", comm.rank, 4)
    comm.Recv(bytearray(3), comm.rank, 4, status)
    request.Wait()
    return status


def nothing_open_is_neither_cancelled_nor_freed(comm: Any) -> Any:
    mpi, here = mpi_of(comm), comm.rank
    done = comm.Isend(b"a", here)
    freed = comm.Isend(b"b", here)
    comm.Recv(bytearray(1), here)
    comm.Recv(bytearray(1), here)
    done.Wait()
    freed.Free()
    inactive, gone = comm.Recv_init(bytearray(1), here, 5), comm.Send_init(b"a", here, 5)
    gone.Free()
    out = [refuses(request.Cancel) for request in (mpi.REQUEST_NULL, done, freed, inactive, gone)]
    out += [refuses(request.cancel) for request in (mpi.REQUEST_NULL, done, freed, inactive, gone)]
    out += [refuses(request.Free) for request in (mpi.REQUEST_NULL, done, freed, gone)]
    out.append(refuses(gone.Start))
    inactive.Start()
    inactive.Cancel()
    inactive.Cancel()  # once more is no error while it is active
    inactive.Wait()
    return [*out, refuses(inactive.Cancel), bool(inactive), inactive.Free(), refuses(inactive.Free)]


def a_used_status_is_emptied_by_requests_that_are_not_open(comm: Any) -> Any:
    mpi, out = mpi_of(comm), []
    inactive = comm.Recv_init(bytearray(1), comm.rank, 5)
    for request in (mpi.REQUEST_NULL, inactive):
        for name in ("Wait", "wait", "Test", "test", "Get_status"):
            status = used_status(comm)
            getattr(request, name)(status)
            out.append((name, is_empty(mpi, status)))
        for name in ("Waitany", "waitany", "Testany", "testany"):
            status = used_status(comm)
            getattr(mpi.Request, name)([request, mpi.REQUEST_NULL], status)
            out.append((name, is_empty(mpi, status)))
        for name in ("Waitall", "waitall", "Testall", "testall", "Waitsome", "Testsome"):
            statuses = [used_status(comm) for _ in range(3)]
            getattr(mpi.Request, name)([request, mpi.REQUEST_NULL], statuses)
            out.append((name, len(statuses), [is_empty(mpi, status) for status in statuses]))
    inactive.Free()
    return out


def is_empty(mpi: Any, status: Any) -> bool:
    return (status.source, status.tag, status.count, status.Is_cancelled()) == (mpi.ANY_SOURCE, mpi.ANY_TAG, 0, False)


def a_status_is_left_alone_by_a_test_that_says_no(comm: Any) -> Any:
    mpi, out = mpi_of(comm), []
    request = comm.Irecv(bytearray(1), comm.rank, 99)
    for call in (request.Test, request.Get_status, lambda status: comm.Iprobe(comm.rank, 98, status)):
        status = used_status(comm)
        out.append((call(status), facts(mpi, status)[1:]))
    request.Cancel()
    request.Wait()
    return out


def nobody_needs_no_buffer(comm: Any) -> Any:
    mpi = mpi_of(comm)
    null, x = mpi.PROC_NULL, np.full(1, 7.0)
    calls = (comm.Send, comm.Ssend, comm.Recv)
    out = [refuses(call, None, null) for call in calls]
    out += [getattr(comm, name)(None, null).Wait() for name in ("Isend", "Issend", "Irecv")]
    out += [refuses(comm.Sendrecv, None, null, 0, None, null), refuses(lambda: comm.Sendrecv(x, null, source=null))]
    out += [refuses(comm.Sendrecv, x, null, 0, x, null), refuses(comm.Sendrecv_replace, None, null, 0, null)]
    for init in (comm.Send_init, comm.Ssend_init, comm.Recv_init):
        request = init(None, null)
        request.Start()
        out.append(request.Wait())
        request.Free()
    comm.Mprobe(null).Recv(None)
    out.append(comm.Mprobe(null).Irecv(None).Wait())
    return [*out, refuses(comm.Send, x, null, -3), x.tolist()]


def one_side_of_an_exchange_may_be_nobody(comm: Any) -> Any:
    null, p, x = mpi_of(comm).PROC_NULL, comm.size, np.full(1, -1)
    right, left = comm.rank + 1 if comm.rank + 1 < p else null, comm.rank - 1 if comm.rank else null
    sent, into = None if right == null else np.array([comm.rank]), None if left == null else x
    comm.Sendrecv(sent, right, 0, into, left)
    return x.tolist()


def datatypes_that_no_message_has_are_refused(comm: Any) -> Any:
    here, x = comm.rank, np.zeros(2)
    wrong = ["O", "V", "V0", "V3", "S0", "S3", "M8[s]", "m8[s]", ">f8", "i4,i4", object, str, bytes]
    arrays = [np.zeros(2, code) for code in ("S3", "U3", "V3", "O", "M8[s]", ">i4")]
    out = [refuses(comm.Send, [x, 1, code], here) for code in wrong]
    out += [refuses(comm.Recv, [x, 1, code], here) for code in wrong]
    out += [refuses(comm.Send, array, here) for array in arrays]
    return out + [refuses(comm.Recv, array, here) for array in arrays]


def what_is_no_list_of_requests_is_refused(comm: Any) -> Any:
    mpi, here = mpi_of(comm), comm.rank
    null, names = mpi.REQUEST_NULL, ("Waitall", "Waitany", "Waitsome", "Testall", "Testany", "Testsome")
    names += tuple(name.lower() for name in names)
    wrong = [None, [None], [1], "ab", [[]], [null, None], null, 3]
    out = [[refuses(getattr(mpi.Request, name), what) for what in wrong] for name in names]
    out.append([refuses(getattr(mpi.Request, name), (null for _ in range(2))) for name in names])
    out.append([refuses(getattr(mpi.Request, name), what) for name in names for what in ((), (null,), {}, range(0))])
    x = np.zeros(1)
    requests = comm.Isend(np.ones(1), here), comm.Irecv(x, here)
    mpi.Request.Waitall(requests)
    return [*out, x.tolist(), refuses(mpi.Prequest.Startall, [null]), refuses(mpi.Prequest.Startall, [])]


def colours_and_keys_are_integers(comm: Any) -> Any:
    out = [refuses(comm.Split, wrong) for wrong in (None, "a", [0])]
    out += [refuses(comm.Split, 0, wrong) for wrong in (None, "a", [0])]
    for color, key in ((np.int64(0), np.int32(-comm.rank)), (True, np.uint8(0)), (np.bool_(True), comm.rank)):
        part = comm.Split(color, key)
        out.append((part.rank, part.size))
        part.Free()
    return out


def numbers_may_be_numpy_s(comm: Any) -> Any:
    mpi, out = mpi_of(comm), []
    for kind in (np.int8, np.uint8, np.int32, np.int64, np.uint64):
        status, y = mpi.Status(), np.zeros(4, int)
        request = comm.Isend([np.arange(4), kind(2)], kind(comm.rank), kind(3))
        comm.Probe(kind(comm.rank), kind(3), status)
        comm.Recv([y, (kind(2), kind(1))], kind(comm.rank), kind(3))
        request.Wait()
        out.append((y.tolist(), facts(mpi, status)))
        out.append(comm.sendrecv("x", kind(comm.rank), kind(1), None, kind(comm.rank), kind(1)))
    return out


def a_communicator_is_not_copied(comm: Any) -> Any:
    """`comm` is a duplicate; the world's own copies are in `tests/ranks/test_messages_that_help.py`."""
    request = comm.irecv(source=comm.rank, tag=50)
    out = [refuses(how, what) for how in (copy.copy, copy.deepcopy) for what in (comm, request)]
    request.Cancel()
    request.Wait()
    return out, comm.sendrecv("still good", comm.rank, source=comm.rank)


PROGRAMS = [
    nothing_open_is_neither_cancelled_nor_freed, a_used_status_is_emptied_by_requests_that_are_not_open,
    a_status_is_left_alone_by_a_test_that_says_no, nobody_needs_no_buffer, one_side_of_an_exchange_may_be_nobody,
    datatypes_that_no_message_has_are_refused, what_is_no_list_of_requests_is_refused, colours_and_keys_are_integers,
    numbers_may_be_numpy_s, a_communicator_is_not_copied,
]  # fmt: skip
