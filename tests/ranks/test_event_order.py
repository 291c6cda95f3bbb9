"""Claims about what happens at one virtual time, or was sent by a rank far ahead: the clock decides, then the rank."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import ranks
from inside import now_ps
from oracle import NETWORKS


def test_messages_that_arrive_with_no_latency_at_the_time_of_a_choice_take_part_in_it() -> None:
    network = ranks.Network(name="free", inter=ranks.Link(0, 0))

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            ranks.spend(comm, 10)
            return [comm.recv() for _ in range(2)]
        ranks.spend(comm, 10 if comm.rank == 1 else 5)
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 3, network=network).results[0] == [2, 1]
    assert ranks.run(lambda comm: program(comm) if comm.rank != 2 else late_tie(comm), 3, network=network).results[
        0
    ] == [1, 2]


def late_tie(comm: ranks.Comm) -> None:
    ranks.spend(comm, 10)
    comm.send(2, 0)


def test_messages_of_one_time_take_turns_at_a_port_in_order_of_source() -> None:
    """Rank 1's message is sent at the same time as rank 2's, but by a rank that the scheduler runs later."""
    network = ranks.Network(name="x", inter=ranks.Link(1000, 1000))

    def program(comm: ranks.Comm) -> Any:
        x = np.zeros(100, np.uint8)
        if comm.rank == 0:
            return [(comm.recv(), now_ps(comm))[0] for _ in range(2)]
        if comm.rank == 1:
            comm.Recv(x, 2)
            return comm.send(1, 0)
        comm.Send(x, 1)
        ranks.spend(comm, 1100)
        return comm.send(2, 0)

    run = ranks.run(program, 3, network=network)
    assert run.times_ps[1:] == [1100, 1100]
    assert run.results[0] == [1, 2]


def test_a_message_known_to_come_later_does_not_win_over_one_that_is_not_yet_sent() -> None:
    network = ranks.Network(name="x", inter=ranks.Link(1000, 0), ports=False, poll_ps=1)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return ranks.Request.waitall([comm.irecv(), comm.irecv(), comm.irecv()])
        if comm.rank == 2:
            ranks.spend(comm, 50_000)
        if comm.rank == 3:
            ranks.spend(comm, 10_000)
            comm.Iprobe()  # a rank that the scheduler lets go on only when the clock has come so far
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 4, network=network).results[0] == [1, 3, 2]


@pytest.mark.parametrize("wait", ["receive", "probe"])
@pytest.mark.parametrize(("call", "end_ps"), [("Send", 9000), ("Ssend", 9000 + 1000 + 1)])
def test_a_call_behind_a_wildcard_gets_nothing_before_the_wildcard_is_decided(
    call: str, end_ps: int, wait: str
) -> None:
    network = ranks.Network(name="x", inter=ranks.Link(1000, 1000), ports=False)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            comm.Send(np.zeros(8000, np.uint8), 0)
            return getattr(comm, call)(np.zeros(1, np.uint8), 0)
        wild = comm.Irecv(np.zeros(8000, np.uint8))
        if wait == "probe":
            comm.Probe(1)
            assert now_ps(comm) == 9000
        comm.Recv(np.zeros(8000, np.uint8), 1)
        return now_ps(comm), wild.Wait()

    assert ranks.run(program, 2, network=network).results[0] == (end_ps, True)


@pytest.mark.parametrize("network", ["alpha-beta", "infiniband"])
def test_a_message_in_the_place_of_an_earlier_one_has_its_own_time(network: str) -> None:
    """Rank 1's third message uses the memory of its second, which was in the order of arrival."""

    def program(comm: ranks.Comm) -> Any:
        x = np.full(2, float(comm.rank))
        if comm.rank:
            if comm.rank == 1:
                comm.Send(x, 0)
                comm.Send(x, 0)
                comm.recv(source=0)
            ranks.spend(comm, 10**8 // comm.rank)
            comm.Send(x, 0)
            return comm.send("sent", 0, tag=9)
        comm.Iprobe()
        comm.Recv(x, 1)
        comm.Recv(x, 1)
        comm.send("received", 1)
        for source in (1, 2):
            comm.recv(source=source, tag=9)
        got = []
        for _ in range(2):
            comm.Recv(x)
            got.append(x[0])
        return got

    assert ranks.run(program, 3, network=network).results[0] == [2, 1]


def test_a_poll_at_the_time_of_an_arrival_sees_what_follows_from_it() -> None:
    network = ranks.Network(name="x", inter=ranks.Link(1000, 0), poll_ps=1)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            return comm.send(None, 0)
        request = comm.irecv()
        ranks.spend(comm, 999)
        return request.Test(), request.Test()

    assert ranks.run(program, 2, network=network).results[0] == (False, True)


# -- choices that look safe before they are ----------------------------------------------------------------------
# Rank 0's first Iprobe lets all ranks start. Then it asks for any message while an early one is still to be sent.

QUICK = ranks.Network(name="x", inter=ranks.Link(20, 0), ports=False, poll_ps=1)


def test_a_rank_that_polls_may_still_send_the_earliest_message() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            comm.Iprobe()
            ranks.spend(comm, 100)
            return [comm.recv(), comm.recv()]
        ranks.spend(comm, 30 if comm.rank == 1 else 10)
        if comm.rank == 2:
            comm.Iprobe()
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 3, network=QUICK).results[0] == [2, 1]


