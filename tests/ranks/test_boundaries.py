"""Claims at boundaries: exactly the eager limit, both ends of the jitter, ties in time, receives posted in order."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest

import ranks
from ranks import Link, Network
from ways import BUFFERINGS

US = 10**6


# -- the eager limit --------------------------------------------------------------------------------------------------


def returns_early(comm: ranks.Comm, call: str, n_bytes: int) -> Any:
    """Return, for each of three sends in a row, whether it was complete long before its receive began."""
    if comm.rank:
        x = np.zeros(n_bytes, np.uint8)
        for n in range(3):
            ranks.spend(comm, (n + 1) * 10**9 - round(ranks.Wtime() * 10**12))
            comm.Recv(x, 0)
        return None
    x, early = np.zeros(n_bytes, np.uint8), []
    persistent = comm.Send_init(x, 1)
    for n in range(3):
        ranks.spend(comm, n * 10**9 + 10 * US * (n + 1) - round(ranks.Wtime() * 10**12) if n else 0)
        if call in ("Isend", "Issend", "Ibsend", "Start"):
            request = persistent if call == "Start" else getattr(comm, call)(x, 1)
            if call == "Start":
                request.Start()
            early.append(request.Test())
            request.Wait()
            continue
        if call == "Sendrecv":
            comm.Sendrecv(x, 1, 0, np.zeros(1), ranks.PROC_NULL)
        else:
            getattr(comm, call)(x, 1)
        early.append(ranks.Wtime() * 10**12 < (n + 1) * 10**9)
    return early


@pytest.mark.parametrize("call", ["Send", "Isend", "Sendrecv", "Start"])
@pytest.mark.parametrize("limit", [0, 1, 7, 100, 1023, 1024, 1025, 4096, 65_536])
@pytest.mark.parametrize("ports", [False, True])
def test_a_message_of_exactly_the_eager_limit_is_buffered_and_of_one_byte_more_is_not(
    ports: bool, limit: int, call: str
) -> None:
    network = Network(name="x", inter=Link(US, 100), overhead_ps=10, eager_limit=limit, ports=ports)
    for n_bytes in {0, 1, limit - 1, limit, limit + 1, 2 * limit} - {-1}:
        for buffering, buffered in (("eager", n_bytes <= limit), ("none", False), ("infinite", True)):
            early = ranks.run(returns_early, 2, call, n_bytes, network=network, buffering=buffering).results[0]
            assert early == [buffered] * 3, (n_bytes, buffering)


@pytest.mark.parametrize("n_bytes", [0, 1, 1024, 1025, 100_000])
def test_synchronous_sends_are_never_buffered_and_buffered_ones_always(n_bytes: int) -> None:
    for call in ("Ssend", "Issend", "Bsend", "Ibsend"):
        for buffering in BUFFERINGS:
            early = ranks.run(returns_early, 2, call, n_bytes, buffering=buffering).results[0]
            assert early == ["b" in call.lower()] * 3, (call, buffering)


@pytest.mark.parametrize("limit", [7, 1023, 1024, 1025])
def test_explore_takes_the_eager_limit_as_run_does(limit: int) -> None:
    def head_to_head(comm: ranks.Comm, n_bytes: int) -> None:
        comm.Send(np.zeros(n_bytes, np.uint8), 1 - comm.rank)
        comm.Recv(np.zeros(n_bytes, np.uint8), 1 - comm.rank)

    network = Network(name="x", inter=Link(US, 100), eager_limit=limit)
    for n_bytes in (limit - 1, limit, limit + 1):
        found = ranks.explore(head_to_head, 2, n_bytes, modes=["eager"], network=network)
        assert found.verdict == ("holds" if n_bytes <= limit else "fails")


# -- jitter -----------------------------------------------------------------------------------------------------------


def latencies(jitter_ps: int, seeds: range, ports: bool) -> list[int]:
    """Return what 20 messages of each seed took on a network on which only the jitter takes time."""

    def program(comm: ranks.Comm) -> Any:
        took = []
        for n in range(20):
            if comm.rank == 0:
                ranks.spend(comm, 10**9 * (n + 1) - round(ranks.Wtime() * 10**12))
                comm.Send(np.zeros(1), 1)
            else:
                comm.Recv(np.zeros(1), 0)
                took.append(round(ranks.Wtime() * 10**12) - 10**9 * (n + 1))
        return took

    network = Network(name="x", inter=Link(0, 0), jitter_ps=jitter_ps, ports=ports)
    return [time for seed in seeds for time in ranks.run(program, 2, network=network, seed=seed).results[1]]


@pytest.mark.parametrize("ports", [False, True])
@pytest.mark.parametrize("jitter_ps", [0, 1, 2, 5])
def test_jitter_is_drawn_from_nothing_to_all_of_it_both_ends_included(jitter_ps: int, ports: bool) -> None:
    counts = Counter(latencies(jitter_ps, range(15), ports))
    assert sorted(counts) == list(range(jitter_ps + 1))
    assert min(counts.values()) > 300 // (jitter_ps + 1) // 3  # each end about as often as any other


def test_a_wide_jitter_is_spread_over_all_of_its_range() -> None:
    drawn = sorted(latencies(10 * US, range(10), False))
    assert drawn[0] >= 0
    assert drawn[-1] <= 10 * US
    tenths = Counter(min(9, time // US) for time in drawn)
    assert min(tenths[tenth] for tenth in range(10)) >= 5  # of 20 expected: less has a probability below 1e-4


# -- ties -------------------------------------------------------------------------------------------------------------

WAYS_TO_TAKE = {
    "recv": lambda comm: comm.recv(tag=7),
    "irecv": lambda comm: comm.irecv(tag=7).wait(),
    "Mprobe": lambda comm: comm.mprobe(tag=7).recv(),
    "Improbe": lambda comm: polled(lambda: comm.improbe(tag=7)).recv(),
    "Probe": lambda comm: comm.recv(source=probed(comm.Probe), tag=7),
    "Iprobe": lambda comm: comm.recv(source=probed(comm.Iprobe), tag=7),
}


def polled(call: Any) -> Any:
    while not (found := call()):
        pass
    return found


def probed(call: Any) -> int:
    status = ranks.Status()
    polled(lambda: call(tag=7, status=status))
    return status.source


@pytest.mark.parametrize("left_over", [False, True])
@pytest.mark.parametrize("way", WAYS_TO_TAKE)
def test_ties_among_messages_of_one_tag_go_by_source_whoever_has_sent_something_first(
    way: str, left_over: bool
) -> None:
    def program(comm: ranks.Comm, first: tuple[int, ...]) -> Any:
        if comm.rank:
            place = first.index(comm.rank)
            if place:
                comm.recv(source=first[place - 1])  # so that they really run in this order
            comm.send("before", 0, tag=1)
            if place < 2:
                comm.send("your turn", first[place + 1])
            ranks.spend(comm, 100 * US - round(ranks.Wtime() * 10**12))
            return comm.send(comm.rank, 0, tag=7)
        if not left_over:
            for source in first:
                comm.recv(source=source, tag=1)
        got = [WAYS_TO_TAKE[way](comm) for _ in first]
        if left_over:
            for source in first:
                comm.recv(source=source, tag=1)
        return got

    for first in permutations((1, 2, 3)):
        for buffering in BUFFERINGS:
            if buffering == "none" and left_over:
                continue  # nobody would receive the first messages
            run = ranks.run(program, 4, first, network="alpha-beta", buffering=buffering)
            assert run.results[0] == [1, 2, 3], (first, buffering)


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta", "dgx-a100-shared"])
@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("posted_first", [False, True])
def test_a_receive_of_anything_posted_before_a_specific_one_takes_the_first_message(
    posted_first: bool, buffering: str, network: str
) -> None:
    def program(comm: ranks.Comm, wild: bool) -> Any:
        if comm.rank == 0:
            ranks.spend(comm, 10**9 if posted_first else 0)
            sent = [comm.isend(text, 1, 5) for text in ("first", "second")]
            return ranks.Request.waitall(sent)
        ranks.spend(comm, 0 if posted_first else 10**9)
        anything = comm.irecv(source=ranks.ANY_SOURCE if wild else 0, tag=ranks.ANY_TAG)
        specific = comm.irecv(source=0, tag=5)
        second = specific.wait()
        return anything.wait(), second

    for wild in (False, True):
        run = ranks.run(program, 2, wild, buffering=buffering, network=network)
        assert run.results[1] == ("first", "second")
        found = ranks.explore(program, 2, wild)
        assert [outcome.results[1] for outcome in found.outcomes] == [("first", "second")]
