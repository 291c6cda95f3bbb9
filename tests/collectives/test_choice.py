"""What "auto" picks: never much slower than the best algorithm there is, the same on all ranks, and explained."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

import numpy as np
import pytest

import collectives
import ranks
from claims import ORDERS, same
from collectives import CATALOGUE
from collectives.choice import preferring
from loggp import in_step, patience, steps, windows


def call(comm: Any, operation: str, n: int, algorithm: str) -> Any:
    """Call an operation by its front door on what n_items = n says of it."""
    door = getattr(collectives, operation)
    if operation == "barrier":
        return door(comm, algorithm=algorithm)
    counts = [len(block) for block in np.array_split(np.zeros(n), comm.size)]
    if operation == "alltoall":
        return door(comm, np.zeros((comm.size, n // comm.size), "f4"), algorithm=algorithm)
    if operation in ("allgather", "gather"):
        return door(comm, np.zeros(counts[comm.rank], "f4"), counts=counts, algorithm=algorithm)
    if operation == "scatter":
        return door(comm, np.zeros(n, "f4"), counts=counts, out=np.empty(counts[comm.rank], "f4"), algorithm=algorithm)
    return door(comm, np.zeros(n, "f4"), algorithm=algorithm)


@pytest.mark.parametrize("operation", CATALOGUE)
@pytest.mark.parametrize("network", ranks.presets)
def test_auto_is_at_most_5_percent_slower_than_the_best_algorithm(operation: str, network: str) -> None:
    draw = random.Random(f"{operation} {network}")
    sizes = [0, 1, 40, 1_000, 9_001, 20_000, 70_000, 300_000]
    for n in [0] if operation == "barrier" else draw.sample(sizes, 3):
        # Many ranks with long arrays would take most of the time, and tell the same.
        p = draw.choice([2, 3, 5, 7, 8, 9, *([] if n > 100_000 else [12, 16, 17, 24])])
        buffering = draw.choice(["none", "eager", "eager", "infinite"])

        machine = collectives.Machine.of(ranks.presets[network], p, buffering)

        def time_ps(name: str, n: int = n, p: int = p, machine: collectives.Machine = machine) -> int:
            # test_collective_costs.py shows that a time that is claimed is exact.
            claimed_ps = CATALOGUE[operation][name].cost(machine, n, 4).time_ps if name != "auto" else None
            if claimed_ps is not None:
                return claimed_ps
            return ranks.run(call, p, operation, n, name, network=network, buffering=machine.buffering).time_ps

        one_node = p <= ranks.presets[network].ranks_per_node
        times = {name: time_ps(name) for name, row in CATALOGUE[operation].items() if one_node or not row.one_node}
        assert time_ps("auto") <= 1.05 * min(times.values()), (n, p, buffering, times)


def test_auto_gives_what_the_algorithm_that_it_names_gives() -> None:
    parts = np.random.default_rng(0).standard_normal((6, 999))

    def program(comm: Any) -> Any:
        choice = collectives.explain(comm, "allreduce", parts[0])
        return choice.algorithm, collectives.allreduce(comm, parts[comm.rank])

    for network in ranks.presets:
        for name, result in ranks.run(program, 6, network=network).results:
            same(result, ORDERS[CATALOGUE["allreduce"][name].function.__name__](list(parts), np.add))


def test_an_op_that_is_not_known_to_be_commutative_gets_an_algorithm_that_keeps_rank_order() -> None:
    def first(a: Any, b: Any) -> Any:
        return a

    for network in ("ethernet", "dgx-h100"):
        for n in (1, 100_000):
            run = ranks.run(
                lambda comm, n=n: collectives.allreduce(comm, np.full(n, comm.rank), first), 16, network=network
            )
            for result in run.results:
                same(result, np.zeros(n, int))


def test_a_part_of_the_ranks_is_judged_by_the_nodes_it_is_on() -> None:
    def program(comm: Any) -> Any:
        alone = comm.Split(comm.rank % 8, comm.rank)  # one of each node
        together = comm.Split(comm.rank // 8, comm.rank)
        return [collectives.machine_of(part, "allreduce").nodes for part in (comm, alone, together)]

    for nodes in ranks.run(program, 16, network="dgx-h100").results:
        assert nodes == [(0,) * 8 + (1,) * 8, (0, 1), (0,) * 8]


def test_explain_shows_every_candidate_and_why_others_were_left_out() -> None:
    def program(comm: Any) -> Any:
        return collectives.explain(comm, "allreduce", np.zeros(1000), np.subtract)

    choice = ranks.run(program, 8).results[7]
    assert str(choice).splitlines()[0] == "allreduce of 8,000 B, 8 ranks on 8 nodes of infiniband: " + choice.algorithm
    names = {name for name, _ in (*choice.candidates, *choice.left_out)}
    assert names == set(CATALOGUE["allreduce"])
    assert dict(choice.left_out)["ring"] == "the op is not known to be commutative"
    for name, time_ps in choice.candidates:
        function = CATALOGUE["allreduce"][name].function
        assert ranks.run(lambda comm, f=function: f(comm, np.zeros(1000), np.subtract), 8).time_ps == time_ps
        assert f"{name} " in str(choice)
        assert f"{time_ps / 1e6:,.3f} µs" in str(choice)
    assert [time_ps for _, time_ps in choice.candidates] == sorted(time_ps for _, time_ps in choice.candidates)


def test_jitter_does_not_keep_auto_from_choosing() -> None:
    network = ranks.Network(name="jitter", inter=ranks.Link.of(1e-6, 1e9), jitter_ps=1000)
    calm = ranks.Network(name="calm", inter=ranks.Link.of(1e-6, 1e9))

    def chosen(on: ranks.Network) -> list[str]:
        return [collectives.choose("allreduce", collectives.Machine.of(on, 8), n, 4).algorithm for n in (1, 10**6)]

    assert chosen(network) == chosen(calm)


def test_what_cannot_win_among_many_ranks_is_left_out_before_it_is_played() -> None:
    machine = collectives.Machine.of(ranks.presets["infiniband"], 1024)
    choice = collectives.choose("allreduce", machine, 2**22, 4)
    assert dict(choice.left_out)["double_tree"].startswith("takes more than ")
    row = CATALOGUE["allreduce"]["double_tree"]
    assert row.at_best_ps is not None
    assert row.at_best_ps(machine, 2**22, 4) > choice.candidates[0][1]


@pytest.mark.parametrize("network", ["dgx-h100", "nvlink", "ethernet"])
@pytest.mark.parametrize(("operation", "n"), [("allreduce", 2**14 + 1), ("broadcast", 2**18)])
def test_what_is_left_out_among_many_ranks_would_not_have_won(network: str, operation: str, n: int) -> None:
    machine = collectives.Machine.of(ranks.presets[network], 72)
    choice = collectives.choose(operation, machine, n, 4)
    fastest_ps = choice.candidates[0][1]
    for name, reason in choice.left_out:
        if reason.startswith("takes more than "):
            assert CATALOGUE[operation][name].cost(machine, n, 4).expected_ps >= fastest_ps, name
    assert choice.candidates[0][1] == CATALOGUE[operation][choice.algorithm].cost(machine, n, 4).expected_ps


@pytest.mark.parametrize(
    ("network", "operation", "n"),
    [
        ("dgx-a100-shared", "allreduce", 2**18),
        ("dgx-a100-shared", "scan", 2**14),
        ("dgx-a100-shared", "reduce", 2**22 + 1),
        ("nvlink", "allreduce", 2**26),
        ("alpha-beta", "allreduce", 2**22),
        ("h100-100g", "allreduce", 2**26),
        ("dgx-h100", "broadcast", 2**22),
    ],
)
def test_a_choice_among_1024_ranks_plays_few_rounds_and_messages(network: str, operation: str, n: int) -> None:
    """A turn of many ranks takes about 0.1 ms, a message of a few ranks about 10 µs: so 50 ms are not exceeded."""
    turns, messages = [], []

    def counted(kind: Any, name: str, found: list[int]) -> Any:
        call = getattr(kind, name)
        return mock.patch.object(kind, name, lambda self, *args: found.append(1) or call(self, *args))

    collectives.choose.cache_clear()
    with (
        counted(in_step.InStep, "_arrive", turns),
        counted(windows.Windows, "_moves", turns),
        counted(windows.Windows, "_serve_window", turns),
        counted(steps._Clock, "_send", messages),
    ):
        collectives.choose(operation, collectives.Machine.of(ranks.presets[network], 1024), n, 4)
    assert len(turns) + len(messages) // 8 <= 500


def test_what_is_preferred_is_not_given_up_among_many_ranks() -> None:
    machine = collectives.Machine.of(ranks.presets["dgx-h100"], 72)
    assert collectives.choose("allreduce", machine, 1000, 4).algorithm != "ring"
    with preferring({"allreduce": "ring"}):
        assert collectives.choose("allreduce", machine, 1000, 4).algorithm == "ring"


@pytest.mark.parametrize("network", ["dgx-h100", "nvlink", "ethernet"])
def test_a_double_tree_is_given_up_only_where_it_takes_longer(network: str) -> None:
    """A few segments tell too little by up to a fifth, or too much by a twentieth; 0.75 of it is believed."""
    machine, row = collectives.Machine.of(ranks.presets[network], 9), CATALOGUE["allreduce"]["double_tree"]
    whole = row.cost(machine, 2**22, 4)
    with patience.giving_up_after(whole.expected_ps):
        assert row.cost(machine, 2**22, 4) == whole
    with patience.giving_up_after(whole.expected_ps // 2), pytest.raises(patience.TakesLongerError):
        row.cost(machine, 2**22, 4)


def test_at_best_is_never_more_than_the_cost() -> None:
    rows = [row for rows in CATALOGUE.values() for row in rows.values() if row.at_best_ps]
    assert len(rows) >= 10
    for network in ranks.presets.values():
        for p, n in ((2, 0), (3, 1), (3, 300_000), (5, 70_000), (16, 40_003), (33, 10)):
            machine = collectives.Machine.of(network, p)
            for row in rows:
                least_ps = row.at_best_ps(machine, n, 4)
                assert least_ps <= row.cost(machine, n, 4).expected_ps, (row.function, network.name, p, n)


def test_auto_counts_with_the_sizes_as_they_are() -> None:
    """Blocks of unequal size collide in ports where they are not buffered: an element less, and another one wins."""
    machine = collectives.Machine.of(ranks.presets["nvlink"], 3)
    chosen = {n: collectives.choose("allreduce", machine, n, 4).algorithm for n in (2**22, 2**22 - 1)}
    assert chosen == {2**22: "ring", 2**22 - 1: "bcube"}


def test_wrong_calls_say_so() -> None:
    def fails(call: Any, kind: type[Exception], text: str) -> None:
        with pytest.raises(kind, match=text):
            ranks.run(call, 2)

    x = np.zeros(3)
    fails(
        lambda c: collectives.allreduce(c, x, algorithm="rings"), ValueError, "got algorithm 'rings', expected auto, "
    )
    fails(lambda c: collectives.allreduce(c, [1]), TypeError, "allreduce: got x of type list")
    fails(lambda c: collectives.explain(c, "all", x), ValueError, "got operation 'all', expected one of allreduce")
    fails(lambda c: collectives.barrier(c, algorithm="ring"), ValueError, "barrier: got algorithm 'ring'")
    fails(lambda c: collectives.broadcast(c, x, root=2), ValueError, "got root=2, expected 0 to 1")


def test_ranks_that_disagree_under_auto_are_told_so() -> None:
    with pytest.raises(ranks.CollectiveMismatchError):
        ranks.run(lambda comm: collectives.allreduce(comm, np.zeros(10**6 if comm.rank == 2 else 1)), 4)


@pytest.mark.parametrize("nodes", [(0,) * 9000, tuple(rank // 4200 for rank in range(16_800))])
def test_a_choice_is_made_for_thousands_of_ranks_on_a_node(nodes: tuple[int, ...]) -> None:
    """Rings of so many are too long to be played, also to find out what one more node takes."""
    choice = collectives.choose("allreduce", collectives.Machine(ranks.presets["dgx-h100"], nodes), 1000, 4)
    assert {"ring", "two_level"} <= {name for name, _ in (*choice.candidates, *choice.left_out)}
