"""Claims about the buffer of a receive: it keeps what it held until Wait returns or Test says True."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from ways import BUFFERINGS, COMPLETIONS, DTYPES, NETWORKS, POSTS, TESTS, WAITS, complete, holds, noes

SIZES = [1, 300, 10_000]  # staged, above 1 KiB, above the eager limit


def looks_early(comm: ranks.Comm, post: Any, name: str, n: int, late: bool) -> Any:
    """Return what the receiver saw too early, then whether it has the message, then whether the rest is as it was."""
    if comm.rank == 0:
        ranks.spend(comm, 10**8 if late else 0)
        request = comm.Isend(np.full(n, 7.0), 1, 5)
        comm.send("it is there", 1, 6)
        return request.Wait()
    ranks.spend(comm, 0 if late else 10**8)
    x, early = np.full(n + 3, -1.0), []

    def look(when: str) -> None:
        if not holds(x, -1):
            early.append(when)

    request = post(comm, x, 0)
    look("posted")
    if name in TESTS and not late:
        ranks.spend(comm, 10**8)
    comm.recv(source=0, tag=6)
    look("after a later message")
    while not request.Get_status():
        look("Get_status said no")
    look("Get_status said yes")
    for _ in noes(name, request):
        look(f"{name} said no")
    return early, holds(x[:n], 7), holds(x[n:], -1)


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.__name__)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_the_buffer_keeps_what_it_held_until_the_request_is_complete(buffering: str, network: str, post: Any) -> None:
    shift = POSTS.index(post) + BUFFERINGS.index(buffering)  # so that each call meets each size, early and late
    for index, name in enumerate(COMPLETIONS, shift):
        n, late = SIZES[index % 3], index % 4 < 2
        run = ranks.run(looks_early, 2, post, name, n, late, buffering=buffering, network=network)
        assert run.results[1] == ([], True, True), (name, n, late)


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.__name__)
def test_the_buffer_keeps_what_it_held_under_every_schedule(post: Any) -> None:
    for name, n in (("Wait", 10_000), ("Test", 1), ("Waitany", 1), ("Testsome", 1)):
        found = ranks.explore(looks_early, 2, post, name, n, False)
        assert [outcome.results[1] for outcome in found.outcomes if outcome.results] == [([], True, True)], name
        assert found.verdict == "holds"


@pytest.mark.parametrize("sender", [0, 1])
def test_whether_the_sender_or_the_receiver_runs_first_makes_no_difference(sender: int) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == sender:
            ranks.spend(comm, 10**12)
            return comm.Send(np.full(1, 7.0), 1 - sender)
        x = np.zeros(1)
        request = comm.Irecv(x, sender)
        seen = float(x[0])
        request.Wait()
        return seen, float(x[0])

    assert ranks.run(program, 2).results[1 - sender] == (0, 7)
    assert [outcome.results[1 - sender] for outcome in ranks.explore(program, 2).outcomes] == [(0, 7)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_buffer_is_late_for_every_dtype_and_layout(dtype: str) -> None:
    sent = np.ones(6, dtype)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return [comm.Send(sent, 1) for _ in LAYOUTS]
        out = []
        for make in LAYOUTS:
            memory = np.zeros(24, dtype)
            request = comm.Irecv(make(memory), 0)
            ranks.spend(comm, 10**9)
            early = memory.any()
            request.Wait()
            out.append((bool(early), int(memory.astype(bool).sum())))
        return out

    assert ranks.run(program, 2).results[1] == [(False, 6)] * len(LAYOUTS)


LAYOUTS = [
    lambda memory: memory, lambda memory: memory[5:11], lambda memory: memory.reshape(4, 6)[1],
    lambda memory: memory.reshape(4, 6).T, lambda memory: memory.reshape((2, 3, 4), order="F"),
    lambda memory: [memory, (6, 7)], lambda memory: [memory, 6, memory.dtype.char],
    lambda memory: (memory, (None, 2), memory.dtype.char), lambda memory: memory[:6].reshape(1, 6, 1),
]  # fmt: skip


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: np.zeros(n, "u1").data])
def test_the_buffer_is_late_for_memory_that_is_no_array(make: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return comm.Send(b"abc", 1)
        x = make(4)
        request = comm.Irecv(x, 0)
        ranks.spend(comm, 10**9)
        early = bytes(x)
        request.Wait()
        return early, bytes(x)

    assert ranks.run(program, 2).results[1] == (bytes(4), b"abc\0")


@pytest.mark.parametrize("name", ["Wait", "Test", "Waitany", "waitany", "Testany", "Waitsome", "waitsome", "Testsome"])
@pytest.mark.parametrize("network", NETWORKS)
def test_completing_one_of_several_receives_leaves_the_other_buffers_alone(network: str, name: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, [0, 3000, 1000, 2000][comm.rank] * 10**6)
            return comm.Send(np.full(2, comm.rank), 0)
        x = np.zeros((3, 2), int)
        requests = [comm.Irecv(x[n], n + 1) for n in range(3)]
        ranks.spend(comm, 2500 * 10**6 if "some" in name else 10**11)
        consistent = True
        while any(requests):
            if name in ("Wait", "Test"):
                complete(name, next(request for request in reversed(requests) if request))
            else:
                getattr(ranks.Request, name)(requests)
            arrived = [[0, 0] if request else [n + 1] * 2 for n, request in enumerate(requests)]
            consistent &= x.tolist() == arrived
        return consistent, x.tolist()

    assert ranks.run(program, 4, network=network).results[0] == (True, [[1, 1], [2, 2], [3, 3]])


def received(comm: ranks.Comm, x: Any, way: str) -> None:
    """Receive x from rank 0 by a call that blocks; with Waitall another, later message too."""
    y = np.zeros(1)
    if way == "Recv":
        comm.Recv(x, 0)
    elif way == "Recv of any":
        comm.Recv(x, tag=0)
    elif way == "Sendrecv":
        comm.Sendrecv(y, ranks.PROC_NULL, 0, x, 0)
    elif way == "Sendrecv_replace":
        comm.Sendrecv_replace(x, ranks.PROC_NULL, 0, 0)
    elif way == "Message.Recv":
        comm.Mprobe(0).Recv(x)
    else:
        requests = [comm.Irecv(x, 0), comm.Irecv(y, 2, 9)]
        if way in ("Wait", "Test"):
            complete(way, requests[0])
            requests[1].Wait()
        else:
            complete_all = getattr(ranks.Request, way)
            while not complete_all(requests):
                pass


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "way", ["Recv", "Recv of any", "Sendrecv", "Sendrecv_replace", "Message.Recv", "Waitall", "waitall", "Testall"]
)
def test_nobody_sees_a_blocking_receive_in_the_array_before_it_has_returned(
    way: str, network: str, buffering: str
) -> None:
    for n in (1, 10_000):
        x, returned, early = np.full(n, -1.0), [], []

        def look(where: str, x: Any = x, returned: Any = returned, early: Any = early) -> None:
            if not holds(x, -1) and not returned:
                early.append(where)

        def program(comm: ranks.Comm, n: int = n, x: Any = x, returned: Any = returned, look: Any = look) -> None:
            if comm.rank == 0:
                comm.Send(np.full(n, 7.0), 1)
                look("the sender")
                comm.send("sent", 2)
                look("the sender, later")
            elif comm.rank == 1:
                received(comm, x, way)
                returned.append(True)
                if way not in ("Waitall", "waitall", "Testall"):
                    comm.Recv(np.zeros(1), 2, 9)
            else:
                comm.recv(source=0)
                look("another rank")
                for _ in range(20):
                    comm.Iprobe()
                    look("another rank while time passes")
                comm.Send(np.zeros(1), 1, 9)
                look("another rank at its end")

        ranks.run(program, 3, buffering=buffering, network=network)
        assert (early, holds(x, 7)) == ([], True), n


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("call", ["Send", "Ssend", "Bsend", "Sendrecv", "Isend", "Issend", "Send_init"])
def test_a_sender_that_overwrites_its_array_afterwards_does_not_change_what_a_slow_receiver_gets(
    call: str, network: str, buffering: str
) -> None:
    def program(comm: ranks.Comm, post: Any, name: str, n: int) -> Any:
        if comm.rank:
            x = np.full(n, -1.0)
            request = post(comm, x, 0)
            ranks.spend(comm, 10**12)
            if name in WAITS:
                comm.recv(source=0, tag=6)
            complete(name, request)
            if name not in WAITS:
                comm.recv(source=0, tag=6)
            return holds(x, 7)
        x = np.full(n, 7.0)
        if call == "Sendrecv":
            comm.Sendrecv(x, 1, 5, np.zeros(1), ranks.PROC_NULL)
        elif call == "Send_init":
            request = comm.Send_init(x, 1, 5)
            request.Start()
            request.Wait()
        elif call.startswith("I"):
            getattr(comm, call)(x, 1, 5).Wait()
        else:
            getattr(comm, call)(x, 1, 5)
        x[:] = 99
        comm.send("written", 1, 6)
        return x.fill(100)

    for index, post in enumerate(POSTS, len(call)):
        name, n = ("Wait", "Test", "Waitall")[index % 3], SIZES[index // 3 % 3]
        run = ranks.run(program, 2, post, name, n, buffering=buffering, network=network)
        assert run.results[1], (post.__name__, name, n)


@pytest.mark.parametrize("post", POSTS[:5], ids=lambda post: post.__name__)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_cancelled_receive_leaves_its_buffer_alone_and_the_message_to_the_next(network: str, post: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            comm.recv(source=1)
            return comm.Send(np.full(2, 7.0), 1, 5)
        x, y = np.full(2, -1.0), np.zeros(2)
        request, status = post(comm, x, 0), ranks.Status()
        request.Cancel()
        comm.send("cancelled", 0)
        comm.Recv(y, 0)
        request.Wait(status)
        return status.Is_cancelled(), x.tolist(), y.tolist()

    for check in (False, True):
        assert ranks.run(program, 2, network=network, check=check).results[1] == (True, [-1, -1], [7, 7])
