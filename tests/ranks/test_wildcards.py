"""Claims about ANY_SOURCE, Waitany, Test and probes: what depends on who comes first follows the virtual clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks

NETWORKS = st.sampled_from(["infiniband", "alpha-beta", "nvlink"])
BUFFERINGS = st.sampled_from(["none", "eager", "infinite"])
DELAYS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
US = 10**6


def in_order_of_arrival(delays: list[int]) -> list[int]:
    """Return the senders 1, 2, ... by delay, ties by rank."""
    return sorted(range(1, len(delays) + 1), key=lambda rank: (delays[rank - 1], rank))


def late_sender(comm: ranks.Comm, delays: list[int]) -> None:
    ranks.spend(comm, delays[comm.rank - 1] * 10 * US)
    comm.send(comm.rank, 0)


@given(DELAYS, st.integers(0, 50), NETWORKS, BUFFERINGS)
def test_any_source_takes_the_earliest_arrival_ties_by_source(
    delays: list[int], start_us: int, network: str, buffering: str
) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            return late_sender(comm, delays)
        ranks.spend(comm, start_us * US)
        return [comm.recv() for _ in delays]

    got = ranks.run(program, len(delays) + 1, network=network, buffering=buffering).results[0]
    assert got == in_order_of_arrival(delays)


@given(DELAYS, NETWORKS, BUFFERINGS)
def test_every_way_to_ask_for_the_first_gives_the_same_order(delays: list[int], network: str, buffering: str) -> None:
    def program(comm: ranks.Comm, way: str) -> Any:
        if comm.rank:
            return late_sender(comm, delays)
        return list(WAYS[way](comm, len(delays)))

    expected = in_order_of_arrival(delays)
    for way in WAYS:
        run = ranks.run(program, len(delays) + 1, way, network=network, buffering=buffering)
        assert run.results[0] == expected, way


def by_irecv(comm: ranks.Comm, n: int) -> Any:
    yield from ranks.Request.waitall([comm.irecv() for _ in range(n)])


def by_probe(comm: ranks.Comm, n: int) -> Any:
    for _ in range(n):
        status = ranks.Status()
        comm.Probe(status=status)
        yield comm.recv(source=status.source)


def by_mprobe(comm: ranks.Comm, n: int) -> Any:
    for _ in range(n):
        yield comm.mprobe().recv()


def by_iprobe(comm: ranks.Comm, n: int) -> Any:
    for _ in range(n):
        while not comm.iprobe():
            pass
        yield comm.recv()


def by_improbe(comm: ranks.Comm, n: int) -> Any:
    for _ in range(n):
        while (message := comm.improbe()) is None:
            pass
        yield message.recv()


def by_waitany(comm: ranks.Comm, n: int) -> Any:
    requests = [comm.irecv(source=rank) for rank in range(1, n + 1)]
    for _ in range(n):
        yield ranks.Request.waitany(requests)[1]


def by_waitsome(comm: ranks.Comm, n: int) -> Any:
    requests = [comm.irecv(source=rank) for rank in range(1, n + 1)]
    while any(requests):
        yield from ranks.Request.waitsome(requests)[1]


def by_test_of_one_wildcard(comm: ranks.Comm, n: int) -> Any:
    for _ in range(n):
        request = comm.irecv()
        while not (found := request.test())[0]:
            pass
        yield found[1]


WAYS = {
    way.__name__: way
    for way in (
        by_irecv, by_probe, by_mprobe, by_iprobe, by_improbe, by_waitany, by_waitsome, by_test_of_one_wildcard,
    )
}  # fmt: skip


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
@pytest.mark.parametrize(("first", "expected"), [(1, ("1a", "1b")), (2, ("2a", "1a"))])
def test_a_wildcard_posted_before_a_specific_receive_chooses_first(first: int, expected: Any, network: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            wild, specific = comm.irecv(), comm.irecv(source=1)
            got = wild.wait(), specific.wait()
            return got, comm.recv()
        ranks.spend(comm, 0 if comm.rank == first else 50 * US)
        comm.send(f"{comm.rank}a", 0)
        if comm.rank == 1:
            comm.send("1b", 0)
        return None

    got, _ = ranks.run(program, 3, network=network).results[0]
    assert got == expected


def test_a_specific_receive_posted_first_keeps_its_message_from_a_wildcard() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            specific, wild = comm.irecv(source=1), comm.irecv()
            return specific.wait(), wild.wait()
        ranks.spend(comm, 0 if comm.rank == 1 else 50 * US)
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 3).results[0] == (1, 2)


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
def test_a_message_does_not_overtake_one_that_is_kept_for_an_earlier_wildcard(network: str) -> None:
    """Both of rank 1's fit the specific receive; its first is kept for the wildcard, which takes rank 2's."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            wild, specific = comm.irecv(tag=1), comm.irecv(source=1)
            return wild.wait(), specific.wait(), comm.recv(source=1)
        if comm.rank == 1:
            ranks.spend(comm, 50 * US)
            comm.send("first", 0, tag=1)
            return comm.send("second", 0, tag=2)
        return comm.send("earliest", 0, tag=1)

    assert ranks.run(program, 3, network=network).results[0] == ("earliest", "first", "second")


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
@pytest.mark.parametrize("call", ["Probe", "Iprobe"])
def test_a_probe_does_not_see_the_message_that_an_earlier_wildcard_takes(call: str, network: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            comm.send("first", 0, tag=1)
            ranks.spend(comm, 20 * US)
            return comm.send("second", 0, tag=2)
        wild, status = comm.irecv(), ranks.Status()
        while not getattr(comm, call)(1, ranks.ANY_TAG, status):
            pass
        return status.tag, comm.recv(source=1), wild.wait()

    assert ranks.run(program, 2, network=network).results[0] == (2, "second", "first")


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
def test_wildcards_after_many_specific_receives_still_take_the_earliest(network: str) -> None:
    """Messages that were taken, or used again for later ones, must be gone from the order of arrival."""

    def program(comm: ranks.Comm) -> Any:
        x = np.zeros(2)
        if comm.rank:
            for n in range(300):
                comm.Send(np.full(2, 1000.0 * comm.rank + n), 0)
                if n % 10 == 9:
                    comm.Recv(x, 0)
            return None
        got = []
        comm.Iprobe()
        for n in range(600):
            wild = n % 20 >= 14  # by then each has three to send
            comm.Recv(x, ranks.ANY_SOURCE if wild else 1 + n % 2)
            got.append(x[0])
            if n % 20 == 19:
                comm.Send(x, 1)
                comm.Send(x, 2)
        return got

    got = ranks.run(program, 3, network=network).results[0]
    for rank in (1, 2):
        assert [v for v in got if v // 1000 == rank] == [1000.0 * rank + n for n in range(300)]


def test_a_matching_tag_decides_among_wildcards() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            seven, any_tag, eight = comm.irecv(tag=7), comm.irecv(), comm.irecv(tag=8)
            return seven.wait(), any_tag.wait(), eight.wait()
        ranks.spend(comm, comm.rank * US)
        return comm.send(comm.rank, 0, tag=[0, 8, 8, 7][comm.rank])

    assert ranks.run(program, 4).results[0] == (3, 1, 2)


def test_a_wildcard_never_matches_a_message_that_is_sent_later_than_its_choice() -> None:
    """Rank 2 sends before rank 1 does on the clock, although rank 1 runs first and far ahead."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return [comm.recv() for _ in range(4)]
        if comm.rank == 1:
            for n in range(2):
                ranks.spend(comm, 100 * US)
                comm.send((1, n), 0)
            return None
        for n in range(2):
            comm.send((2, n), 0)
            comm.sendrecv(None, 2)
        return None

    assert ranks.run(program, 3).results[0] == [(2, 0), (2, 1), (1, 0), (1, 1)]


def test_loops_of_polls_end_when_the_message_comes() -> None:
    """The message is 20 ms away, in which hundreds of thousands of polls would fail."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 20_000 * US)
            return comm.send("late", 0)
        polls = 0
        while not comm.Iprobe():
            polls += 1
        return polls, ranks.Wtime(), comm.recv()

    for name in ("infiniband", "alpha-beta"):
        polls, seen_s, got = ranks.run(program, 2, network=name).results[0]
        assert got == "late"
        assert polls < 100
        assert 0.02 < seen_s < 0.0201


def test_a_wildcard_is_not_misled_by_a_message_that_another_rank_uses_again() -> None:
    def program(comm: ranks.Comm) -> list[int] | None:
        x, go, status = np.zeros(1), np.zeros(0), ranks.Status()
        if comm.rank == 0:
            comm.Recv(x, ranks.ANY_SOURCE, tag=3)  # from here on rank 0 keeps its messages by arrival
            comm.Recv(x, 1)  # rank 2 uses this message again, under the same number
            comm.Send(go, 2)
            comm.Send(go, 3)
            comm.Recv(go, 2, tag=1)
            comm.Recv(x, 3, tag=7)  # the only one that is here for longer than the one from rank 1 was
            came = []
            for _ in range(2):
                comm.Recv(x, ranks.ANY_SOURCE, tag=0, status=status)
                came.append(status.Get_source())
            return came
        if comm.rank == 1:
            ranks.spend(comm, 10**7)
            comm.Send(x, 0)
        elif comm.rank == 2:
            comm.Recv(go, 0)
            ranks.spend(comm, 10**9)
            comm.Send(x, 0)
            comm.Send(go, 0, tag=1)
        else:
            comm.Send(x, 0, tag=7)
            comm.Send(x, 0, tag=3)
            comm.Recv(go, 0)
            comm.Send(x, 0)
        return None

    assert ranks.run(program, 4, network="alpha-beta").results[0] == [3, 2]
