"""Pipeline schedules: complete, causal and free of deadlock for every p and m; what is not is rejected by name."""

from __future__ import annotations

from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_changed import with_rank
from training.pipeline import LOOPED, SCHEDULES, Op, Schedule, check_schedule, make_schedule


def cases(most: int) -> list[tuple[str, int, int, int]]:
    """Return name, p, microbatches and chunks of every schedule for p up to `most`, with m < p and m > p."""
    return [
        (name, p, m, chunks)
        for name in SCHEDULES
        for p in range(1, most + 1)
        for m in sorted({1, 2, p - 1, p, p + 1, 2 * p, 3 * p + 1} - {0})
        for chunks in ((1, 2, 3) if name in LOOPED else (1,))
    ]


def rejects(schedule: Schedule) -> str:
    with pytest.raises(ValueError, match=r"check_schedule: .*expected .*; remedy: ") as caught:
        check_schedule(schedule)
    return str(caught.value)


def can_run(schedule: Schedule) -> bool:
    """Return whether the orders of the ranks and the needs of the operations form no circle."""
    graph: TopologicalSorter[Op] = TopologicalSorter()
    for ops in schedule.operations:
        for before, op in zip((None, *ops), ops, strict=False):
            graph.add(op, *schedule.needs[op], *([before] if before else []))
    try:
        graph.prepare()
    except CycleError:
        return False
    return True


# -- the named ones ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_complete_causal_and_free_of_deadlock(name: str) -> None:
    for case in cases(6):
        if case[0] == name:
            check_schedule(make_schedule(*case))


@pytest.mark.parametrize("name", SCHEDULES)
def test_microbatches_of_a_stage_go_forwards_and_backwards_in_order(name: str) -> None:
    """So every rank adds gradients up in the same order, whatever the schedule."""
    for case in cases(5):
        if case[0] != name:
            continue
        schedule = make_schedule(*case)
        for rank, ops in enumerate(schedule.operations):
            for stage in schedule.stages_of(rank):
                for kinds in ("F", "BI", "BW"):
                    numbers = [op.microbatch for op in ops if op.stage == stage and op.kind in kinds]
                    middle = name == "dualpipe" and 2 * stage == schedule.stages - 1
                    assert numbers == sorted(numbers) or middle, (case, rank, kinds)


@pytest.mark.parametrize("p", range(1, 8))
def test_ranks_hold_the_stages_of_the_papers(p: int) -> None:
    for name, m in [("gpipe", 3), ("1f1b", 3), ("zb-h1", 3), ("zb-h2", 3)]:
        assert [make_schedule(name, p, m).stages_of(rank) for rank in range(p)] == [(rank,) for rank in range(p)]
    for name in LOOPED:
        schedule = make_schedule(name, p, 2, chunks=3)
        assert [schedule.stages_of(rank) for rank in range(p)] == [(r, r + p, r + 2 * p) for r in range(p)]
    for name in ("zb-v", "dualpipe-v"):
        schedule = make_schedule(name, p, 2)
        assert [schedule.stages_of(rank) for rank in range(p)] == [(r, 2 * p - 1 - r) for r in range(p)]
    both = make_schedule("dualpipe", p, 5)
    assert [both.stages_of(rank) for rank in range(p)] == [tuple(sorted({r, p - 1 - r})) for r in range(p)]
    for stage in range(p):
        assert [both.rank_of(stage, i) for i in range(5)] == [stage] * 3 + [p - 1 - stage] * 2


def test_the_orders_of_four_ranks_are_those_of_the_papers_pictures() -> None:
    def said(name: str, rank: int, m: int, chunks: int = 1) -> str:
        return " ".join(f"{op.kind}{op.microbatch}" for op in make_schedule(name, 4, m, chunks).operations[rank])

    assert said("1f1b", 2, 4) == "F0 F1 B0 F2 B1 F3 B2 B3"
    assert said("zb-h1", 2, 4) == "F0 F1 I0 F2 I1 F3 I2 W0 I3 W1 W2 W3"
    assert said("zb-h2", 3, 7) == "F0 I0 F1 I1 F2 I2 F3 I3 F4 I4 F5 I5 F6 I6 W0 W1 W2 W3 W4 W5 W6"
    looped = [str(op) for op in make_schedule("interleaved", 2, 2, 2).operations[0]]
    assert " ".join(looped) == "F(0, 0) F(0, 1) F(2, 0) F(2, 1) B(2, 0) B(2, 1) B(0, 0) B(0, 1)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 2, 2), r"got name=\[\], expected one of"),
        (("1F1B", 2, 2), "got name='1F1B', expected one of gpipe, 1f1b, .*remedy: choose"),
        (("gpipe", 0, 2), "got p=0, expected a whole number from 1 up; remedy: pass the number of ranks"),
        (("gpipe", True, 2), "got p=True, expected a whole number"),
        (("gpipe", 2, 1.5), "got microbatches=1.5, expected a whole number"),
        (("breadth-first", 2, 2, -1), "got chunks=-1, expected a whole number"),
        (("1f1b", 2, 2, 2), "got chunks=2 with '1f1b', expected 1; remedy: .*'interleaved' or 'breadth-first'"),
    ],
)
def test_numbers_that_make_no_schedule_are_one_clear_error(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f"^make_schedule: {message}"):
        make_schedule(*arguments)