def test_a_rank_that_is_ready_to_run_may_still_send_the_earliest_message() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank != 1:
            comm.Iprobe()
        if comm.rank == 0:
            ranks.spend(comm, 100)
            return [comm.recv(), comm.recv()]
        ranks.spend(comm, 30 if comm.rank == 1 else 10)
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 3, network=QUICK).results[0] == [2, 1]


def test_a_rank_that_polls_at_the_very_time_may_still_win_the_tie() -> None:
    network = ranks.Network(name="x", inter=ranks.Link(0, 0), ports=False, poll_ps=1)

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            comm.Iprobe()
            ranks.spend(comm, 100)
            return [comm.recv(), comm.recv()]
        if comm.rank == 3:
            return comm.send(None, 1)
        ranks.spend(comm, 50)
        if comm.rank == 1:
            assert comm.Iprobe()
            comm.recv()
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 4, network=network).results[0] == [1, 2]


def test_the_answer_to_a_later_message_of_ones_own_may_be_the_earliest() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            comm.Iprobe()
            request = comm.irecv()
            comm.send(None, 1)
            return request.wait(), comm.recv()
        if comm.rank == 1:
            comm.recv()
        else:
            ranks.spend(comm, 1000)
        return comm.send(comm.rank, 0)

    assert ranks.run(program, 3, network=QUICK).results[0] == (1, 2)


def test_a_wildcard_is_decided_as_early_as_its_earliest_message_allows() -> None:
    """Rank 0's choice seems due late, until rank 2 sends; what rank 0 sends then is the first for rank 3."""

    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            got = comm.recv()
            comm.send(0, 3)
            return got, comm.recv()
        if comm.rank == 1:
            ranks.spend(comm, 480)
            comm.send(1, 3)
            ranks.spend(comm, 500)
            return comm.send(1, 0)
        if comm.rank == 2:
            ranks.spend(comm, 80)
            return comm.send(2, 0)
        return comm.recv(), comm.recv()

    results = ranks.run(program, 4, network=QUICK).results
    assert (results[0], results[3]) == ((2, 1), (0, 1))


