"""The player of rounds against the simulator, to the picosecond: any schedule, network and buffering."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import ranks
from collectives import CATALOGUE
from collectives.double_tree import families
from loggp import NOBODY, Machine, Moves, Rounds, Step, cost_of_rounds, run_rounds, scheduled_cost
from loggp.in_step import InStep
from loggp.patterns import up_a_tree
from loggp.ports import Asking, OutOfStepError, Ports
from loggp.windows import Windows

NETWORKS = [
    *ranks.presets.values(),
    # One run mixes buffered and unbuffered messages; nothing but overhead, or bytes, takes time; three share a port.
    ranks.Network(name="mixed", inter=ranks.Link.of(1e-6, 1e9), overhead_ps=1000, eager_limit=24),
    ranks.Network(name="overhead", inter=ranks.Link(0, 0), overhead_ps=1, reduce_fs_per_byte=100),
    ranks.Network(name="bytes", inter=ranks.Link(0, 1000), eager_limit=20),
    ranks.Network(
        name="shared", inter=ranks.Link(5, 1000), intra=ranks.Link(2, 300), ranks_per_node=3, shared_node_port=True,
        overhead_ps=1, eager_limit=20,
    ),
    # A far message and the near one that is sent after it are there at the same time.
    ranks.Network(
        name="ties", inter=ranks.Link(5, 1000), intra=ranks.Link(4, 300), ranks_per_node=3, overhead_ps=1,
        eager_limit=20,
    ),
]  # fmt: skip
SIZES = [[0], [0, 1, 10, 30, 100], [1, 2, 3], [1, 65_536, 65_537, 300_000]]


def drawn(rng: np.random.Generator) -> Rounds:
    """Return rounds in which some ranks send along permutations, and some reduce, or only begin."""
    p, n_rounds, width = (int(rng.integers(1, end)) for end in (20, 7, 5))
    sizes, rounds = SIZES[rng.integers(len(SIZES))], []
    skips = np.where(rng.random(p) < 0.2, n_rounds, 1)  # some ranks take part in the first round only
    for number in range(n_rounds):
        to, source = np.full((2, width, p), NOBODY)
        for slot in range(width):
            dests = rng.permutation(p)
            sends = (rng.random(p) < 0.7) & (dests != np.arange(p))
            if number:
                sends &= (skips == 1) & (skips[dests] == 1)
            to[slot, sends] = dests[sends]
            source[slot, dests[sends]] = np.flatnonzero(sends)
        n_bytes, reduced, times = rng.choice(sizes, (width, p)), rng.choice(sizes, p), rng.integers(0, 3, p)

        def moves(of: Any, to=to, source=source, n_bytes=n_bytes, reduced=reduced, times=times, n=number) -> Moves:
            return Moves(to[:, of], n_bytes[:, of], source[:, of], reduced[of], times[of], then=n + skips[of])

        rounds.append(moves)
    made = Rounds.of(p, rounds, max(sizes), width)
    return Rounds(p, n_rounds, width, made.moves, max(sizes), waits=bool(rng.random() < 0.7))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_clocks_and_counts_are_those_of_the_simulator(network: ranks.Network, buffering: str) -> None:
    for seed in range(6):
        rounds = drawn(np.random.default_rng([seed, *f"{network.name} {buffering}".encode()]))
        told = cost_of_rounds(Machine.of(network, rounds.p, buffering), rounds)
        run = ranks.run(run_rounds, rounds.p, rounds, network=network, buffering=buffering, trace=seed == 0)
        assert (told.time_ps, told.sends, told.bytes_sent) == (run.time_ps, run.sends, run.bytes_sent), seed
        assert seed or told.rounds == run.trace.longest_chain()


def drawn_shifts(rng: np.random.Generator) -> Rounds:
    """Return rounds in which all ranks send several messages of different sizes."""
    p, sizes, rounds = int(rng.integers(4, 12)), SIZES[rng.integers(len(SIZES))], []
    for _ in range(rng.integers(1, 4)):
        distances = rng.permutation(np.arange(1, p))[:3]
        n_bytes = rng.choice(sizes, (3, p))

        def moves(of: Any, distances: Any = distances, n_bytes: Any = n_bytes) -> Moves:
            return Moves([(of + d) % p for d in distances], n_bytes[:, of], [(of - d) % p for d in distances])

        rounds.append(moves)
    return Rounds.of(p, rounds, max(sizes), 3)


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_round_by_round_says_the_same_as_windows_or_that_it_cannot_know(buffering: str) -> None:
    n_in_step = 0
    for seed in range(150):
        rng = np.random.default_rng([seed, *buffering.encode()])
        rounds = drawn_shifts(rng) if seed % 3 else drawn(rng)
        machine = Machine.of(NETWORKS[rng.integers(len(NETWORKS))], rounds.p, buffering)
        by_windows = Windows(machine, rounds)
        by_windows.run()
        try:
            in_step = InStep(machine, rounds)
            in_step.run()
        except OutOfStepError:
            continue
        n_in_step += 1
        for name in ("now", "depth", "sends", "bytes_sent"):
            assert (getattr(in_step, name) == getattr(by_windows, name)).all(), (name, seed)
    assert n_in_step >= 30


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_ranks_with_empty_blocks_run_ahead_and_are_still_played_round_by_round(
    buffering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, n_early = np.random.default_rng([7, *buffering.encode()]), []
    serve = Ports._serve_partly_early
    monkeypatch.setattr(Ports, "_serve_partly_early", lambda *args: (serve(*args), n_early.append(1))[0])
    for p in (2, 3, 7, 8, 12, 13, 16, 17, 24, 31, 32, 33, 64):
        for operation, name in (
            ("allreduce", "halving_doubling"), ("allreduce", "recursive_doubling"), ("reduce", "rabenseifner"),
            ("reduce_scatter", "recursive_halving"),
        ):  # fmt: skip
            row, n = CATALOGUE[operation][name], int(rng.choice([1, p // 4, p // 2, p - 1, p + 1]))
            machine = Machine.of(NETWORKS[rng.integers(len(NETWORKS))], p, buffering)
            told = row.cost(machine, n, 4)
            with monkeypatch.context() as patched:
                patched.setattr(InStep, "run", Mock(side_effect=OutOfStepError))
                assert row.cost(machine, n, 4) == told, (machine.network.name, p, name, n)
    assert len(n_early) >= 8 or buffering == "none"  # where nobody sends before its receiver is ready


def test_a_port_serves_messages_in_the_order_in_which_they_come_not_in_which_they_are_played() -> None:
    n_early = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        n, at_once = int(rng.integers(2, 7)), int(rng.integers(1, 4))
        sources, times_ps, transfers_ps = rng.integers(0, 4, n), rng.integers(1, 40, n), rng.integers(0, 5, n)
        free_ps, begins_ps = 0, np.zeros(n, np.int64)
        for message in np.lexsort((sources, times_ps)):
            begins_ps[message] = max(free_ps, times_ps[message])
            free_ps = begins_ps[message] + transfers_ps[message]
        played = [np.arange(first, min(first + at_once, n)) for first in range(0, n, at_once)]
        ports, told_ps, is_early = Ports(1, at_once, len(played)), np.zeros(n, np.int64), np.zeros(n, bool)
        try:
            for number, these in enumerate(played):
                is_early[these] = times_ps[these] < times_ps[: these[0]].max(initial=0)
                asking = Asking(np.zeros_like(these), sources[these], times_ps[these], transfers_ps[these])
                if (np.diff(times_ps[these]) > 0).all():
                    one_by_one = [asking.take(slice(slot, slot + 1)) for slot in range(these.size)]
                    told_ps[these] = [ports.serve(one, number, slot)[0] for slot, one in enumerate(one_by_one)]
                else:
                    told_ps[these] = ports.serve_in_turn(asking, number)
        except OutOfStepError:
            continue
        n_early += bool(is_early.any())
        # Nobody waits for an empty message that comes early, so it may begin at any time before the later ones.
        counts = (transfers_ps > 0) | ~is_early
        assert (told_ps[counts] == begins_ps[counts]).all(), seed
        assert (told_ps <= np.maximum.accumulate(begins_ps)).all() or at_once > 1, seed
    assert n_early >= 100


def test_a_message_that_comes_early_may_leave_a_port_when_the_next_one_comes() -> None:
    def served(time_ps: int) -> list[int]:
        ports = Ports(1, 1, 3)
        times = [np.array([each]) for each in (10, 20, time_ps)]
        return [int(ports.serve(Asking(np.array([0]), np.array([0]), t, 5), n)[0]) for n, t in enumerate(times)]

    assert [served(12)[2], served(15)[2]] == [15, 15]
    with pytest.raises(OutOfStepError):
        served(16)


def steps(rounds: Rounds, rank: int) -> Iterator[Step]:
    """Yield what a rank does in its rounds."""
    number = 0
    while number < rounds.n_rounds:
        moves = rounds.moves(np.array([rank]), number)
        sends = [(int(to[0]), first(size)) for to, size in zip(moves.to, moves.n_bytes, strict=True) if to[0] != NOBODY]
        dests, sizes = [dest for dest, _ in sends], [size for _, size in sends]
        sources = [int(source[0]) for source in moves.source if source[0] != NOBODY]
        yield Step(dests, sizes, sources, waits=rounds.waits, tag=number)
        for _ in range(first(moves.times)):
            yield Step(None, 0, None, first(moves.reduced))
        number = number + 1 if moves.then is None else first(moves.then)


def first(numbers: Any) -> int:
    return int(np.ravel(numbers)[0])


def test_rounds_cost_what_they_do_as_steps_of_each_rank() -> None:
    tree = Rounds.of(61, up_a_tree(61, lambda child, distance: 900 + child % 7, 1000), 1000)
    cases = [(tree, network, "eager") for network in NETWORKS]
    for seed in range(60):
        rng = np.random.default_rng([seed, 3])
        rounds = drawn_shifts(rng) if seed % 3 else drawn(rng)
        network = NETWORKS[len(ranks.presets) + 3] if seed % 2 else NETWORKS[rng.integers(len(NETWORKS))]
        cases.append((rounds, network, ("none", "eager", "infinite")[rng.integers(3)]))
    for rounds, network, buffering in cases:
        machine = Machine.of(network, rounds.p, buffering)
        by_steps = scheduled_cost(machine, lambda rank, rounds=rounds: steps(rounds, rank))
        assert cost_of_rounds(machine, rounds) == by_steps, (network.name, buffering, rounds.p)


# The steps of rank 0 and of the others, and what the error says of them.
WRONG_STEPS = [
    ([Step(1, 10, None)], [], ValueError, "rank 0 sends with tag 0 what rank 1 never receives"),
    ([Step(1, 1 << 30, None)], [], ValueError, "rank 0 sends with tag 0 what rank 1 never receives"),
    ([Step(None, 0, 1)], [], ValueError, "rank 0 waits for rank 1 to send with tag 0"),
    ([Step(None, 0, 1), Step(1, 9, None)], [Step(None, 0, 0)] * 2, ValueError, "and rank 1 waits for rank 0 to send"),
    ([Step(1, 9, 1, tag=1)], [Step(0, 9, 0, tag=2)], ValueError, "and 1 more, expected every message"),
    ([Step(-1, 10, None)], [], ValueError, "rank 0, step 0: got Step(to=-1, n_bytes=10"),
    ([], [Step(2, 10, None)], ValueError, "rank 1, step 0: got Step(to=2, n_bytes=10"),
    ([], [Step(0, 10, -1)], ValueError, "rank 1, step 0: got Step(to=0, n_bytes=10, source=-1"),
    ([Step(1, 9, None), Step(1, -9, None)], [Step(None, 0, [0, 0])], ValueError, "rank 0, step 1: got Step(to=1"),
    ([Step([1, 1], [9], None)], [], ValueError, "rank 0, step 0: got Step(to=[1, 1], n_bytes=[9]"),
    ([Step(None, 0, None, -8)], [], ValueError, "rank 0, step 0: got Step(to=None"),
    ([Step(1, 9.5, None)], [], TypeError, "rank 0, step 0: got Step(to=1, n_bytes=9.5"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "others", "kind", "said"), WRONG_STEPS)
def test_steps_that_no_ranks_can_do_are_refused_in_words(first: Any, others: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=f"^scheduled_cost: .*{re.escape(said)}.*; remedy: "):
        scheduled_cost(Machine.of(NETWORKS[0], 2), lambda rank: others if rank else first)


# What ranks 0 and 1 send to whom, and from whom they receive, in one round; and what the error says of it.
WRONG_ROUNDS = [
    ([1, NOBODY], 10, [NOBODY, NOBODY], "got 1 sends and 0 receives"),
    ([NOBODY, NOBODY], 10, [1, 0], "rank 0 waits for ever in round 0 for rank 1 to send, and 1 more wait"),
    ([1, NOBODY], 1 << 31, [NOBODY, 1], "rank 0 waits for ever in round 0 for its message to be received"),
    ([1, 2], 10, [1, 0], "rank 1, round 0: got to=2, expected -1 to 1"),
    ([-2, 0], 10, [1, 0], "rank 0, round 0: got to=-2, expected -1 to 1"),
    ([1, 0], 10, [1, 5], "rank 1, round 0: got source=5, expected -1 to 1"),
    ([1, 0], -10, [1, 0], "rank 0, round 0: got n_bytes=-10, expected 0 to"),
    ([1, 0, 1], 10, [1, 0, 1], "got rounds of 3 ranks, expected 2"),
]  # fmt: skip


@pytest.mark.parametrize(("to", "n_bytes", "source", "said"), WRONG_ROUNDS)
def test_rounds_that_no_ranks_can_do_are_refused_in_words(to: Any, n_bytes: int, source: Any, said: str) -> None:
    rounds = Rounds.of(len(to), [lambda of: Moves([np.array(to)[of]], [n_bytes], [np.array(source)[of]])], 1 << 31)
    with pytest.raises(ValueError, match=f"^cost_of_rounds: .*{re.escape(said)}.*; remedy: "):
        cost_of_rounds(Machine.of(NETWORKS[0], 2), rounds)


def test_messages_may_be_received_in_a_later_round() -> None:
    def moves(ranks: Any, number: int) -> Moves:
        right, left = (ranks + 1) % 3, (ranks - 1) % 3
        if number == 0:
            return Moves([right], [10], [])
        sent_in = np.full(ranks.size, number - 1)
        return Moves([right] * (number == 1), [20] * (number == 1), [left], sent_in=sent_in)

    rounds, network = Rounds(3, 3, 1, moves, 20), ranks.presets["infiniband"]
    told, run = cost_of_rounds(Machine.of(network, 3), rounds), ranks.run(run_rounds, 3, rounds, network=network)
    assert (told.time_ps, told.sends, told.bytes_sent) == (run.time_ps, run.sends, run.bytes_sent)


@pytest.mark.parametrize("name", ["recursive_doubling", "halving_doubling", "bcube"])
def test_powers_of_two_keep_in_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "run", None)
    monkeypatch.setattr("loggp.in_step._AT_ONCE", 10)
    for network in ("infiniband", "dgx-h100"):
        for p in (32, 64):
            machine = Machine.of(ranks.presets[network], p)
            for n in (1000, 8):
                assert CATALOGUE["allreduce"][name].cost(machine, n, 4).time_ps is not None


def shifts(p: int, distances: list[int], n_bytes: int) -> Rounds:
    """Return the rounds in which all ranks send to those at a distance."""
    return Rounds.of(
        p, [lambda r, d=d: Moves([(r + d) % p], [n_bytes], [(r - d) % p], n_bytes) for d in distances], n_bytes
    )


def test_a_million_ranks_are_some_arrays() -> None:
    p, network = 1 << 20, ranks.presets["infiniband"]
    cost = cost_of_rounds(Machine.of(network, p), shifts(p, [1, 5, 77], 1000))
    assert cost.time_ps == 3 * (network.message_ps(network.inter, 1000) + network.reduce_ps(1000))
    assert set(cost.sends) == {3}


def test_each_of_two_trees_joins_all_ranks_and_none_is_inner_in_both() -> None:
    for p in range(1, 70):
        for tree in range(2):
            family = [families(rank, p)[tree] for rank in range(p)]
            assert sorted(child for each in family for child in each.children) == sorted(
                rank for rank in range(p) if family[rank].parent is not None
            )
            assert all(family[child].parent == rank for rank in range(p) for child in family[rank].children)
            for rank in range(p):
                above, depth = rank, 0
                while (parent := family[above].parent) is not None:
                    above, depth = parent, depth + 1
                assert depth <= (p - 1).bit_length()
                assert above == (0, (1 if p % 2 else p - 1) % p)[tree]
            # Rank 0, a root of one child, may have others in the second tree if p is odd.
            leaves = range(1, p, 2) if tree == 0 else range(2 * (p % 2), p, 2)
            assert not any(family[rank].children for rank in leaves)


@pytest.mark.parametrize("network", ["infiniband", "dgx-h100", "dgx-a100-shared"])
def test_every_algorithm_has_a_cost_for_numbers_of_ranks_that_no_one_plays(network: str) -> None:
    for p in (1600, 1613):  # nodes that are full, and a prime
        machine = Machine.of(ranks.presets[network], p)
        for operation, rows in CATALOGUE.items():
            for name, row in rows.items():
                cost = row.cost(machine, 0 if operation == "barrier" else 10_007, 4)
                assert (len(cost.sends), len(cost.bytes_sent)) == (p, p), name
                assert cost.expected_ps is not None, name
                assert cost.expected_ps > 0, name


def test_jitter_leaves_no_time_to_be_exact_about() -> None:
    network = ranks.Network(name="jitter", inter=ranks.Link.of(1e-6, 1e9), jitter_ps=1000)
    assert cost_of_rounds(Machine.of(network, 4), shifts(4, [1], 8)).time_ps is None


def test_schedules_that_cannot_be_played_are_refused() -> None:
    machine = Machine.of(ranks.presets["infiniband"], 2)
    waiting = Rounds.of(2, [lambda r: Moves([], [], [1 - r])], 0)
    # Rank 1 waits for a rank that sends to another, or for a message that it has got before.
    to_0, to_1, from_0 = np.array([[NOBODY, NOBODY, 0], [1, NOBODY, NOBODY], [NOBODY, 0, NOBODY]])
    for dests in ([to_0], [to_1, to_0]):
        rounds = Rounds.of(3, [lambda r, to=to: Moves([to[r]], [0], [from_0[r]]) for to in dests], 0)
        with pytest.raises(ValueError, match=r"rank 1 waits for ever in round [01] for rank 0 to send, expected"):
            cost_of_rounds(Machine.of(ranks.presets["infiniband"], 3), rounds)
    with pytest.raises(ValueError, match=r"expected at most .* messages in all, which fit into memory; remedy: play"):
        cost_of_rounds(machine, Rounds(2, 1 << 30, 1, waiting.moves, 0))
