"""Every formula of the catalogue against the simulator: rounds, sends, bytes, and time to the picosecond."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from claims import rows
from loggp import patience
from loggp.patience import giving_up_after

# No eager limit divides the messages below alike, so that one run mixes buffered and unbuffered ones.
MIXED = ranks.Network(name="mixed", inter=ranks.Link.of(1e-6, 1e9), overhead_ps=1000, eager_limit=24)
ROWS = {row.function.__name__: (name, row) for name in collectives.CATALOGUE for row in rows(name)}
# Those that send so many messages, p(p-1), that they are not played for large p.
SQUARE = {"linear_alltoall", "pairwise_alltoall", "pairwise_reduce_scatter"}
BUFFERINGS = ["none", "eager", "infinite"]


def call(name: str, n: int) -> Any:
    """Return the program that calls an algorithm on what n_items = n says of its operation."""
    operation, row = ROWS[name]

    def program(comm: Any) -> Any:
        counts = [(n + comm.size - 1 - rank) // comm.size for rank in range(comm.size)]  # as equal as can be
        mine = np.zeros(counts[comm.rank])
        if operation in ("allgather", "gather"):
            return row.function(comm, mine, counts=counts)
        if operation == "scatter":
            return row.function(comm, np.zeros(n), counts=counts, out=mine)
        if operation == "alltoall":
            return row.function(comm, np.zeros((comm.size, n // comm.size)))
        return row.function(comm) if operation == "barrier" else row.function(comm, np.zeros(n))

    return program


def sizes(name: str, p: int) -> tuple[int, ...]:
    return (0,) if ROWS[name][0] == "barrier" else (0, 1, 5 * p + 3, 9000, 20_000)


def combinations(name: str, buffering: str) -> list[tuple[ranks.Network, int, int]]:
    """Return networks, p and n: for each algorithm and buffering one in 29 of them, for barriers one in 4.

    Other algorithms and bufferings get others, and together they get all.
    """
    every = [
        (network, p, n)
        for network in [*ranks.presets.values(), MIXED]
        for p in ((1, 2, 3, 4, 7, 8, 9, 16, 17) if network.ranks_per_node > 1 else (1, 2, 3, 5, 6, 8, 13, 17))
        for n in sizes(name, p)
    ]
    one_in = 4 if ROWS[name][0] == "barrier" else 29
    return every[(list(ROWS).index(name) + 5 * BUFFERINGS.index(buffering)) % one_in :: one_in]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("buffering", BUFFERINGS)
def test_time_sends_and_bytes_equal_their_formulas(name: str, buffering: str) -> None:
    for network, p, n in combinations(name, buffering):
        run = ranks.run(call(name, n), p, network=network, buffering=buffering)
        predicted = collectives.cost(name, network, p, n, 8, buffering)
        assert (run.sends, run.bytes_sent) == (predicted.sends, predicted.bytes_sent), (network.name, p, n)
        assert predicted.time_ps in (run.time_ps, None), (network.name, p, n)
        assert predicted.at_most_ps is None or run.time_ps <= predicted.at_most_ps


@pytest.mark.parametrize("name", ROWS)
def test_time_is_claimed_on_networks_of_one_link(name: str) -> None:
    for p in (*range(1, 10), 15, 16, 17, 31, 32, 33):
        cost = collectives.cost(name, ranks.presets["infiniband"], p, 1000, 8)
        assert cost.time_ps is not None


@pytest.mark.parametrize("name", ROWS)
def test_where_a_schedule_is_too_long_to_play_the_rest_is_still_true(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [
        (network, p, n) for network in ("infiniband", "dgx-h100") for p in (1, 2, 6, 9) for n in sizes(name, p)[:3]
    ]
    played = [collectives.cost(name, ranks.presets[network], p, n, 8) for network, p, n in cases]
    monkeypatch.setattr("loggp.patience.MOST_ROUNDS", -1)
    for (network, p, n), cost in zip(cases, played, strict=True):
        told = collectives.cost(name, ranks.presets[network], p, n, 8)
        assert (told.rounds, told.sends, told.bytes_sent) == (cost.rounds, cost.sends, cost.bytes_sent), (network, p, n)
        assert told.time_ps in (cost.time_ps, None)
        assert told.time_ps is None or p < 9 or network != "dgx-h100" or name not in SQUARE
        assert None in (told.at_most_ps, cost.time_ps) or cost.time_ps <= told.at_most_ps


@pytest.mark.parametrize("name", ROWS)
def test_rounds_are_the_longest_chain_of_messages(name: str) -> None:
    for p in (*range(1, 10), 16, 17):
        for n in sizes(name, p)[1:3] or (0,):
            run = ranks.run(call(name, n), p, network="alpha-beta", trace=True)
            assert run.trace.longest_chain() == collectives.cost(name, run.network, p, n, 8).rounds, (p, n)


def test_a_double_tree_takes_hardly_longer_than_the_bytes_of_a_ring_through_one_port() -> None:
    network, n_bytes, segment = ranks.presets["infiniband"], 2**24, 2**16
    for p in (*range(2, 10), 15, 16, 17, 33):
        filling_ps = 2 * (p - 1).bit_length() * network.message_ps(network.inter, segment)
        took_ps = collectives.cost("double_tree_allreduce", network, p, n_bytes // 4, 4).expected_ps
        assert took_ps is not None
        assert took_ps - filling_ps <= 2.75 * network.inter.transfer_ps(n_bytes), p


def test_costs_are_the_textbook_formulas() -> None:
    network = ranks.presets["alpha-beta"]
    alpha, n = 10**6, 8 * 1000
    for p in (2, 4, 8, 10):
        beta = 100  # ps a byte: 10 GB/s
        assert collectives.cost("ring_allreduce", network, p, 1000, 8).time_ps == (
            2 * (p - 1) * alpha + 2 * (p - 1) * n * beta // p
        )
        assert set(collectives.cost("ring_allreduce", network, p, 1000, 8).bytes_sent) == {2 * (p - 1) * n // p}
        assert collectives.cost("dissemination_barrier", network, p).time_ps == (p - 1).bit_length() * alpha
        assert sum(collectives.cost("dissemination_barrier", network, p).sends) == p * (p - 1).bit_length()
        assert sum(collectives.cost("central_barrier", network, p).sends) == 2 * (p - 1)


@pytest.mark.parametrize("name", ["dgx-h100", "dgx-a100-shared"])
@pytest.mark.parametrize(("p", "n"), [(48, 0), (48, 96), (48, 96_000), (72, 72 * 16), (72, 72 * 9000)])
@pytest.mark.parametrize("buffering", ["none", "eager"])
def test_a_long_ring_across_nodes_takes_as_long_as_a_few_of_its_ranks_show(
    name: str, p: int, n: int, buffering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ranks.presets[name]
    monkeypatch.setattr("loggp.patience.PATIENCE", 1)
    monkeypatch.setattr("loggp.patience.MOST_ROUNDS", 160)
    exact = collectives.cost("ring_allreduce", network, p, n, 8, buffering)
    monkeypatch.setattr("loggp.patience.MOST_ROUNDS", 10)
    about = collectives.cost("ring_allreduce", network, p, n, 8, buffering)
    assert exact.time_ps <= exact.at_most_ps == about.at_most_ps
    assert about.time_ps is None
    assert about.expected_ps == pytest.approx(exact.time_ps, rel=0.01)
    assert collectives.cost("ring_allreduce", network, p, n + 1, 8, buffering).expected_ps >= about.expected_ps


@pytest.mark.parametrize(
    ("name", "p"), [("ring_allreduce", 72), ("segmented_ring_allreduce", 50), ("pairwise_alltoall", 136)]
)
def test_who_asks_for_a_cost_gets_an_exact_one_of_more_ranks_than_a_choice_can_wait_for(name: str, p: int) -> None:
    network, n = ranks.presets["dgx-h100"], 3 * p
    run = ranks.run(call(name, n), p, network=network)
    assert collectives.cost(name, network, p, n, 8).time_ps == run.time_ps
    with giving_up_after(10**15):
        assert collectives.cost(name, network, p, n, 8).time_ps is None


@pytest.mark.parametrize("name", ["chain_broadcast", "double_tree_allreduce", "segmented_ring_allreduce"])
@pytest.mark.parametrize("network", ["infiniband", "dgx-h100", "alpha-beta", "alpha-beta with overhead"])
def test_many_segments_cost_what_a_few_of_them_show(name: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ports and with little overhead, many segments are on their way before one waits for another."""
    preset = ranks.presets[network.removesuffix(" with overhead")]
    machine_on = replace(preset, overhead_ps=100_000) if "overhead" in network else preset
    monkeypatch.setattr("loggp.patience.PATIENCE", 1)
    function = ROWS[name][1].function
    module = importlib.import_module(function.__module__)
    formula = getattr(module, f"{name}_cost")
    module = module if name == "double_tree_allreduce" else patience
    limits = {"_FEW": 16, "_FEWEST": 4} if name == "double_tree_allreduce" else {"MOST_MESSAGES": 16}
    for p in (2, 8, 13, 32):
        n, segment_bytes = 6_005, 64 if name != "segmented_ring_allreduce" else 1024
        machine = collectives.Machine.of(machine_on, p)
        with monkeypatch.context() as patched:
            for limit in limits:
                patched.setattr(module, limit, 10**6)
            exact = formula(machine, n, 1, segment_bytes)
            for limit, value in limits.items():
                patched.setattr(module, limit, value)
            about = formula(machine, n, 1, segment_bytes)
        assert exact.about_ps is None
        assert (about.sends, about.bytes_sent, about.rounds) == (exact.sends, exact.bytes_sent, exact.rounds), p
        assert about.expected_ps == pytest.approx(exact.time_ps, rel=0.01), p


