"""Schedules on the virtual clock: bubbles, activations and messages are those of the formulas, by exact integers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pipeline import LOOPED, SCHEDULES, Op, Schedule, costs, make_schedule, play

TIMES = [(1, 1, 1), (2, 3, 2), (3, 2, 2), (5, 7, 2), (7, 5, 5), (1, 1, 0), (9, 5, 1), (0, 4, 0), (2, 2, 5)]  # F, I, W


def sizes(name: str) -> list[tuple[int, int, int]]:
    """Return p, m and chunks: every p up to 8, with m on both sides of what formulas want, up to 4p."""
    return [
        (p, m, chunks)
        for p in range(1, 9)
        for m in sorted({1, 2, p, p + 1, 2 * p - 1, 2 * p, 2 * p + 1, 3 * p, 4 * p})
        for chunks in ((1 + m % 3,) if name in LOOPED else (1,))
    ]


@pytest.mark.parametrize("name", SCHEDULES)
def test_bubble_activations_and_messages_are_those_of_the_formulas(name: str) -> None:
    known = 0
    for (p, m, chunks), (F, I, W) in zip(sizes(name), cycle(TIMES), strict=False):
        played = play(make_schedule(name, p, m, chunks), F, I, W)
        case = (p, m, chunks, F, I, W)
        assert played.messages == costs.messages(name, p, m, chunks), case
        assert costs.peak_activations(name, p, m, chunks) in (None, played.peaks), case
        bubble = costs.bubble(name, p, m, F, I, W)
        if bubble is not None:
            assert played.bubbles[0] == max(played.bubbles) == bubble, case
            known += 1
    assert known >= 4


@pytest.mark.parametrize("name", SCHEDULES)
@given(data=st.data())
@settings(max_examples=12)
def test_bubbles_are_those_of_the_formulas_for_any_times(name: str, data) -> None:
    """Times are drawn where most formulas hold, W <= F and W <= I, and as Fractions, which stay exact."""
    p = data.draw(st.integers(1, 5))
    m = data.draw(st.sampled_from([p, 2 * p, 3 * p]))
    W, more, least = (Fraction(data.draw(st.integers(0, 9)), data.draw(st.integers(1, 4))) for _ in range(3))
    F, I = (W + least + more, W + least) if name.startswith("dualpipe") else (W + least, W + least + more)
    if F > I + W:
        F = I + W
    bubble = costs.bubble(name, p, m, F, I, W)
    played = play(make_schedule(name, p, m), F, I, W)
    assert bubble is None or played.bubbles[0] == max(played.bubbles) == bubble
    assert all(isinstance(time, (int, Fraction)) for ops in played.times for pair in ops for time in pair)


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "interleaved", "breadth-first"])
def test_in_the_whole_step_all_ranks_idle_as_long_as_the_first(name: str) -> None:
    for p in range(1, 6):
        played = play(make_schedule(name, p, 2 * p), F=3, I=5, W=2)
        assert played.idle == ((p - 1) * 10,) * p
        assert played.bubbles == tuple((p - 1 - r) * 10 for r in range(p))


def test_zero_bubble_h2_moves_its_bubble_to_where_ranks_start_and_end() -> None:
    for p in range(1, 6):
        for F, I, W in TIMES:
            played = play(make_schedule("zb-h2", p, 2 * p), F, I, W)
            if W <= F:
                assert played.idle == ((p - 1) * max(F, F + I - 2 * W),) * p


@pytest.mark.parametrize("name", ["dualpipe", "dualpipe-v"])
def test_the_bubble_of_dualpipe_is_its_readme_s_only_if_nothing_is_hidden_and_forwards_are_short(name: str) -> None:
    agreed = set()
    for p in (2, 4, 6):
        half = p // 2 if name == "dualpipe" else p
        for F, I, W in [(1, 1, 1), (2, 3, 2), (5, 3, 2), (4, 4, 1)]:
            for FB in {F + I + W, F + I + W - 1, max(F, I + W)}:
                counted = play(make_schedule(name, p, 2 * p), F, I, W, FB=FB).bubbles[0]
                assert counted == costs.bubble(name, p, 2 * p, F, I, W, FB)
                if half > 1:
                    readme = (half - 1) * (FB + I + W - 3 * W)
                    agreed.add((counted == readme, FB == F + I + W and F <= I))
    assert agreed == {(True, True), (False, False)}


# -- latency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [1, 100])
def test_latency_costs_1f1b_two_messages_a_microbatch_and_gpipe_two_a_border(c: int) -> None:
    for p in range(2, 7):
        for m in range(1, 3 * p + 2):
            plain = (p - 1) * 10
            assert play(make_schedule("gpipe", p, m), 3, 5, 2, c).idle == (plain + 2 * c * (p - 1),) * p
            grows = costs.latency_of_1f1b(p, m, c)
            assert play(make_schedule("1f1b", p, m), 3, 5, 2, c).idle == (plain + grows,) * p
            if m % p == 0:
                assert grows == 2 * c * ((p - 1) * m // p + p - 2)


def test_latency_that_weight_gradients_can_fill_costs_zb_h1_the_same_for_every_m() -> None:
    for p in range(2, 6):
        for c, same in [(1, True), (5, True), (6, False)]:  # W = 10: two messages fit in while 2c <= W
            idle = [play(make_schedule("zb-h1", p, m), 10, 10, 10, c).idle[0] for m in (2 * p, 3 * p, 4 * p)]
            assert (len(set(idle)) == 1) is same


# -- the clock itself --------------------------------------------------------------------------------------------


def test_operations_start_as_soon_as_they_can_with_times_of_their_stages() -> None:
    schedule = make_schedule("1f1b", 2, 2)
    played = play(schedule, F=[1, 2], I=[3, 4], W=[5, 6], latency=100)
    assert played.times == (
        ((0, 1), (1, 2), (213, 221), (225, 233)),
        ((101, 103), (103, 113), (113, 115), (115, 125)),
    )
    assert (played.length, played.busy, played.bubbles, played.idle) == (233, (18, 24), (215, 0), (215, 209))
    assert (played.peaks, played.messages) == ((2, 1), 4)


def test_what_one_rank_hands_to_itself_takes_no_message_and_no_latency() -> None:
    for name in SCHEDULES:
        alone = play(make_schedule(name, 1, 3), F=1, I=2, W=4, latency=1000)
        assert (alone.messages, alone.bubbles, alone.idle) == (0, (0,), (0,))
        assert alone.length == 7 * 3 * alone.schedule.stages


def test_operations_that_run_at_once_are_counted_once() -> None:
    played = play(make_schedule("1f1b", 2, 3), F=2, I=2, W=2, FB=5)
    assert played.times[0] == ((0, 2), (8, 13), (8, 13), (19, 24), (19, 24), (30, 34))
    assert (played.busy, played.bubbles) == ((2 + 5 + 5 + 4, 18), (18, 10))


def test_a_rank_without_operations_idles_in_none_of_its_own_time() -> None:
    ops = (Op("F", 0, 0), Op("B", 0, 0))
    played = play(Schedule("mine", 2, 1, 1, (ops, ())))
    assert (played.bubbles, played.idle, played.peaks) == ((0, 0), (0, 3), (1, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"F": -1}, r"got F=-1, expected a number from 0 up, or 2 of them, one for each stage; remedy: "),
        ({"I": [1]}, r"got I=\[1\], expected"),
        ({"W": "1"}, r"got W='1', expected"),
        ({"W": [1, float("nan")]}, r"got W=\[1, nan\], expected"),
        ({"latency": [1]}, r"got latency=\[1\], expected a number from 0 up; remedy"),
        ({"latency": float("inf")}, r"got latency=inf, expected"),
        ({"latency": None}, r"got latency=None, expected"),
        ({"FB": 3}, r"got FB=3 with gpipe, expected passes that can run at once, .*remedy: leave FB out"),
    ],
)
def test_times_that_make_no_sense_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^play: {message}"):
        play(make_schedule("gpipe", 2, 2), **options)


def test_a_schedule_that_cannot_run_is_not_played() -> None:
    whole = make_schedule("gpipe", 2, 2)
    with pytest.raises(ValueError, match=r"^check_schedule: gpipe: got F for stage 0, microbatch 1"):
        play(replace(whole, operations=(whole.operations[0][:-1], whole.operations[1])))
