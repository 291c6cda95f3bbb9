"""Schedules run by simulated ranks: they hang exactly where check_schedule says, and train alike in every order."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ranks
from schedules_changed import with_rank
from training import GPTSizes, Plan, train
from training.pipeline import LOOPED, SCHEDULES, Op, Schedule, check_schedule, make_schedule
from training.runner import Mail


def blocking(comm: Any, schedule: Schedule) -> None:
    """Receive what each operation needs, and send its result on before the next one; what comes is what was due."""
    places, needs = schedule.places, schedule.needs
    readers = {needed: op for op, read in needs.items() for needed in read if places[needed] != places[op]}
    numbers = {op: number for number, op in enumerate(places)}
    for op in schedule.operations[comm.rank]:
        for needed in needs[op]:
            if places[needed] != comm.rank:
                assert Op(*comm.recv(source=places[needed], tag=numbers[needed])) == needed
        if op in readers:
            comm.send(tuple(op), places[readers[op]], tag=numbers[op])


def hang(schedule: Schedule, buffering: str) -> list[int]:
    """Return the ranks that wait for each other in a run, none if it ends."""
    try:
        ranks.run(blocking, schedule.p, schedule, buffering=buffering)
    except ranks.DeadlockError as error:
        return error.core
    return []


def named(schedule: Schedule, *, buffered: bool) -> list[int]:
    """Return the ranks that check_schedule says wait for each other."""
    try:
        check_schedule(schedule, buffered=buffered)
    except ValueError as error:
        return sorted({int(rank) for rank in re.findall(r"rank (\d+) waits", str(error))})
    return []


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_hangs_with_blocking_sends_where_the_check_says_so_and_never_with_buffered_ones(name: str) -> None:
    verdicts = set()
    for p, m in [(1, 2), (2, 1), (2, 2), (3, 3), (4, 3), (3, 7)]:
        schedule = make_schedule(name, p, m, 2 if name in LOOPED else 1)
        assert hang(schedule, "none") == named(schedule, buffered=False), (p, m)
        assert hang(schedule, "infinite") == []
        verdicts.add(bool(named(schedule, buffered=False)))
    assert verdicts == ({False} if name == "gpipe" else {True, False})


def test_the_error_names_who_sends_to_whom() -> None:
    with pytest.raises(
        ValueError,
        match=r"1f1b hangs: got rank 0 waits to send F\(0, 1\) to rank 1; rank 1 waits to send "
        r"B\(1, 0\) to rank 0; expected .*; remedy: buffer the messages, or post receives before sends",
    ):
        check_schedule(make_schedule("1f1b", 2, 2), buffered=False)


@settings(max_examples=25)
@given(st.data())
def test_ranks_and_check_agree_on_random_orders(data) -> None:
    name, p, m = (data.draw(each) for each in (st.sampled_from(SCHEDULES), st.integers(1, 3), st.integers(1, 3)))
    schedule = make_schedule(name, p, m)
    for rank in range(p):
        order = list(schedule.operations[rank])
        for _ in range(data.draw(st.integers(0, 2))):
            i, j = (data.draw(st.integers(0, len(order) - 1)) for _ in range(2))
            order.insert(j, order.pop(i))
        held = {op: i for i, op in enumerate(order)}
        # What a rank needs of itself is no message: ranks would not see that it stands too late.
        if all(held[needed] < i for op, i in held.items() for needed in schedule.needs[op] if needed in held):
            schedule = with_rank(schedule, rank, order)
    for buffered, buffering in [(True, "infinite"), (False, "none")]:
        assert bool(hang(schedule, buffering)) == bool(named(schedule, buffered=buffered))


# -- the runner --------------------------------------------------------------------------------------------------


SIZES = GPTSizes(vocab=5, context=2, hidden=4, heads=1, kv_heads=1, ffn=4, layers=6)


def losses(comm: Any, plan: Plan) -> list[float]:
    return train(comm, plan, sizes=SIZES, steps=1, batch=3).losses


@cache
def on_one_rank() -> list[float]:
    found: list[float] = ranks.run(losses, 1, Plan()).results[0]
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_ranks_take_messages_of_the_same_tag_in_the_order_in_which_they_are_given(name: str) -> None:
    for p, m, v in product(range(2, 8), (1, 2, 5, 8, 15), (1, 3) if name in LOOPED else (1,)):
        schedule = make_schedule(name, p, m, v)
        given: dict[tuple[int, int, int], list[int]] = {}
        for rank, operations in enumerate(schedule.operations):
            mail = Mail(SimpleNamespace(rank=rank), schedule, None)
            for reader in operations:
                for writer in schedule.needs[reader]:
                    if (source := schedule.places[writer]) != rank:
                        given.setdefault((source, rank, mail._tag(reader)), []).append(schedule.turns[writer])
        assert given
        assert all(turns == sorted(turns) for turns in given.values()), (p, m, v)
        assert max(tag for _, _, tag in given) < 6  # however many microbatches there are


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_pipeline_trains_alike_under_every_schedule_of_its_ranks_and_every_way_of_buffering(
    name: str, p: int
) -> None:
    plan = Plan(pp=p, schedule=name, chunks=2 if name in LOOPED else 1, microbatches=3)
    found = ranks.explore(losses, p, plan)
    assert found.verdict == "holds"
    (outcome,) = found.outcomes
    for each in outcome.results:
        assert each == pytest.approx(on_one_rank(), rel=1e-12)
