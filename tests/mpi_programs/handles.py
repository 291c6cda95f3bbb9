"""Programs whose results must be the same on simulated ranks and on real MPI: requests, communicators, groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpi_programs.buffers import refuses
from mpi_programs.messages import facts, with_buffer
from ranks import mpi_of


def neighbours(comm: Any) -> tuple[int, int]:
    return (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size


def receives_and_sends(comm: Any, n: int) -> tuple[list[Any], list[Any]]:
    """Start to receive n objects from the left and to send n to the right, with tags 0..n-1."""
    left, right = neighbours(comm)
    receives = [comm.irecv(source=left, tag=tag) for tag in range(n)]
    return receives, [comm.isend((comm.rank, tag), right, tag) for tag in range(n)]


def one_request(comm: Any) -> Any:
    mpi = mpi_of(comm)
    left, right = neighbours(comm)
    status, x = mpi.Status(), np.zeros(2)
    receive, send = comm.Irecv(x, left, 4), comm.Isend(np.full(2, float(comm.rank)), right, 4)
    send.Wait()
    while not receive.Get_status():
        pass
    out = [receive.Get_status(status), facts(mpi, status), bool(receive), receive.Test(status), facts(mpi, status)]
    out += [bool(receive), receive == mpi.REQUEST_NULL, receive.Test(), receive.Wait(), receive.wait(), receive.test()]
    late, send = comm.irecv(source=left), comm.isend("late", right)
    while not (found := late.test(status))[0]:
        pass
    send.wait()
    return [*out, x.tolist(), found, facts(mpi, status)]


def null_requests(comm: Any) -> Any:
    mpi = mpi_of(comm)
    null, request, status = mpi.REQUEST_NULL, mpi.Request, mpi.Status()
    out: list[Any] = [bool(null), null.Wait(status), facts(mpi, status)[1:], null.Test(), null.wait(), null.test()]
    for some in ([], [null, null]):
        out += [request.Waitall(some), request.waitall(some), request.Testall(some), request.testall(some)]
        out += [request.Waitsome(some), request.waitsome(some), request.Testsome(some), request.testsome(some)]
        for index, *rest in (request.waitany(some), request.Testany(some), request.testany(some)):
            out.append((index == mpi.UNDEFINED, *rest))
        out.append(request.Waitany(some) == mpi.UNDEFINED)
    return out


def all_requests(comm: Any) -> Any:
    mpi = mpi_of(comm)
    (receives, sends), statuses = receives_and_sends(comm, 3), [mpi.Status()]
    out = [mpi.Request.waitall([*receives, mpi.REQUEST_NULL, *sends], statuses)]
    out.append([facts(mpi, status)[:2] for status in statuses[:3]])
    receives, sends = receives_and_sends(comm, 2)
    mpi.Request.Waitall(sends)
    while not (done := mpi.Request.testall(receives))[0]:
        assert done == (False, None)
    more, sends = receives_and_sends(comm, 2)
    while not mpi.Request.Testall([*more, *sends]):
        pass
    return [*out, done, [bool(r) for r in receives + more + sends], len(statuses)]


def any_request(comm: Any) -> Any:
    mpi = mpi_of(comm)
    out: dict[str, Any] = {}
    for name in ("waitany", "testany", "Waitany", "Testany"):
        status = mpi.Status()
        receives, sends = receives_and_sends(comm, 3)
        got = []
        while any(receives):
            index, *rest = (
                np.atleast_1d(getattr(mpi.Request, name)(receives, status)).tolist()
                if name == "Waitany"
                else getattr(mpi.Request, name)(receives, status)
            )
            if index != mpi.UNDEFINED:
                got.append((index, rest, status.tag))
        out[name] = sorted(got, key=lambda entry: entry[0])
        mpi.Request.Waitall(sends)
    return out


def some_requests(comm: Any) -> Any:
    mpi = mpi_of(comm)
    out: dict[str, Any] = {}
    for name in ("waitsome", "testsome", "Waitsome", "Testsome"):
        statuses: list[Any] = []
        receives, sends = receives_and_sends(comm, 4)
        got: list[Any] = []
        while any(receives):
            done = getattr(mpi.Request, name)(receives, statuses)
            indices, objects = done if name.islower() else (done, [None] * len(done))
            got += [(i, o, s.tag) for i, o, s in zip(indices, objects, statuses[: len(indices)], strict=True)]
        out[name] = sorted(got, key=lambda entry: entry[0])
        mpi.Request.Waitall(sends)
    return out


def persistent_requests(comm: Any) -> Any:
    mpi = mpi_of(comm)
    left, right = neighbours(comm)
    x, y, out = np.zeros(2, int), np.zeros(2, int), []

    def program() -> Any:
        for init in (comm.Send_init, comm.Ssend_init, comm.Bsend_init):
            send, receive = init(x, right, tag=2), comm.Recv_init(y, left, 2)
            out.append((bool(send), send.Test(), send.Wait(), receive.wait(), mpi.Request.Testany([receive])[1]))
            for n in range(3):
                x[:] = 100 * n + comm.rank
                if n % 2:
                    mpi.Prequest.Startall([receive, send])
                else:
                    receive.Start()
                    send.Start()
                mpi.Request.Waitall([send, receive])
                out.append((y.tolist(), bool(send), bool(receive)))
            out.append((refuses_second_start(comm.Recv_init(y, left, 99)), mpi.Request.Waitsome([receive, send])))
            send.Free()
            receive.Free()
            out.append((bool(send), bool(receive)))
        return out

    return with_buffer(comm, program)


def refuses_second_start(receive: Any) -> bool:
    receive.Start()
    refused = refuses(receive.Start)
    receive.Cancel()
    receive.Wait()
    receive.Free()
    return refused


def cancelled_receives(comm: Any) -> Any:
    mpi = mpi_of(comm)
    left, right = neighbours(comm)
    status, x = mpi.Status(), np.full(1, 5.0)
    request = comm.Irecv(x, left, 77)
    request.Cancel()
    request.Wait(status)
    other, first, second = comm.Dup(), comm.irecv(), comm.irecv(source=left)
    first.cancel()
    first.wait()
    other.sendrecv(None, left, source=right)  # nobody sends before its right has cancelled: the first would take it
    comm.isend("for the second", right).wait()
    return status.Is_cancelled(), status.cancelled, bool(request), x.tolist(), second.wait()


def freed_requests(comm: Any) -> Any:
    left, right = neighbours(comm)
    x = np.full(3, comm.rank)
    request = comm.Isend(x, right)
    request.Free()
    y = np.zeros(3, int)
    comm.Recv(y, left)
    return bool(request), y.tolist()


def splitting(comm: Any) -> Any:
    mpi = mpi_of(comm)
    parity = comm.Split(comm.rank % 2, key=-comm.rank)
    got = parity.sendrecv(comm.rank, (parity.rank + 1) % parity.size)
    alone = comm.Split(0 if comm.rank == 0 else mpi.UNDEFINED)
    out = [parity.rank, parity.size, got, alone != mpi.COMM_NULL, bool(alone)]
    out += [mpi.Comm.Compare(comm, parity) == mpi.UNEQUAL]
    if alone:
        alone.Free()
    parity.Free()
    return [*out, bool(parity), refuses(parity.Free), refuses(parity.send, 1, 0), refuses(lambda: mpi.COMM_NULL.rank)]


def a_duplicate_keeps_its_messages_apart(comm: Any) -> Any:
    mpi = mpi_of(comm)
    other = comm.Dup()
    left, right = neighbours(comm)
    requests = [comm.isend("here", right), other.isend("there", right)]
    got = other.recv(source=left), comm.recv(source=left)
    mpi.Request.waitall(requests)
    same = [comm.Compare(comm) == mpi.IDENT, comm.Compare(other) == mpi.CONGRUENT, other.Get_name()]
    other.Set_name("other")
    return got, same, other.name, other.Get_rank(), other.Get_size()


def groups(comm: Any) -> Any:
    mpi, p = mpi_of(comm), comm.size
    whole = comm.Get_group()
    last, rest, even = whole.Incl([p - 1, 0]), whole.Excl([0]), whole.Range_incl([(0, p - 1, 2)])
    made = [last, rest, even, whole.Range_excl([(p - 1, 0, -2)]), whole.Range_incl([(p - 1, 0, -1)])]
    made += [mpi.Group.Union(rest, last), mpi.Group.Intersection(whole, last), mpi.Group.Difference(whole, last)]
    seen = [[whole.Translate_ranks([r], g)[0] for r in range(p)] for g in made]
    out: list[Any] = [[n if n != mpi.UNDEFINED else None for n in ranks] for ranks in seen]
    out += [g.Get_size() for g in made] + [g.rank if g.rank != mpi.UNDEFINED else None for g in made]
    codes = {mpi.IDENT: "IDENT", mpi.SIMILAR: "SIMILAR", mpi.UNEQUAL: "UNEQUAL"}
    out += [codes[whole.Compare(g)] for g in (whole, last, rest, made[4])] + [comm.group.size, whole.size]
    sub = comm.Create(last)
    if sub:
        out.append((sub.rank, sub.sendrecv(comm.rank, (sub.rank + 1) % sub.size)))
    return [
        *out,
        refuses(whole.Incl, [p]),
        refuses(whole.Excl, [-1]),
        sub == mpi.COMM_NULL,
    ]


PROGRAMS = [
    one_request, null_requests, all_requests, any_request, some_requests, persistent_requests, cancelled_receives,
    freed_requests, splitting, a_duplicate_keeps_its_messages_apart, groups,
]  # fmt: skip
