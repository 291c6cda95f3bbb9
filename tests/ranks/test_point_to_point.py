"""Claims about which message a receive gets, and when a send may go on: random programs against an oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ranks
from oracle import NETWORKS, Oracle, play, programs, smallest_cores

BUFFERINGS = ("none", "eager", "infinite")


@settings(max_examples=300)
@given(programs(), st.sampled_from(BUFFERINGS), st.sampled_from(NETWORKS), st.booleans(), st.integers(0, 9))
def test_random_program_ends_as_matching_alone_says(
    calls: Any, buffering: str, network: ranks.Network, trace: bool, seed: int
) -> None:
    expected = Oracle(calls, buffering)
    options = {"network": network, "buffering": buffering, "seed": seed, "trace": trace}
    if expected.blocked:
        with pytest.raises(ranks.DeadlockError) as caught:
            ranks.run(play, len(calls), calls, **options)
        assert sorted(b.rank for b in caught.value.blocked) == sorted(expected.blocked)
        assert set(caught.value.core) in smallest_cores(expected.blocked)
    elif expected.left:
        with pytest.raises(ranks.UnreceivedMessageError):
            ranks.run(play, len(calls), calls, **options)
    else:
        run = ranks.run(play, len(calls), calls, **options)
        assert run.results == expected.received
        assert sum(run.sends) == sum(run.receives) == sum(len(sides) for sides in expected.received)


@settings(max_examples=60)
@given(programs())
def test_advice_names_a_buffering_in_which_the_program_ends(calls: Any) -> None:
    outcomes = {mode: Oracle(calls, mode) for mode in BUFFERINGS}
    ends = [mode for mode, outcome in outcomes.items() if not outcome.blocked and not outcome.left]
    for mode in BUFFERINGS:
        if outcomes[mode].blocked:
            with pytest.raises(ranks.DeadlockError) as caught:
                ranks.run(play, len(calls), calls, network=NETWORKS[0], buffering=mode)
            assert (caught.value.passes_with in ends) == bool(ends)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_messages_of_one_tag_never_overtake_whatever_their_size(network: ranks.Network, buffering: str) -> None:
    def program(comm: ranks.Comm) -> list[int]:
        sizes = [1000, 1, 300, 0, 20, 1]
        if comm.rank == 0:
            for n, size in enumerate(sizes):
                comm.Send(np.full(size + 1, n), 1)
            return []
        got = []
        for _ in sizes:
            x = np.zeros(1001, int)
            comm.Recv(x, ranks.ANY_SOURCE if len(got) % 2 else 0)
            got.append(int(x[0]))
        return got

    assert ranks.run(program, 2, network=network, buffering=buffering).results[1] == list(range(6))


@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_a_receiver_never_sees_a_later_write_to_a_sent_buffer(buffering: str) -> None:
    def program(comm: ranks.Comm) -> list[float]:
        x, got = np.zeros(3), []
        if comm.rank == 0:
            for n in range(5):
                x[:] = n
                request = comm.Isend(x, 1)
                if n % 2:
                    request.Wait()
                else:
                    while not request.Test():
                        pass
                x[:] = -1
        else:
            for n in range(5):
                ranks.spend(comm, 10**6 * (n % 2))
                comm.Recv(x, 0)
                got.append(x[0])
        return got

    assert ranks.run(program, 2, buffering=buffering).results[1] == [0, 1, 2, 3, 4]


def test_a_write_before_the_wait_of_a_rendezvous_does_not_reach_the_receiver() -> None:
    def program(comm: ranks.Comm) -> float | None:
        x = np.zeros(2)
        if comm.rank == 0:
            request = comm.Issend(x, 1)
            x[:] = 9
            request.Wait()
            return None
        comm.Recv(x, 0)
        return float(x[0])

    assert ranks.run(program, 2).results[1] == 0


def test_bsend_makes_no_later_send_buffered() -> None:
    def program(comm: ranks.Comm) -> None:
        x = np.zeros(2)
        comm.Bsend(x, 1 - comm.rank)
        comm.Recv(x, 1 - comm.rank)
        comm.Send(x, 1 - comm.rank)
        comm.Recv(x, 1 - comm.rank)

    ranks.run(program, 2, buffering="eager")
    with pytest.raises(ranks.DeadlockError):
        ranks.run(program, 2, buffering="none")


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
def test_a_stream_of_equal_messages_is_carried_as_its_parts_are(network: str) -> None:
    """Small messages take a short way, those of a checked run do not; trace and status change nothing either."""

    def program(comm: ranks.Comm, plain: bool) -> Any:
        left, right, out = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size, []
        x, y = np.zeros(4), np.zeros(4)
        status = None if plain else ranks.Status()
        for n in range(40):
            x[:] = 100 * comm.rank + n
            if n % 7 == 3:
                comm.Send(x[:2], right, 1)
                comm.Recv(y[:2], left, 1, status)
            if n % 5 < 3:
                comm.Sendrecv(x, right, n % 3, y, left, n % 3, status)
            else:
                comm.Send(x, right, 2)
                comm.Send(x + 0.5, right, 3)
                comm.Recv(y, left, 3, status)
                out.append(y.copy())
                comm.Recv(y, left, ranks.ANY_TAG, status)
            out.append(y.copy())
        return np.array(out).tolist(), ranks.Wtime()

    short = ranks.run(program, 3, True, network=network)
    for other in (
        ranks.run(program, 3, False, network=network),
        ranks.run(program, 3, True, network=network, trace=True),
        ranks.run(program, 3, True, network=network, check=True),
    ):
        assert (other.results, other.times_ps, other.sends) == (short.results, short.times_ps, short.sends)
        assert (other.bytes_sent, other.bytes_received) == (short.bytes_sent, short.bytes_received)
    assert short.sends == short.receives


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
def test_an_exchange_takes_the_first_message_of_its_tag(network: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        other, x, y, z = 1 - comm.rank, np.zeros(1), np.zeros(1), np.zeros(1)
        for n in range(3):
            comm.Sendrecv(x + n, other, 7, y, other, 7)
        comm.Send(x + 3, other, 8)
        comm.Sendrecv(x + 4, other, 7, y, other, 7)
        comm.Recv(z, other, 8)
        return y[0], z[0]

    assert ranks.run(program, 2, network=network).results == [(4, 3), (4, 3)]


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
@pytest.mark.parametrize("source", [0, ranks.ANY_SOURCE])
def test_an_exchange_leaves_to_a_posted_receive_what_is_meant_for_it(network: str, source: int) -> None:
    def program(comm: ranks.Comm) -> Any:
        other, x, y, z = 1 - comm.rank, np.zeros(1), np.zeros(1), np.zeros(1)
        for n in range(3):
            comm.Sendrecv(x + n, other, 7, y, other, 7)
        posted = comm.Irecv(z, source, 7) if comm.rank else None
        for n in range(3, 5):
            comm.Sendrecv(x + n, other, 7, y, other, 7)
        if posted is None:
            comm.Send(x + 5, other, 7)
        else:
            posted.Wait()
        return y[0], z[0]

    assert ranks.run(program, 2, network=network).results == [(4, 0), (5, 3)]


def test_counts_are_those_of_the_messages() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            comm.Send(np.zeros(3), 1)
            comm.Send(np.zeros(0), 1)
            comm.Send(np.zeros(5, np.int8), 2)
        elif comm.rank == 1:
            comm.Recv(np.zeros(3), 0)
            comm.Recv(np.zeros(3), 0)
        else:
            comm.Recv(np.zeros(7, np.int8), 0)

    run = ranks.run(program, 3)
    assert (run.sends, run.receives) == ([3, 0, 0], [0, 2, 1])
    assert (run.bytes_sent, run.bytes_received) == ([29, 0, 0], [0, 24, 5])