def test_two_levels_on_many_nodes_take_as_long_as_a_few_nodes_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loggp.patience.PATIENCE", 1)
    for network in ("dgx-h100", "dgx-a100-shared", "infiniband"):
        for p, n in ((96, 96 * 7), (96, 96 * 7 + 3), (96, 96 * 2000), (99, 1000), (99, 100_000)):
            machine = collectives.Machine.of(ranks.presets[network], p)
            with monkeypatch.context() as patched:
                patched.setattr("loggp.patience.MOST_ROUNDS", 200)
                patched.setattr("loggp.patience.MOST_MESSAGES", 10**6)
                exact = collectives.two_level.two_level_allreduce_cost(machine, n, 8)
                patched.setattr("loggp.patience.MOST_ROUNDS", 10)
                patched.setattr("loggp.patience.MOST_MESSAGES", 10)
                about = collectives.two_level.two_level_allreduce_cost(machine, n, 8)
            assert (about.sends, about.bytes_sent, about.rounds) == (exact.sends, exact.bytes_sent, exact.rounds)
            assert about.time_ps is None
            assert about.expected_ps == pytest.approx(exact.time_ps, rel=0.05 if n == 1000 else 0.02), (network, p, n)


def test_wrong_costs_are_refused() -> None:
    network = ranks.presets["alpha-beta"]
    for arguments in ({"p": 0}, {"p": 2, "n_items": -1}, {"p": 2, "buffering": "Eager"}):
        with pytest.raises(ValueError, match="cost: got p="):
            collectives.cost("ring_allreduce", network, **arguments)
    with pytest.raises(ValueError, match="got algorithm 'ring', expected one of naive_allreduce"):
        collectives.cost("ring", network, 2)


def test_a_machine_of_something_else_says_how_to_make_one() -> None:
    network = ranks.presets["alpha-beta"]
    wrong = [
        (collectives.Machine, (8, network)),
        (collectives.Machine, (network, 8)),
        (collectives.Machine, (network, ())),
    ]
    wrong += [(collectives.Machine.of, (8, network)), (collectives.Machine.of, ("ethernet", 8))]
    wrong += [(collectives.Machine.of, (network, 0))]
    for make, arguments in wrong:
        with pytest.raises(TypeError, match=r"^Machine.*expected a Network and .*remedy: for 8 ranks, Machine\.of\("):
            make(*arguments)
    with pytest.raises(ValueError, match=r"^Machine: got buffering='big', expected one of .*; remedy: "):
        collectives.Machine(network, (0, 1), "big")
