"""Claims about numbers: NaN, fractions and negative ones are refused where they make no sense, NumPy's are as good."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import ranks
from ranks import Crash, Delay, Drop, Duplicate, Link, Network, Partition, SlowLink, Straggler

NAN, INF = float("nan"), float("inf")
NO_INTEGERS = [NAN, INF, -INF, 1.5, 1.0, np.float64(2), np.nan, "1", "", None, [1], 1j, Fraction(1, 2), np.zeros(1)]
NO_FACTORS = [NAN, INF, -INF, -1, 0.5, "2", None, [2], 2j]
NO_PROBABILITIES = [NAN, INF, -INF, -0.1, 1.5, "0.5", None, [1], 1j]
LINK = Link(1, 1)


def program(comm: ranks.Comm) -> int:
    return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)


def network(**changed: Any) -> Network:
    return Network(**({"name": "x", "inter": LINK} | changed))


# What takes a whole number, and the smallest that it takes.
INTEGERS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "spend": (lambda n: ranks.run(lambda comm: ranks.spend(comm, n), 1), 0),
    "spend on one of three": (lambda n: ranks.run(lambda comm: comm.rank == 1 and ranks.spend(comm, n), 3), 0),
    "spend with faults": (
        lambda n: ranks.run(lambda comm: ranks.spend(comm, n), 1, faults=[Straggler(rank=0, factor=2)]), 0,
    ),
    "Link.latency_ps": (lambda n: Link(n, 1), 0),
    "Link.fs_per_byte": (lambda n: Link(1, n), 0),
    **{
        f"Network.{name}": (lambda n, name=name: network(**{name: n}), least)
        for name, least in {
            "ranks_per_node": 1, "poll_ps": 1, "overhead_ps": 0, "reduce_fs_per_byte": 0, "eager_limit": 0,
            "jitter_ps": 0,
        }.items()
    },
    "Crash.send": (lambda n: Crash(rank=0, send=n), 1),
    "Crash.time_ps": (lambda n: Crash(rank=0, time_ps=n), 0),
    "Delay.by_ps": (lambda n: Delay(by_ps=n), 0),
    "Delay.nth": (lambda n: Delay(by_ps=1, nth=n), 1),
    "Drop.nth": (lambda n: Drop(nth=n), 1),
    "Partition.start_ps": (lambda n: Partition(ranks=(0,), start_ps=n, end_ps=10**18), 0),
    "Partition.end_ps": (lambda n: Partition(ranks=(0,), start_ps=0, end_ps=n), 0),
    "run, size": (lambda n: ranks.run(lambda comm: None, n), 1),
    "explore, size": (lambda n: ranks.explore(lambda comm: None, n), 1),
    "explore, max_runs": (lambda n: ranks.explore(program, 2, max_runs=n), 1),
    "explore, polls": (lambda n: ranks.explore(program, 2, polls=n), 0),
}  # fmt: skip
MAY_BE_NONE = {"Delay.nth", "Drop.nth", "Partition.end_ps"}
ANY_INTEGERS = {"run, seed": lambda n: ranks.run(program, 2, seed=n, network=network(jitter_ps=10))}
FLOATS = {
    "Straggler.factor": (lambda x: Straggler(rank=0, factor=x), NO_FACTORS),
    "SlowLink.factor": (lambda x: SlowLink(factor=x), NO_FACTORS),
    "Delay.probability": (lambda x: Delay(by_ps=1, probability=x), NO_PROBABILITIES),
    "Drop.probability": (lambda x: Drop(probability=x), NO_PROBABILITIES),
    "Duplicate.probability": (lambda x: Duplicate(probability=x), NO_PROBABILITIES),
    "Link.of, latency_s": (lambda x: Link.of(x, 1e9), [NAN, INF, -INF, -1e-6, "1", None, 1j]),
    "Link.of, bytes_per_s": (lambda x: Link.of(1e-6, x), [NAN, -INF, -1e9, 0, 0.0, "1", None, 1j]),
}


@pytest.mark.parametrize("name", [*INTEGERS, *ANY_INTEGERS])
def test_what_is_no_whole_number_is_refused_with_the_remedy(name: str) -> None:
    call = INTEGERS[name][0] if name in INTEGERS else ANY_INTEGERS[name]
    for wrong in NO_INTEGERS:
        if wrong is None and name in MAY_BE_NONE:
            continue
        if wrong is None and name.startswith("Crash"):
            continue  # the other of the two must be given then, which has its own error
        with pytest.raises((ValueError, TypeError), match="remedy: ") as caught:
            call(wrong)
        assert repr(wrong) in str(caught.value) or str(wrong) in str(caught.value), wrong


@pytest.mark.parametrize("name", INTEGERS)
def test_numbers_below_the_least_are_refused_and_the_least_is_not(name: str) -> None:
    call, least = INTEGERS[name]
    call(least)
    for wrong in (least - 1, least - 100, np.int64(least - 1)):
        with pytest.raises((ValueError, TypeError), match="remedy: "):
            call(wrong)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64, lambda n: np.array(n)])
def test_integers_of_numpy_are_integers(kind: Any) -> None:
    calls = {name: call for name, (call, _) in INTEGERS.items()} | ANY_INTEGERS
    for name, call in calls.items():
        try:
            call(kind(3))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{name} does not take {kind(3)!r}") from error


@pytest.mark.parametrize("name", FLOATS)
def test_a_fraction_that_makes_no_sense_is_refused_with_the_remedy(name: str) -> None:
    call, wrongs = FLOATS[name]
    for wrong in wrongs:
        with pytest.raises((ValueError, TypeError), match="remedy: "):
            call(wrong)


@pytest.mark.parametrize("size", [True, False, np.bool_(True), np.True_])
def test_a_truth_value_is_no_number_of_ranks(size: Any) -> None:
    for call in (ranks.run, ranks.explore):
        with pytest.raises((ValueError, TypeError), match="remedy: "):
            call(program, size)


def test_numpy_s_integers_give_what_python_s_give() -> None:
    def spends(comm: ranks.Comm, kind: Any) -> Any:
        ranks.spend(comm, kind(100))
        left, right = kind((comm.rank - 1) % comm.size), kind((comm.rank + 1) % comm.size)
        x = np.full(4, comm.rank)
        comm.Sendrecv_replace([x, (kind(2), kind(1)), ranks.LONG], right, kind(7), left, kind(7))
        part = comm.Split(kind(comm.rank % 2), kind(-comm.rank) if kind is int else kind(5 - comm.rank))
        return x.tolist(), part.rank, part.size, comm.sendrecv("x", right, kind(1), None, left, kind(1))

    for kind in (np.int16, np.int64, np.uint8):
        runs = [ranks.run(spends, n(3), n, network=network(jitter_ps=50), seed=n(9)) for n in (int, kind)]
        assert runs[0].results == runs[1].results
        assert runs[0].times_ps == runs[1].times_ps
        assert [type(time_ps) for time_ps in runs[1].times_ps] == [int] * 3


def test_a_clock_is_a_python_integer_whatever_was_spent() -> None:
    def spends(comm: ranks.Comm) -> None:
        for amount in (np.int32(2**31 - 1), np.int64(5), np.uint8(255)):
            for _ in range(3):
                ranks.spend(comm, amount)

    run = ranks.run(spends, 1)
    assert (type(run.time_ps), run.time_ps) == (int, 3 * (2**31 - 1 + 5 + 255))


def test_numpy_s_integers_do_not_overflow_in_a_network() -> None:
    narrow = network(inter=Link(np.int32(2_000_000_000), np.int32(2_000_000_000)), overhead_ps=np.int32(2_000_000_000))

    def sends(comm: ranks.Comm) -> None:
        comm.Send(np.zeros(1000), 1) if comm.rank == 0 else comm.Recv(np.zeros(1000), 0)

    assert ranks.run(sends, 2, network=narrow).time_ps == 6_000_000_000 + 8000 * 2_000_000


@pytest.mark.parametrize("wrong", [1.0, 1.5, NAN, "1", True, np.True_, None, [0], np.float32(1)], ids=repr)
def test_a_rank_or_tag_that_is_no_integer_is_refused(wrong: Any) -> None:
    calls = [
        lambda comm: comm.send(1, wrong), lambda comm: comm.recv(source=wrong), lambda comm: comm.Iprobe(wrong),
        lambda comm: comm.Isend(np.zeros(1), wrong), lambda comm: comm.sendrecv(1, wrong, source=0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ranks.InvalidRankError, match="remedy: "):
            ranks.run(call, 2)
    for call in (lambda comm: comm.send(1, 0, wrong), lambda comm: comm.recv(tag=wrong)):
        if wrong is not True and not isinstance(wrong, np.bool_):  # bool counts as 0 or 1 in mpi4py's tags
            with pytest.raises(ranks.InvalidTagError, match="remedy: "):
                ranks.run(call, 2)
