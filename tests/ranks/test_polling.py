"""Claims about loops of polls: they cost few polls, and end at the time at which each poll in turn would end them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

import ranks
from ranks import Link, Network
from ways import BUFFERINGS, says_yes

MOST_POLLS = 200
SECOND = 10**12
NETWORKS = [
    ranks.presets["infiniband"],
    ranks.presets["alpha-beta"],
    ranks.presets["dgx-a100-shared"],
    Network(name="odd", inter=Link(1_000_003, 77_777), overhead_ps=13, poll_ps=99_991),
    Network(name="coarse", inter=Link(0, 0), overhead_ps=0, poll_ps=10**9, ports=False),
]
N_BYTES = 8


def now_ps() -> int:
    return round(ranks.Wtime() * 10**12)


def first_poll_ps(start_ps: int, poll_ps: int, seen_ps: int) -> int:
    """Return the first of start, start + poll, start + 2 poll, ... at or after `seen_ps`."""
    return start_ps + max(0, -((start_ps - seen_ps) // poll_ps)) * poll_ps


def arrival_ps(network: Network, spent_ps: int) -> int:
    """Return when the last byte is there of what rank 1 sends to rank 0 after its work."""
    return spent_ps + network.message_ps(network.link(1, 0), N_BYTES) - network.overhead_ps


def of_requests(name: str) -> Callable[[Any], Callable[[], Any]]:
    def make(comm: ranks.Comm) -> Callable[[], Any]:
        requests = [comm.Irecv(bytearray(N_BYTES), 1, 7)]
        return lambda: says_yes(name, getattr(ranks.Request, name)(requests))

    return make


def of_one(name: str) -> Callable[[Any], Callable[[], Any]]:
    def make(comm: ranks.Comm) -> Callable[[], Any]:
        request = comm.Irecv(bytearray(N_BYTES), 1, 7)
        return lambda: says_yes(name, getattr(request, name)())

    return make


def by_get_status(comm: ranks.Comm) -> Callable[[], Any]:
    request = comm.Irecv(bytearray(N_BYTES), 1, 7)
    return lambda: request.Get_status() and request.Test()


# Ways to poll for the message from rank 1: each takes a communicator to the call that says whether it is there.
PROBES: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "Iprobe": lambda comm: lambda: comm.Iprobe(1, 7),
    "Iprobe of any": lambda comm: lambda: comm.Iprobe(),
    "Improbe": lambda comm: lambda: comm.Improbe(1),
    "Improbe of any": lambda comm: lambda: comm.Improbe(tag=7),
}
REQUESTS = {
    "Get_status": by_get_status,
    **{name: of_one(name) for name in ("Test", "test")},
    **{name: of_requests(name) for name in ("Testall", "testall", "Testany", "testany", "Testsome", "testsome")},
}


def polled(comm: ranks.Comm, make: Any, start_ps: int, spent_ps: int) -> Any:
    """Let rank 1 send after its work; let rank 0 poll from `start_ps` on, and return how often, and when it saw it."""
    if comm.rank:
        ranks.spend(comm, spent_ps)
        return comm.Send(bytes(N_BYTES), 0, 7)
    poll, polls = make(comm), []

    def counted() -> Any:
        polls.append(1)
        return poll()

    ranks.spend(comm, start_ps)
    while not (found := counted()):
        pass
    seen_ps = now_ps()
    if isinstance(found, ranks.Message):
        found.Recv(bytearray(N_BYTES))
    elif make in PROBES.values():
        comm.Recv(bytearray(N_BYTES), 1)
    return len(polls), seen_ps


@pytest.mark.parametrize("name", [*PROBES, *REQUESTS])
def test_a_loop_across_a_second_takes_few_polls_and_ends_at_its_time(name: str) -> None:
    make = PROBES.get(name) or REQUESTS[name]
    for network, buffering, start_ps in product(NETWORKS, BUFFERINGS, (0, 12_345)):
        polls, seen_ps = ranks.run(polled, 2, make, start_ps, SECOND, buffering=buffering, network=network).results[0]
        offered = SECOND + network.overhead_ps
        there_ps = offered if buffering == "none" and name in PROBES else arrival_ps(network, SECOND)
        expected = first_poll_ps(start_ps, network.poll_ps, there_ps)
        assert seen_ps == expected + (network.overhead_ps if name in REQUESTS else 0), (network, buffering, start_ps)
        assert polls < MOST_POLLS, (network, buffering, start_ps)


@pytest.mark.parametrize("ports", [False, True])
@pytest.mark.parametrize("name", ["Iprobe", "Iprobe of any", "Improbe", "Test", "Testall", "Testany", "Testsome"])
def test_a_poll_at_exactly_the_arrival_sees_it_and_one_picosecond_earlier_does_not(name: str, ports: bool) -> None:
    make = PROBES.get(name) or REQUESTS[name]
    for poll_ps in (1000, 100_000):
        network = Network(name="x", inter=Link(10_000, 1000), poll_ps=poll_ps, ports=ports)
        for n_polls in (0, 1, 2, 50, 10_000, 10_000_000):
            for shift in (-1, 0, 1):
                spent_ps = n_polls * poll_ps + shift - arrival_ps(network, 0)
                if spent_ps >= 0:
                    polls, seen_ps = ranks.run(polled, 2, make, 0, spent_ps, network=network).results[0]
                    assert seen_ps == (n_polls + (shift > 0)) * poll_ps
                    assert polls < MOST_POLLS


@pytest.mark.parametrize("latency_ms", [10, 20, 20.0001, 30, 40, 100])
@pytest.mark.parametrize("name", ["Test", "Testany", "Iprobe", "Improbe"])
def test_a_long_latency_is_no_livelock(name: str, latency_ms: float) -> None:
    make = PROBES.get(name) or REQUESTS[name]
    network = Network(name="far", inter=Link(round(latency_ms * 10**9), 0), overhead_ps=0)
    polls, seen_ps = ranks.run(polled, 2, make, 0, 0, network=network).results[0]
    assert seen_ps == first_poll_ps(0, network.poll_ps, round(latency_ms * 10**9))
    assert polls < MOST_POLLS


TURNS = ["Iprobe", "Test", "Testall", "Improbe", "Testsome"]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_polls_of_different_kinds_in_turn_see_what_each_can_see_in_its_turn(turn: int, network: Network) -> None:
    """Each polls for a tag of its own; only one message comes before the loop ends."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, SECOND)
            comm.Send(bytes(N_BYTES), 0, turn)
            comm.recv(source=0, tag=9)
            return [comm.Send(bytes(N_BYTES), 0, tag) for tag in range(5) if tag != turn]
        one, two, three = (comm.Irecv(bytearray(N_BYTES), 1, tag) for tag in (1, 2, 4))
        calls = [
            lambda: comm.Iprobe(1, 0), one.Test, lambda: ranks.Request.Testall([two]), lambda: comm.Improbe(1, 3),
            lambda: ranks.Request.Testsome([three]),
        ]  # fmt: skip
        polls, found = [], None
        while not found:
            for call in calls:
                polls.append(1)
                if found := call():
                    break
        seen_ps = now_ps()
        if turn == 3:
            found.Recv(bytearray(N_BYTES))
        elif turn == 0:
            comm.Recv(bytearray(N_BYTES), 1, 0)
        comm.send("go on", 1, 9)
        for tag in {0, 3} - {turn}:
            comm.Recv(bytearray(N_BYTES), 1, tag)
        ranks.Request.Waitall([one, two, three])
        return len(polls), seen_ps

    polls, seen_ps = ranks.run(program, 2, network=network).results[0]
    step_ps = len(TURNS) * network.poll_ps
    expected = first_poll_ps(turn * network.poll_ps, step_ps, arrival_ps(network, SECOND))
    assert seen_ps == expected + (network.overhead_ps if TURNS[turn].startswith("Test") else 0)
    assert polls < MOST_POLLS


