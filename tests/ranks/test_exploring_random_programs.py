"""Claims about exploring that a brute force checks: it finds every outcome that a program can have, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from explored import MODES, all_found, drawn, explored, model_ending, possible, run_once
from interleaver import most_noes, outcomes
from programs_of_calls import ANY, EAGER_LIMIT, NETWORK, SIZES, Op, random_program
from ranks import DeadlockError


@pytest.mark.parametrize("block", range(5))
def test_exploring_random_programs_finds_all_outcomes_and_no_others(block: int, seeds: Any) -> None:
    for seed in seeds(40, after=40 * block):
        for mode in MODES:
            assert all_found(seed, mode)[0] == possible(seed, mode), (seed, mode)


def test_a_poll_that_fails_within_its_bound_loses_no_outcome() -> None:
    """Nothing impossible is found either, however seldom polls may fail."""
    n_lost = 0
    for seed in range(50):
        for polls in range(4):
            mode = MODES[(seed + polls) % len(MODES)]
            found, _ = explored(drawn(seed, "polls"), mode, polls=polls)
            could = possible(seed, mode, "polls")
            within = {ending for ending in could if all_within(seed, ending[0], polls)}
            assert within <= found.keys() <= could, (seed, mode, polls)
            n_lost += len(could) - len(found)
    assert n_lost > 0  # the bounds did matter


def all_within(seed: int, logs: tuple[tuple[object, ...], ...], polls: int) -> bool:
    """Return whether no poll of any rank failed more than `polls` times in a row."""
    return all(most_noes(ops, log) <= polls for ops, log in zip(drawn(seed, "polls"), logs, strict=True))


@pytest.mark.parametrize("kind", ["", "polls"])
def test_every_replay_of_every_outcome_shows_that_outcome(kind: str, seeds: Any) -> None:
    for seed in seeds(112):
        for mode, polls in ((MODES[seed % 4], seed // 4 % 4), ("infinite", 2 + seed % 2)):
            for ending, replay in explored(drawn(seed, kind), mode, polls=polls)[0].items():
                assert run_once(drawn(seed, kind), replay=replay)[0] == ending, (seed, replay)


def test_what_is_left_out_loses_no_outcome_and_saves_most_runs() -> None:
    fan_ins = [[Op("Recv", source, ANY) for source in (ANY, ANY)] for _ in range(2)]
    both = [Op("Isend", 0, 0), Op("Isend", 1, 0), Op("Waitall", which=(0, 1))]
    programs = [*map(drawn, range(4, 29)), [*fan_ins, both, both]]
    for mode in ("infinite", "each"):
        needed = []
        for program in programs:
            reduced, few = explored(program, mode, polls=1)
            full, many = explored(program, mode, polls=1, reduction=False)
            assert reduced.keys() == full.keys()
            assert many.n_pruned == 0
            needed.append((few.n_runs, many.n_runs))
        few_runs, many_runs = map(sum, zip(*needed, strict=True))
        assert few_runs < 0.6 * many_runs
        # Two fan-ins of two have 2 x 2 outcomes; their choices can be made in several orders.
        assert needed[-1][0] == 4 < needed[-1][1]


def test_a_send_that_may_be_buffered_or_not_costs_few_runs_more_than_one_that_is() -> None:
    totals = [sum(all_found(seed, mode)[1] for seed in range(60)) for mode in ("infinite", "each")]
    n_more = sum(len(possible(seed, "each") - possible(seed, "infinite")) for seed in range(60))
    assert totals[0] < totals[1] <= totals[0] + 2 * n_more


def test_what_one_way_of_buffering_allows_is_possible_where_each_send_decides_by_itself() -> None:
    new = 0
    for seed in range(60):
        others = frozenset().union(*(possible(seed, mode) for mode in MODES[:-1]))
        assert others <= possible(seed, "each")
        new += others < possible(seed, "each")
    assert new > 0


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_exactly_the_eager_limit_is_buffered_and_one_byte_more_is_not(size: int) -> None:
    program = [[Op("Send", 1 - rank, 0, size), Op("Recv", 1 - rank, 0)] for rank in range(2)]
    (ending,) = explored(program, "eager")[0]
    assert (not ending[1]) == (size <= EAGER_LIMIT)
    assert ending[1] in {stuck for _, stuck, *_ in outcomes(program, "eager")}
    assert (run_once(program)[1] is None) == (size <= EAGER_LIMIT)


@pytest.mark.parametrize("buffering", MODES[:-1])
@pytest.mark.parametrize("name", ["limit 64", "without ports", "slow and jittery"])
def test_what_the_clock_chooses_is_among_what_is_explored(buffering: str, name: str) -> None:
    network = {
        "limit 64": NETWORK,
        "without ports": replace(NETWORK, ports=False),
        "slow and jittery": replace(NETWORK, jitter_ps=100_000, overhead_ps=30, ranks_per_node=2),
    }[name]
    for seed in range(150):
        ending, failure = run_once(drawn(seed), network=network, buffering=buffering, seed=seed)
        if not isinstance(failure, DeadlockError):  # looking for advice has run the program again
            assert ending in possible(seed, buffering), seed


def test_the_buffer_of_a_receive_keeps_what_it_held_until_that_is_complete() -> None:
    """The program reads the buffers of its open receives: each must hold what it held, under every schedule."""
    n_looks = 0
    for seed in range(60):
        program = random_program(seed, 2 + seed % 2, 3, 0, n_looks=3)
        n_looks += sum(op.call == "Look" for ops in program for op in ops)
        for mode in MODES:
            could = {model_ending(result) for result in outcomes(program, mode)}
            assert explored(program, mode)[0].keys() == could, (seed, mode)
    assert n_looks > 60
