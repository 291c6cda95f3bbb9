"""Claims about loops that poll a number of times, however that is counted: they make all their polls."""

from __future__ import annotations

import io
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import ranks

# A poll takes 1 ns, and a message as long.
NETWORK = ranks.Network(name="x", inter=ranks.Link(1000, 0), ports=False, poll_ps=1000)
TIMES = 1200
total = 0


class Plain:
    """Something with a counter in an attribute, or deeper."""

    n = 0


class Slots:
    __slots__ = ("n",)


def in_a_dict(poll: Callable[[], Any]) -> None:
    counts = {"n": 0}
    while counts["n"] < TIMES and not poll():
        counts["n"] += 1


def in_a_list(poll: Callable[[], Any]) -> None:
    counts = [0]
    while counts[0] < TIMES and not poll():
        counts[0] += 1


def in_slots(poll: Callable[[], Any]) -> None:
    counts = Slots()
    counts.n = 0
    while counts.n < TIMES and not poll():
        counts.n += 1


def deep_inside(poll: Callable[[], Any]) -> None:
    outer: Any = Plain()
    outer.by_name = {"inner": Plain()}
    while outer.by_name["inner"].n < TIMES and not poll():
        outer.by_name["inner"].n += 1


def in_a_class(poll: Callable[[], Any]) -> None:
    Plain.n = 0
    while Plain.n < TIMES and not poll():
        Plain.n += 1
    Plain.n = 0


def in_a_global(poll: Callable[[], Any]) -> None:
    global total
    total = 0
    while total < TIMES and not poll():
        total += 1


def in_a_closure(poll: Callable[[], Any]) -> None:
    n = 0

    def goes_on() -> bool:
        nonlocal n
        n += 1
        return n <= TIMES

    while goes_on() and not poll():
        pass


def in_a_large_array(poll: Callable[[], Any]) -> None:
    counts = np.zeros(100_000)
    while counts[5] < TIMES and not poll():
        counts[5] += 1


def until_a_deque_is_empty(poll: Callable[[], Any]) -> None:
    left = deque(range(TIMES - 1))
    with suppress(IndexError):
        while not poll():
            left.popleft()


def until_an_iterator_ends(poll: Callable[[], Any]) -> None:
    left = iter(range(TIMES - 1))
    with suppress(StopIteration):
        while not poll():
            next(left)


def until_a_file_ends(poll: Callable[[], Any]) -> None:
    lines = io.StringIO("again\n" * TIMES)
    while lines.readline() and not poll():
        pass


def attempts() -> Iterator[None]:
    for _ in range(TIMES):
        yield None


def over_a_generator(poll: Callable[[], Any]) -> None:
    for _ in attempts():
        if poll():
            break


def over_a_repeat(poll: Callable[[], Any]) -> None:
    for _ in itertools.repeat(None, TIMES):
        if poll():
            break


def by_chance(poll: Callable[[], Any]) -> None:
    while random.random() > 1 / TIMES and not poll():
        pass


def by_a_generator_of_its_own(poll: Callable[[], Any]) -> None:
    drawn = np.random.default_rng(5)
    while drawn.random() > 1 / TIMES and not poll():
        pass


LOOPS = [
    in_a_dict, in_a_list, in_slots, deep_inside, in_a_class, in_a_global, in_a_closure, in_a_large_array,
    until_a_deque_is_empty, until_an_iterator_ends, until_a_file_ends, over_a_generator, over_a_repeat, by_chance,
    by_a_generator_of_its_own,
]  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_loop_that_counts_its_polls_is_no_livelock_and_is_not_passed_over(loop: Callable[[Any], None]) -> None:
    """What is sent long after comes too late for it; and so it is if nothing is ever sent."""
    ended = []
    for is_sent in (True, False):

        def program(comm: ranks.Comm, is_sent: bool = is_sent) -> int:
            if comm.rank == 0:
                loop(lambda: comm.Iprobe(1))
            elif is_sent:
                ranks.spend(comm, 10**12)
                comm.send(None, 0)
            if comm.rank == 0 and is_sent:
                at_ps = round(ranks.Wtime() * 1e12)
                comm.recv()
                return at_ps
            return round(ranks.Wtime() * 1e12)

        ended.append(ranks.run(program, 2, network=NETWORK).results[0])
    assert ended[0] == ended[1]
    if not loop.__name__.startswith("by_"):
        assert ended[0] == TIMES * NETWORK.poll_ps


def test_a_loop_that_counts_may_send_in_the_end_to_one_that_polls_for_that() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            counts = {"n": 0}
            while counts["n"] < 300:
                comm.Iprobe(1)
                counts["n"] += 1
            comm.send(1, 1)
            return "sent"
        while not comm.Iprobe(0):
            pass
        return comm.recv()

    assert ranks.run(program, 2).results == ["sent", 1]


def test_a_message_within_a_round_of_two_polls_ends_the_loop_in_the_next_round() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            one, other = comm.irecv(source=1, tag=1), comm.irecv(source=1, tag=2)
            while not (one.test()[0] or other.test()[0]):
                pass
            at_ps = round(ranks.Wtime() * 1e12)
            ranks.Request.waitall([one, other])
            return at_ps
        ranks.spend(comm, 99_500)
        comm.send(1, 0, 1)
        ranks.spend(comm, 10**7)
        return comm.send(None, 0, 2)

    assert ranks.run(program, 2, network=NETWORK).results[0] == 102_000


def test_a_loop_waits_for_what_another_does_after_its_own_loop() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 2:
            ranks.spend(comm, 120_300)
            comm.send(None, 1)
            ranks.spend(comm, 10**7)
            return comm.send(None, 0)
        while not comm.Iprobe(comm.rank + 1):
            pass
        if comm.rank == 1:
            comm.recv(source=2)
            comm.send(None, 0)
        at_ps = round(ranks.Wtime() * 1e12)
        if comm.rank == 0:
            comm.recv(source=1)
            comm.recv(source=2)
        return at_ps

    assert ranks.run(program, 3, network=NETWORK).results[:2] == [123_000, 122_000]


@pytest.mark.parametrize("post", ["Irecv", "Isend"])
def test_a_loop_that_begins_requests_between_its_polls_makes_all_its_rounds(post: str) -> None:
    """How many there are is no state of the loop, but the other rank may see it."""

    def program(comm: Any, counts: bool) -> int:
        x, n = np.zeros(1), 0
        if comm.rank == 1:
            ranks.spend(comm, 1_000_000)
            for _ in range(100):
                comm.Ssend(x, 0, 3) if post == "Irecv" else comm.Recv(x, 0, 3)
            comm.send(None, 0, 9)
            return 0
        while not comm.Iprobe(1, 9):
            (comm.Irecv(x, 1, 3) if post == "Irecv" else comm.Isend(x, 1, 3)).Free()
            n += counts
        comm.recv(source=1, tag=9)
        return n

    with_counter = end_of(program, True)
    assert with_counter == end_of(program, False)


def end_of(program: Callable[..., Any], *args: Any) -> int | str:
    """Return when a run ends, or what ends it."""
    try:
        return ranks.run(program, 2, *args, network=NETWORK).time_ps
    except ranks.RanksError as problem:
        return f"{type(problem).__name__} {problem.rank}"
