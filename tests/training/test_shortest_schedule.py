"""The shortest schedule: no order at all beats it, and the named ones are as short where they should be."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import pytest

from training.pipeline import Op, Schedule, check_schedule, make_schedule, play, shortest_schedule

TIMES = [(1, 1, 1), (2, 3, 2), (1, 4, 0), (3, 1, 2)]  # F, I, W


def lengths(p: int, m: int, kinds: str, times: tuple[int, int, int]) -> dict[int, int]:
    """Return the least length of all orders of all ranks, by the activations they keep, tried one by one."""
    orders = []
    for rank in range(p):
        ops = [Op(kind, rank, i) for i in range(m) for kind in kinds]
        causal = {
            order
            for order in permutations(ops)
            if all(order.index(a) < order.index(b) for a, b in pairwise(ops) if a[2] == b[2])
        }
        # Microbatches are alike: the last rank may take them in order.
        in_order = [op for op in ops if op.kind == "F"]
        orders.append([o for o in causal if rank < p - 1 or [op for op in o if op.kind == "F"] == in_order])
    least: dict[int, int] = {}
    for each in product(*orders):
        try:
            played = play(Schedule("any", p, p, m, each), *times)
        except ValueError:
            continue  # its ranks wait for each other
        peak = max(played.peaks)
        least[peak] = min(played.length, least.get(peak, played.length))
    return least


@pytest.mark.parametrize(("p", "m", "kinds"), [(1, 2, "FIW"), (2, 2, "FIW"), (3, 2, "FB"), (2, 3, "FB")])
@pytest.mark.parametrize("times", TIMES[:2])
def test_no_order_of_any_rank_is_shorter(p: int, m: int, kinds: str, times: tuple[int, int, int]) -> None:
    least = lengths(p, m, kinds, times)
    for activations in range(1, m + 1):
        found = play(shortest_schedule(p, m, activations, *times, split=kinds == "FIW"), *times)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "got p=0, microbatches=1, activations=1 and times 1, 1, 1, expected numbers from 1 up"),
        ((2, 2, 0), "got p=2, microbatches=2, activations=0"),
        ((2, 2, 1, -1), "times -1, 1, 1"),
    ],
)
def test_numbers_that_make_no_schedule_are_one_clear_error(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^shortest_schedule: .*{message}.*; remedy: "):
        shortest_schedule(*arguments)


def test_a_search_that_takes_too_long_gives_up_with_a_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"got p=4 and microbatches=8, expected .* at most 50 states; remedy: take fewer"
    ):
        shortest_schedule(4, 8, 3, 2, 3, 2, most_states=50)