def test_work_between_polls_takes_its_time_each_time() -> None:
    network = ranks.presets["infiniband"]

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            ranks.spend(comm, 10**9)
            return comm.Send(bytes(N_BYTES), 0, 7)
        while not comm.Iprobe(1):
            ranks.spend(comm, 10**6)
        seen_ps = now_ps()
        return seen_ps, comm.Recv(bytearray(N_BYTES), 1)

    step_ps = network.poll_ps + 10**6
    assert ranks.run(program, 2).results[0][0] == first_poll_ps(0, step_ps, arrival_ps(network, 10**9))


@pytest.mark.parametrize("network", NETWORKS[:4], ids=lambda network: network.name)  # in "coarse" nothing takes time
def test_ranks_that_poll_for_each_other_in_a_chain_end_at_their_times(network: Network) -> None:
    p, polls = 4, []

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == p - 1:
            ranks.spend(comm, SECOND)
        else:
            while not comm.Iprobe(comm.rank + 1):
                polls.append(1)
            comm.Recv(bytearray(N_BYTES), comm.rank + 1)
        return now_ps(), comm.Send(bytes(N_BYTES), comm.rank - 1, 7) if comm.rank else None

    times = [time for time, _ in ranks.run(program, p, network=network).results]
    expected = [SECOND]
    for rank in reversed(range(p - 1)):
        took_ps = network.message_ps(network.link(rank + 1, rank), N_BYTES) - network.overhead_ps
        seen_ps = first_poll_ps(0, network.poll_ps, expected[0] + took_ps)
        expected.insert(0, seen_ps + network.overhead_ps)
    assert times == expected
    assert len(polls) < MOST_POLLS * p


def test_polling_costs_the_same_whoever_else_polls_beside() -> None:
    """Four ranks poll for rank 4, each from its own time on, with its own period of calls."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 4:
            for dest in range(4):
                ranks.spend(comm, SECOND)
                comm.Send(bytes(N_BYTES), dest)
            return None
        ranks.spend(comm, 1_003 * comm.rank)
        n = 0
        while not comm.Iprobe(4):
            n += 1
        seen_ps = now_ps()
        comm.Recv(bytearray(N_BYTES), 4)
        return n, seen_ps

    network = ranks.presets["infiniband"]
    for rank, (n, seen_ps) in enumerate(ranks.run(program, 5).results[:4]):
        there_ps = (rank + 1) * SECOND + rank * network.overhead_ps + arrival_ps(network, 0)
        assert seen_ps == first_poll_ps(1_003 * rank, network.poll_ps, there_ps)
        assert n < 4 * MOST_POLLS


def test_polls_across_many_gaps_see_every_message_in_its_time() -> None:
    gaps = [10**6, 10**9, 0, 10**11, 10**5, 10**10]

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            for gap in gaps:
                ranks.spend(comm, gap)
                comm.Send(bytes(N_BYTES), 0)
            return None
        seen = []
        for _ in gaps:
            while not comm.Iprobe(1):
                pass
            seen.append(now_ps())
            comm.Recv(bytearray(N_BYTES), 1)
        return seen

    network = ranks.presets["alpha-beta"]
    clock, sent, expected = 0, 0, []
    for gap in gaps:
        sent += gap
        clock = first_poll_ps(clock, network.poll_ps, arrival_ps(network, sent))
        expected.append(clock)
    assert ranks.run(program, 2, network=network).results[0] == expected
