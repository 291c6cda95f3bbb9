"""Claims about buffers that share memory: an error where one of them is written to, in every mode, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from ways import BUFFERINGS, NETWORKS, line_of

# Each takes an array of n numbers to (what is sent, what is received into), n a multiple of 16.
OVERLAPPING = {
    "the same": lambda x: (x, x),
    "one element": lambda x: (x[:1], x[:1]),
    "shifted up": lambda x: (x[: len(x) // 2], x[1 : len(x) // 2 + 1]),
    "shifted down": lambda x: (x[1 : len(x) // 2 + 1], x[: len(x) // 2]),
    "by one element": lambda x: (x[: len(x) // 2 + 1], x[len(x) // 2 :]),
    "sent inside received": lambda x: (x[4:6], x),
    "received inside sent": lambda x: (x[: len(x) // 2], x[2 : len(x) // 2]),
    "through bytes": lambda x: (x.view("u1")[8:16], x.view("u1")[8:]),
    "by one byte": lambda x: (x.view("u1")[:9], x.view("u1")[8:17]),
    "by shape": lambda x: (x.reshape(2, -1), x.reshape(-1, 2)),
    "rows of a transpose": lambda x: (x.reshape(4, -1).T, x.reshape(4, -1)[0]),
    "counted": lambda x: ([x, 8], [x, (8, 4)]),
    "displaced": lambda x: ([x, (4, 2)], [x, (4, 5), ranks.DOUBLE]),
    "memoryviews": lambda x: (memoryview(x), memoryview(x)[2:]),
    "wrapped": lambda x: (np.frombuffer(memoryview(x))[:], x),
}
APART = {
    "adjacent": lambda x: (x[: len(x) // 2], x[len(x) // 2 :]),
    "adjacent, downwards": lambda x: (x[len(x) // 2 :], x[: len(x) // 2]),
    "adjacent bytes": lambda x: (x.view("u1")[:8], x.view("u1")[8:16]),
    "rows": lambda x: (x.reshape(4, -1)[1], x.reshape(4, -1)[2]),
    "counted": lambda x: ([x, 4], [x, (8, 4)]),
    "nothing sent": lambda x: (x[4:4], x),
    "nothing sent and received": lambda x: (x[:0], x[:0]),
    "a copy": lambda x: (x.copy(), x),
    "no count": lambda x: ([x, 0], x),
}


def exchange(comm: ranks.Comm, make: Any, n: int, warm: bool) -> None:
    """Shift round the ring by Sendrecv; when `warm`, the same call went well before with other buffers."""
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if warm:
        comm.Sendrecv(make(np.zeros(n))[1], right, 0, make(np.zeros(n))[1], left)
    sent, received = make(np.arange(float(n)))
    comm.Sendrecv(sent, right, 0, received, left)  # the exchange


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("kind", OVERLAPPING)
def test_sendrecv_into_what_it_sends_is_an_error_with_the_remedy(kind: str, buffering: str, check: bool) -> None:
    for n in (16, 1024, 32_000):
        for warm in (False, True):
            for network in NETWORKS if n == 16 else NETWORKS[:1]:
                with pytest.raises(ranks.InvalidBufferError) as caught:
                    ranks.run(
                        exchange, 3, OVERLAPPING[kind], n, warm, buffering=buffering, check=check, network=network
                    )
                assert "Sendrecv_replace" in caught.value.remedy
                assert "Sendrecv(" in caught.value.call
                assert caught.value.site == line_of(exchange, "the exchange")


@pytest.mark.parametrize("kind", OVERLAPPING)
def test_sendrecv_into_what_it_sends_is_an_error_with_one_rank_and_under_every_schedule(kind: str) -> None:
    with pytest.raises(ranks.InvalidBufferError):
        ranks.run(exchange, 1, OVERLAPPING[kind], 16, False)
    found = ranks.explore(exchange, 2, OVERLAPPING[kind], 16, False)
    assert found.verdict == "fails"
    assert {type(outcome.failure) for outcome in found.outcomes} == {ranks.InvalidBufferError}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("kind", APART)
def test_sendrecv_between_parts_of_one_array_is_fine(kind: str, check: bool) -> None:
    for buffering in BUFFERINGS:
        for n in (16, 32_000):
            ranks.run(exchange, 3, APART[kind], n, True, buffering=buffering, check=check)


def test_strided_and_reversed_arrays_are_refused_as_ever() -> None:
    for part in (slice(None, None, 2), slice(None, None, -1)):
        with pytest.raises(ranks.InvalidBufferError, match="in a single piece"):
            ranks.run(lambda comm, part=part: comm.Sendrecv(np.zeros(4)[part], 0, 0, np.zeros(4), 0), 1)


def test_sendrecv_replace_is_what_the_remedy_says() -> None:
    def program(comm: ranks.Comm, n: int) -> Any:
        x = np.full(n, comm.rank)
        comm.Sendrecv_replace(x, (comm.rank + 1) % 3, 0, (comm.rank - 1) % 3)
        return x.tolist()

    for n in (0, 1, 20_000):
        for buffering in BUFFERINGS:
            assert ranks.run(program, 3, n, buffering=buffering).results == [[r] * n for r in (2, 0, 1)]


# -- open operations, with check --------------------------------------------------------------------------------------


class Enough(Exception):  # noqa: N818
    """Both operations are open, and nothing was wrong."""


def opens_two(comm: ranks.Comm, first: Any, second: Any, make: Any) -> None:
    """Let `first` take what `make` calls sent, or received into if it receives, and `second` the other part."""
    a, b = make(np.zeros(16))
    opened = first(comm, a), second(comm, b)
    raise Enough(opened)


def isend(comm: ranks.Comm, x: Any) -> Any:
    return comm.Isend(x, comm.rank, 1)  # opens


def issend(comm: ranks.Comm, x: Any) -> Any:
    return comm.Issend(x, 1, 1)  # opens


def start_send(comm: ranks.Comm, x: Any) -> Any:
    request = comm.Send_init(x, 1, 1)
    request.Start()  # opens
    return request


def irecv(comm: ranks.Comm, x: Any) -> Any:
    return comm.Irecv(x, 1, 2)  # opens


def irecv_of_any(comm: ranks.Comm, x: Any) -> Any:
    return comm.Irecv(x, tag=2)  # opens


def start_receive(comm: ranks.Comm, x: Any) -> Any:
    request = comm.Recv_init(x, 1, 2)
    request.Start()  # opens
    return request


def receive_matched(comm: ranks.Comm, x: Any) -> Any:
    comm.Bsend(b"", comm.rank, 3)
    return comm.Mprobe(comm.rank, 3).Irecv(x)  # opens


SENDS = [isend, issend, start_send]
RECEIVES = [irecv, irecv_of_any, start_receive, receive_matched]
PAIRS = [(a, b) for a in RECEIVES for b in RECEIVES] + [p for a in SENDS for b in RECEIVES for p in ((a, b), (b, a))]


def on_rank_0(*arguments: Any, buffering: str = "none") -> None:
    ranks.run(lambda comm: opens_two(comm, *arguments) if comm.rank == 0 else None, 2, check=True, buffering=buffering)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda call: call.__name__)
def test_two_open_operations_that_overlap_where_one_receives_are_an_error_that_names_both(
    first: Any, second: Any
) -> None:
    for kind in OVERLAPPING:
        with pytest.raises(ranks.InvalidBufferError) as caught:
            on_rank_0(first, second, OVERLAPPING[kind])
        for call in (first, second):
            assert line_of(call, "opens") in str(caught.value), kind


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda call: call.__name__)
def test_open_operations_on_parts_of_one_array_are_fine(first: Any, second: Any) -> None:
    for kind in APART:
        with pytest.raises(Enough):
            on_rank_0(first, second, APART[kind])


def test_open_sends_may_overlap_and_without_check_open_receives_too() -> None:
    for kind in OVERLAPPING:
        with pytest.raises(Enough):
            on_rank_0(issend, start_send, OVERLAPPING[kind])
    with pytest.raises(Enough):
        ranks.run(lambda comm: opens_two(comm, irecv, irecv, OVERLAPPING["the same"]), 2)


def test_operations_of_different_communicators_overlap_too() -> None:
    def program(comm: ranks.Comm) -> None:
        x, other = np.zeros(4), comm.Dup()
        if comm.rank == 0:
            comm.Irecv(x, 1)  # the first
            other.Irecv(x[3:], 1)  # the second

    with pytest.raises(ranks.InvalidBufferError) as caught:
        ranks.run(program, 2, check=True)
    assert line_of(program, "the first") in str(caught.value)
    assert line_of(program, "the second") in str(caught.value)


BLOCKING = [(opened, call) for opened in (irecv, start_receive) for call in ("Send", "Ssend")]
BLOCKING += [(opened, call) for opened in (irecv, start_receive, issend) for call in ("Recv", "Sendrecv")]
BLOCKING += [(opened, "Sendrecv_replace") for opened in (irecv, start_receive, issend)]


@pytest.mark.parametrize(("opened", "call"), BLOCKING, ids=lambda each: getattr(each, "__name__", each))
def test_a_blocking_call_on_the_buffer_of_an_open_operation_is_an_error(call: str, opened: Any) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            x = np.zeros(4)
            opened(comm, x[:3])
            if call in ("Send", "Ssend"):
                getattr(comm, call)(x[2:], 1)
            elif call == "Recv":
                comm.Recv(x[2:], 1)
            elif call == "Sendrecv":
                comm.Sendrecv(np.zeros(2), 1, 0, x[2:], 1)
            else:
                comm.Sendrecv_replace(x[2:], 1, 0, 1)

    with pytest.raises(ranks.InvalidBufferError) as caught:
        ranks.run(program, 2, check=True, buffering="infinite")
    assert line_of(opened, "opens") in str(caught.value)


def test_a_buffer_is_free_again_when_its_operation_is_complete_cancelled_or_freed() -> None:
    def program(comm: ranks.Comm) -> Any:
        x = np.zeros(3)
        for end in ("Wait", "Test", "Cancel"):
            request = comm.Irecv(x, comm.rank)
            if end != "Cancel":
                comm.Bsend(np.ones(3), comm.rank)
            while not getattr(request, end)() and end == "Test":
                pass
            request.Wait()
        sending = comm.Isend(x, comm.rank)
        sending.Wait()
        comm.Recv(x, comm.rank)
        return x.tolist()

    assert ranks.run(program, 1, check=True).results == [[1, 1, 1]]
