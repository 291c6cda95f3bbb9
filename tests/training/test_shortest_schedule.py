"""The shortest schedule: no order at all beats it, and the named ones are as short where they should be."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import pytest

from training.pipeline import Op, Schedule, check_schedule, make_schedule, play, shortest_schedule

TIMES = [(1, 1, 1), (2, 3, 2), (1, 4, 0), (3, 1, 2)]  # F, I, W


def lengths(holders: tuple[int, ...], m: int, kinds: str, times: tuple[int, int, int]) -> dict[int, int]:
    """Return the least length of all orders of all ranks, by the activations they keep, tried one by one."""
    orders = []
    for rank in range(1 + max(holders)):
        stages = [stage for stage, holder in enumerate(holders) if holder == rank]
        ops = [Op(kind, stage, i) for stage in stages for i in range(m) for kind in kinds]
        causal = {
            order
            for order in permutations(ops)
            if all(order.index(a) < order.index(b) for a, b in pairwise(ops) if a[1:] == b[1:])
        }
        # Microbatches are alike: one stage may take them in order.
        first = [Op("F", max(holders), i) for i in range(m)]
        orders.append([o for o in causal if rank < max(holders) or [op for op in o if op in first] == first])
    least: dict[int, int] = {}
    for each in product(*orders):
        try:
            played = play(Schedule("any", len(orders), len(holders), m, each), *times)
        except ValueError:
            continue  # its ranks wait for each other
        peak = max(played.peaks)
        least[peak] = min(played.length, least.get(peak, played.length))
    return least


@pytest.mark.parametrize(
    ("holders", "m", "kinds"),
    [
        ((0,), 2, "FIW"),
        ((0, 1), 2, "FIW"),
        ((0, 1, 2), 2, "FB"),
        ((0, 1), 3, "FB"),
        ((0, 1, 1, 0), 1, "FIW"),
        ((0, 0), 2, "FB"),
    ],
)
@pytest.mark.parametrize("times", TIMES[:2])
def test_no_order_of_any_rank_is_shorter(
    holders: tuple[int, ...], m: int, kinds: str, times: tuple[int, int, int]
) -> None:
    least = lengths(holders, m, kinds, times)
    p, chunks = 1 + max(holders), len(holders) // (1 + max(holders))
    assert min(least) == chunks
    for activations in range(chunks, m * chunks + 1):
        schedule = shortest_schedule(p, m, activations, *times, split=kinds == "FIW", holders=holders)
        found = play(schedule, *times)
        assert max(found.peaks) <= activations
        assert found.length == min(length for peak, length in least.items() if peak <= activations)


@pytest.mark.parametrize("times", TIMES)
def test_what_is_found_can_run_within_its_limit_and_more_memory_never_costs_time(times: tuple[int, int, int]) -> None:
    for p, m, split in [(1, 3, True), (2, 4, True), (3, 3, True), (3, 4, False)]:
        before = None
        for activations in range(1, m + 1):
            schedule = shortest_schedule(p, m, activations, *times, split=split)
            check_schedule(schedule)
            played = play(schedule, *times)
            assert max(played.peaks) <= activations
            assert before is None or played.length <= before
            before = played.length


@pytest.mark.parametrize("p", [1, 2, 3])
def test_1f1b_and_zb_h1_are_the_shortest_with_p_activations(p: int) -> None:
    for times in TIMES[:2]:
        for m in (p, p + 2):
            for name, split in [("1f1b", False), ("zb-h1", True)]:
                best = play(shortest_schedule(p, m, p, *times, split=split), *times).length
                assert play(make_schedule(name, p, m), *times).length == best


def test_zb_h2_is_the_shortest_but_four_activations_would_do_as_well() -> None:
    times = (2, 3, 2)
    named = play(make_schedule("zb-h2", 3, 6), *times)
    assert (max(named.peaks), named.length) == (5, 46)
    assert [play(shortest_schedule(3, 6, n, *times), *times).length for n in (3, 4, 5)] == [48, 46, 46]


def test_zb_v_is_the_shortest_of_its_stages_and_activations_if_there_are_enough_microbatches() -> None:
    for m, is_shortest in [(2, False), (3, True), (4, True)]:
        for times in TIMES[:2]:
            best = play(shortest_schedule(2, m, 4, *times, holders=(0, 1, 1, 0)), *times).length
            assert (play(make_schedule("zb-v", 2, m), *times).length == best) is is_shortest


def test_a_rank_of_two_stages_can_wait_with_one_to_have_room_for_the_other() -> None:
    for holders in [(0, 1, 1, 0), (0, 1, 0, 1)]:
        schedule = shortest_schedule(2, 3, 2, holders=holders)
        check_schedule(schedule)
        assert play(schedule).peaks == (2, 2)
        assert schedule.stages_of(0) == tuple(stage for stage in range(4) if holders[stage] == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (0, 1, 1),
            "got p=0, microbatches=1, activations=1, times 1, 1, 1 and stages on ranks .*, expected numbers from 1 up",
        ),
        ((2, 2, 0), "got p=2, microbatches=2, activations=0"),
        ((2, 2, 1, -1), "times -1, 1, 1"),
    ],
)
def test_numbers_that_make_no_schedule_are_one_clear_error(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^shortest_schedule: .*{message}.*; remedy: "):
        shortest_schedule(*arguments)


def test_stages_and_activations_that_do_not_fit_are_told_apart() -> None:
    with pytest.raises(ValueError, match=r"stages on ranks \(0, 2\), expected .* a stage or more on each rank; remedy"):
        shortest_schedule(2, 2, 2, holders=(0, 2))
    with pytest.raises(ValueError, match=r"got activations=1, expected at least the 2 stages of a rank; remedy: allow"):
        shortest_schedule(2, 2, 1, holders=(0, 1, 1, 0))


def test_a_search_that_takes_too_long_gives_up_with_a_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"got p=4 and microbatches=8, expected .* at most 50 states; remedy: take fewer"
    ):
        shortest_schedule(4, 8, 3, 2, 3, 2, most_states=50)