def test_a_stage_that_is_not_there_has_no_rank() -> None:
    with pytest.raises(
        ValueError, match=r"rank_of: got stage 2 and microbatch 0, .* 2 stages and 3 microbatches; remedy"
    ):
        make_schedule("gpipe", 2, 3).rank_of(2, 0)


# -- broken ones -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_without_any_one_operation_is_rejected(name: str) -> None:
    schedule = make_schedule(name, 3, 4)
    for rank, ops in enumerate(schedule.operations):
        for i, op in enumerate(ops):
            message = rejects(with_rank(schedule, rank, [*ops[:i], *ops[i + 1 :]]))
            assert f"stage {op.stage}, microbatch {op.microbatch}, expected F and B, or F, I and W" in message
            assert f"got {op} 2 times" in rejects(with_rank(schedule, rank, [*ops, op]))


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_operations_swapped_are_rejected_if_and_only_if_their_needs_form_a_circle(name: str) -> None:
    schedule = make_schedule(name, 3, 3)
    verdicts = set()
    for rank, ops in enumerate(schedule.operations):
        for i in range(len(ops) - 1):
            swapped = [*ops]
            swapped[i], swapped[i + 1] = ops[i + 1], ops[i]
            broken = with_rank(schedule, rank, swapped)
            verdicts.add(can_run(broken))
            if can_run(broken):
                check_schedule(broken)
            else:
                assert "hangs: got rank" in rejects(broken)
    assert verdicts == {True, False}


@given(st.data())
def test_a_random_order_is_rejected_if_and_only_if_needs_and_order_form_a_circle(data) -> None:
    name, p, m = (data.draw(each) for each in (st.sampled_from(SCHEDULES), st.integers(1, 3), st.integers(1, 3)))
    schedule = make_schedule(name, p, m)
    rank = data.draw(st.integers(0, p - 1))
    mixed = with_rank(schedule, rank, data.draw(st.permutations(schedule.operations[rank])))
    if can_run(mixed):
        check_schedule(mixed)
    else:
        assert "hangs" in rejects(mixed)


def test_the_error_names_who_waits_for_what() -> None:
    schedule = make_schedule("1f1b", 2, 2)
    first, second = schedule.operations
    late = with_rank(schedule, 0, [first[0], first[2], first[1], first[3]])
    check_schedule(late)
    crossed = with_rank(late, 1, [second[2], *second[:2], second[3]])
    assert rejects(crossed) == (
        "check_schedule: 1f1b hangs: got rank 0 waits before B(0, 0) for B(1, 0) of rank 1; rank 1 waits before "
        "F(1, 1) for F(0, 1) of rank 0; expected an order in which some rank can go on; remedy: put each operation "
        "after those that it needs"
    )
    assert "rank 1 waits before B(1, 0) for F(1, 0) of itself" in rejects(
        with_rank(schedule, 1, [*second[1::-1], *second[2:]])
    )


def test_operations_that_do_not_fit_the_schedule_are_rejected() -> None:
    schedule = make_schedule("zb-h1", 2, 2)
    first, second = schedule.operations
    assert "got the operations of 1 ranks, expected those of p=2" in rejects(replace(schedule, operations=(first,)))
    for stranger in (Op("F", 2, 0), Op("F", 0, 2), Op("X", 0, 0), Op("FB", 0, 0), Op("F", -1, 0)):
        assert f"got {stranger} on rank 0, expected" in rejects(with_rank(schedule, 0, [*first, stranger]))
    assert "got F and B and I and W for stage 0" in rejects(with_rank(schedule, 0, [*first, Op("B", 0, 1)]))
    moved = with_rank(with_rank(schedule, 0, [op for op in first if op != Op("W", 0, 1)]), 1, [*second, Op("W", 0, 1)])
    assert "got F(0, 1) on rank 0, I(0, 1) on rank 0, W(0, 1) on rank 1, expected them on one rank" in rejects(moved)