@pytest.mark.parametrize("network", ["alpha-beta", "infiniband"])
def test_a_message_that_a_wildcard_may_take_is_kept_from_receives_posted_after_it(network: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            comm.send("first", 1)
            return comm.send("second", 1)
        wild, specific = comm.irecv(), comm.irecv(source=0)
        return wild.wait(), specific.wait()

    assert ranks.run(program, 2, network=network).results[1] == ("first", "second")


def random_wildcards(comm: ranks.Comm, seed: int) -> Any:
    """Send to ranks drawn by the seed, and receive from any source in ways drawn by the seed."""
    mine, shared = random.Random(f"{seed}/{comm.rank}"), random.Random(seed)
    n = shared.randint(1, 6)
    dests = [[shared.randrange(comm.size) for _ in range(n)] for _ in range(comm.size)]
    log, requests, x, status = [], [], np.zeros(2), ranks.Status()
    expected = sum(row.count(comm.rank) for row in dests)

    def receive() -> None:
        kind = mine.randrange(5)
        if kind == 4 and len(log) + 1 < expected:
            early = np.zeros(2)
            posted = comm.Irecv(early)
            comm.Recv(x)
            log.append((x.tolist(), ranks.Wtime()))
            posted.Wait()
            return log.append((early.tolist(), ranks.Wtime()))
        if kind == 0:
            comm.Probe(status=status)
        elif kind == 1:
            while not comm.Iprobe(status=status):
                pass
        comm.Recv(x, status.source if kind < 2 else ranks.ANY_SOURCE, status=status if kind == 2 else None)
        log.append((x.tolist(), ranks.Wtime()))

    for number, dest in enumerate(dests[comm.rank]):
        ranks.spend(comm, mine.choice([0, 0, 1, 1000, 20_000]))
        requests.append(mine.choice([comm.Isend, comm.Issend, comm.Ibsend])(np.array([comm.rank, float(number)]), dest))
        if len(log) + 1 < sum(row[: number + 1].count(comm.rank) for row in dests) and mine.random() < 0.3:
            receive()
    while len(log) < expected:
        receive()
    ranks.Request.Waitall(requests)
    return log


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_the_short_way_of_wildcards_changes_nothing(buffering: str, seeds: Any) -> None:
    """A checked run takes the long way with every message."""
    networks = [network for network in NETWORKS if not network.jitter_ps]
    for seed in seeds(60):
        options = {"network": networks[seed % len(networks)], "buffering": buffering}
        short, long = (
            ranks.run(random_wildcards, 2 + seed % 4, seed, check=check, **options) for check in (False, True)
        )
        assert (short.results, short.times_ps) == (long.results, long.times_ps), seed


@pytest.mark.parametrize("check", [False, True])
def test_what_a_wildcard_has_been_given_is_not_decided_again(check: bool) -> None:
    """Rank 1's first message is of the long way; others of the same instant come while the rank wakes up."""

    def program(comm: ranks.Comm) -> Any:
        b, out = np.zeros(1), []
        if comm.rank == 3:
            comm.Send(b, 0)
            comm.Send(b, 2)
        elif comm.rank == 0:
            comm.Recv(b, ranks.ANY_SOURCE)
            comm.Ssend(np.array([0.0]), 1)
        elif comm.rank == 2:
            comm.Recv(b, 3)
            comm.Ssend(np.array([2.0]), 1)
        else:
            for _ in range(2):
                comm.Recv(b, ranks.ANY_SOURCE)
                out.append(b[0])
        return out

    run = ranks.run(program, 4, network="alpha-beta", check=check)
    assert (run.results[1], run.times_ps) == ([2, 0], [2_002_400, 3_002_400, 1_001_600, 0])


def test_sizes_that_take_turns_change_nothing() -> None:
    def program(comm: ranks.Comm) -> Any:
        other, got = 1 - comm.rank, []
        for n in (2, 3, 3, 1, 2, 3, 1, 1, 2, 5, 2, 2):
            came = np.zeros(6)
            comm.Sendrecv(np.arange(n) + 10.0 * comm.rank, other, 0, came, other, 0)
            comm.Send(np.arange(n + 1) - 10.0 * comm.rank, other, 0)
            got.append(came.tolist())
            comm.Recv(came, other, 0)
            got.append(came.tolist())
        return got

    for network in ("alpha-beta", "infiniband"):
        short, long = (ranks.run(program, 2, network=network, check=check) for check in (False, True))
        assert (short.results, short.times_ps) == (long.results, long.times_ps)
