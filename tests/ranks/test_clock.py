"""Claims about virtual time: closed forms, exact to the picosecond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
from inside import now_ps
from ranks import Link, Network

# o = overhead, L = latency, G = femtoseconds a byte; N * G / 1000 is longer than o, so that ports matter.
O, L, G, N = 300, 20_000, 1500, 1001  # noqa: E741
NG = N * G // 1000
PORTS = Network(name="ports", inter=Link(L, G), overhead_ps=O, reduce_fs_per_byte=250, poll_ps=1000)
FREE = Network(name="no ports", inter=Link(L, G), overhead_ps=O, ports=False, poll_ps=1000)
BUFFERINGS = ["none", "eager", "infinite"]


def data() -> Any:
    return np.zeros(N, np.uint8)


def times(program: Any, p: int, network: Network = PORTS, **options: Any) -> list[int]:
    return ranks.run(program, p, network=network, **options).times_ps


def one_message(comm: ranks.Comm, sender_ps: int = 0, receiver_ps: int = 0) -> None:
    if comm.rank == 0:
        ranks.spend(comm, sender_ps)
        comm.Send(data(), 1)
    else:
        ranks.spend(comm, receiver_ps)
        comm.Recv(data(), 0)


@pytest.mark.parametrize("network", [PORTS, FREE], ids=str)
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_one_message_takes_alpha_and_n_beta(network: Network, buffering: str) -> None:
    got = times(one_message, 2, network, buffering=buffering)
    assert got[1] == L + 2 * O + NG == network.message_ps(network.inter, N)
    assert got[0] == (O + NG if buffering == "none" else O)


@given(st.integers(0, 10**5), st.integers(0, 10**5), st.sampled_from([PORTS, FREE]))
def test_a_rendezvous_starts_when_both_sides_are_ready(sender_ps: int, receiver_ps: int, network: Network) -> None:
    start = max(sender_ps + O, receiver_ps)
    got = ranks.run(one_message, 2, sender_ps, receiver_ps, network=network, buffering="none").times_ps
    assert got == [start + NG, start + L + NG + O]


@given(st.integers(0, 10**5), st.integers(0, 10**5), st.sampled_from([PORTS, FREE]))
def test_a_buffered_message_starts_when_it_is_sent(sender_ps: int, receiver_ps: int, network: Network) -> None:
    got = ranks.run(one_message, 2, sender_ps, receiver_ps, network=network).times_ps
    assert got == [sender_ps + O, max(sender_ps + O + L + NG, receiver_ps) + O]


@pytest.mark.parametrize("call", ["Isend", "Issend"])
def test_a_nonblocking_rendezvous_overlaps_with_work(call: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            comm.Recv(data(), 0)
            return None
        request = getattr(comm, call)(data(), 1)
        started = now_ps(comm)
        ranks.spend(comm, 10**6)
        request.Wait()
        return started

    run = ranks.run(program, 2, network=PORTS, buffering="none")
    assert run.results[0] == O
    assert run.times_ps == [O + 10**6, O + L + NG + O]


@pytest.mark.parametrize("p", [2, 3, 7])
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_messages_to_one_root_take_turns_at_its_port(p: int, buffering: str) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank:
            comm.Send(data(), 0)
        else:
            requests = [comm.Irecv(data(), source) for source in range(1, comm.size)]
            ranks.Request.Waitall(requests)

    # The receiver's overhead of each but the last hides behind the next message in the port.
    assert times(program, p, buffering=buffering)[0] == O + L + (p - 1) * NG + O
    assert times(program, p, FREE, buffering=buffering)[0] == O + L + NG + (p - 1) * O


@pytest.mark.parametrize("p", [2, 3, 7])
def test_messages_of_one_root_take_turns_at_its_port(p: int) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank:
            comm.Recv(data(), 0)
        else:
            for dest in range(1, comm.size):
                comm.Send(data(), dest)

    assert times(program, p) == [(p - 1) * O] + [O + k * NG + L + O for k in range(1, p)]
    assert times(program, p, FREE) == [(p - 1) * O] + [k * O + L + NG + O for k in range(1, p)]


@pytest.mark.parametrize("buffering", BUFFERINGS)
@pytest.mark.parametrize("p", [2, 3, 8])
def test_ports_are_full_duplex(p: int, buffering: str) -> None:
    def program(comm: ranks.Comm) -> None:
        comm.Sendrecv(data(), (comm.rank + 1) % comm.size, 0, data(), (comm.rank - 1) % comm.size)

    assert times(program, p, buffering=buffering) == [O + L + NG + O] * p


def test_an_eager_message_behind_a_rendezvous_waits_for_the_port_only_while_it_is_used() -> None:
    def program(comm: ranks.Comm, receiver_ps: int) -> None:
        if comm.rank == 0:
            request = comm.Issend(data(), 1)
            comm.Send(data(), 2)
            request.Wait()
        elif comm.rank == 1:
            ranks.spend(comm, receiver_ps)
            comm.Recv(data(), 0)
        else:
            comm.Recv(data(), 0)

    early, late = (ranks.run(program, 3, t, network=PORTS).times_ps for t in (0, 10**6))
    assert early == [O + NG, O + L + NG + O, O + 2 * NG + L + O]
    assert late == [10**6 + NG, 10**6 + L + NG + O, 2 * O + L + NG + O]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_ranks_of_a_node_share_its_port_to_other_nodes_and_only_that(k: int) -> None:
    def program(comm: ranks.Comm) -> None:
        half = comm.size // 2
        if comm.rank < half:
            comm.Send(data(), comm.rank + half)
            comm.Send(data(), (comm.rank + 1) % half)
            comm.Recv(data(), (comm.rank - 1) % half)
        else:
            comm.Recv(data(), comm.rank - half)

    network = Network(
        name="nodes", inter=Link(L, G), intra=Link(7, 0), ranks_per_node=k, shared_node_port=True, overhead_ps=O
    )
    assert times(program, 2 * k, network) == [2 * O + 7 + O] * k + [O + j * NG + L + O for j in range(1, k + 1)]
    own = Network(name="own ports", inter=Link(L, G), intra=Link(7, 0), ranks_per_node=k, overhead_ps=O)
    assert times(program, 2 * k, own)[k:] == [O + NG + L + O] * k


def test_messages_of_several_nodes_to_one_share_its_port() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank in (2, 4):
            comm.Send(data(), comm.rank // 2 - 1)
        elif comm.rank < 2:
            comm.Recv(data(), 2 + 2 * comm.rank)

    for shared, expected in ((True, [O + L + NG + O, O + L + 2 * NG + O]), (False, [O + L + NG + O] * 2)):
        network = Network(
            name="nodes", inter=Link(L, G), ranks_per_node=2, shared_node_port=shared, overhead_ps=O
        )  # fmt: skip
        assert times(program, 6, network)[:2] == expected


def test_each_pair_of_ranks_uses_its_class_of_link() -> None:
    network = Network(name="three", inter=Link(900, 0), intra=Link(70, 0), itself=Link(5, 0), ranks_per_node=2)

    def program(comm: ranks.Comm, dest: int) -> None:
        if comm.rank == 0:
            comm.Isend(data(), dest).Wait()
        if comm.rank == dest:
            comm.Recv(data(), 0)

    found = [max(ranks.run(program, 4, dest, network=network).times_ps) for dest in range(4)]
    assert found == [5, 70, 900, 900]


def test_time_per_byte_is_rounded_down_to_picoseconds() -> None:
    assert [Link(0, 333).transfer_ps(n) for n in (0, 3, 4, 1000)] == [0, 0, 1, 333]
    assert Link.of(1e-6, 12e9) == Link(10**6, 83_333)
    assert Link.of(0.5e-6, 1e9) == Link(500_000, 10**6)


@given(st.integers(0, 1000), st.integers(1, 5000))
def test_jitter_is_bounded_and_drawn_from_the_seed(seed: int, jitter_ps: int) -> None:
    network = Network(name="jitter", inter=Link(L, G), overhead_ps=O, jitter_ps=jitter_ps)
    plain, first, again = (
        ranks.run(one_message, 2, network=n, seed=s).time_ps for n, s in ((PORTS, 0), (network, seed), (network, seed))
    )
    assert plain <= first == again <= plain + jitter_ps


def test_jitter_differs_with_the_seed_and_from_message_to_message() -> None:
    network = Network(name="jitter", inter=Link(0, 0), jitter_ps=10**6)

    def program(comm: ranks.Comm) -> list[float]:
        return [comm.sendrecv(None, 1 - comm.rank) or ranks.Wtime() for _ in range(3)]

    runs = [ranks.run(program, 2, network=network, seed=seed).results for seed in range(3)]
    assert len({str(run) for run in runs}) == 3
    steps = np.diff(runs[0][0], prepend=0)
    assert len(set(steps)) == 3


def test_reductions_are_charged_gamma() -> None:
    def program(comm: ranks.Comm) -> None:
        charge = ranks.reduction_clock(comm)
        for n_bytes in (1000, 1, 10):
            if charge is not None:
                charge(n_bytes)

    assert times(program, 2) == [250 + 0 + 2] * 2
    assert times(program, 2, FREE) == [0, 0]
    assert ranks.reduction_clock(object()) is None


@pytest.mark.parametrize("network", [PORTS, FREE], ids=str)
@pytest.mark.parametrize("call", ["Test", "Iprobe", "Testany", "Get_status"])
def test_an_unsuccessful_poll_costs_its_time_and_a_successful_one_nothing(call: str, network: Network) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank:
            return comm.Send(data(), 0)
        polls, request = 0, None if call == "Iprobe" else comm.Irecv(data(), 1)
        ask = {
            "Iprobe": comm.Iprobe, "Testany": lambda: ranks.Request.Testany([request])[1],
            "Test": lambda: request.Test(), "Get_status": lambda: request.Get_status(),
        }[call]  # fmt: skip
        while not ask():
            polls += 1
        before = now_ps(comm)
        comm.Recv(data(), 1) if request is None else request.Wait()
        return polls, before, now_ps(comm)

    polls, found_ps, end_ps = ranks.run(program, 2, network=network).results[0]
    arrival = O + L + NG
    assert polls == -(-arrival // 1000)
    assert end_ps == polls * 1000 + O
    assert found_ps == (end_ps if call in ("Test", "Testany") else end_ps - O)


def test_messages_to_nobody_and_making_communicators_take_no_time() -> None:
    def program(comm: ranks.Comm) -> None:
        comm.Send(data(), ranks.PROC_NULL)
        comm.Recv(data(), ranks.PROC_NULL)
        comm.Dup().Split(comm.rank % 2)

    assert times(program, 3) == [0, 0, 0]


def test_ranks_leave_the_making_of_a_communicator_when_the_last_has_come() -> None:
    def program(comm: ranks.Comm) -> None:
        ranks.spend(comm, 100 * comm.rank)
        comm.Split(comm.rank % 2)

    assert times(program, 4) == [300] * 4


def test_work_and_wtime_are_on_the_clock() -> None:
    def program(comm: ranks.Comm) -> float:
        ranks.spend(comm, 2_500_000)
        return ranks.Wtime()

    run = ranks.run(program, 2)
    assert run.results == [2.5e-6, 2.5e-6]
    assert (run.time_ps, run.time_s) == (2_500_000, 2.5e-6)
    ranks.spend(object(), 5)
    with pytest.raises(ValueError, match=r"ranks\.spend: got -1 ps"):
        ranks.run(lambda comm: ranks.spend(comm, -1), 1)
    with pytest.raises(RuntimeError, match="outside a run"):
        ranks.Wtime()


def test_presets_are_named_after_themselves_and_say_where_their_numbers_come_from() -> None:
    for name, network in ranks.presets.items():
        assert network.name == name
        assert network.source
        assert ranks.network_named(name) is network
    assert ranks.network_named(None).name in ranks.presets


@pytest.mark.parametrize(
    "make",
    [
        lambda: Link(-1, 0), lambda: Link(0, -1), lambda: Network(name="x", inter=Link(0, 0), ranks_per_node=0),
        lambda: Network(name="x", inter=Link(0, 0), poll_ps=0), lambda: Network(name="x", inter=3),
        lambda: Network(name="x", inter=Link(0, 0), intra=(1, 0)), lambda: Link.of(-1, 1),
        lambda: Network(name="x", inter=Link(0, 0), overhead_ps=-1), lambda: ranks.run(print, 1, network="infinband"),
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(make: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"got .*, expected .*; remedy: "):
        make()
