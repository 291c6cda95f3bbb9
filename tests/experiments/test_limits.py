"""Claims about what a run may take: a run that takes too much is refused, with the largest values that fit."""

from __future__ import annotations

import re
from argparse import Namespace

import pytest

from experiments.lab import limits
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from ranks import real

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with 10 GiB of free memory and 2 cores, which can start 100 MPI processes."""
    monkeypatch.setattr(real, "available_memory", lambda: 10 * GIB)
    monkeypatch.setattr(real, "most_processes", lambda: (100, "100 processes may run", "ask for fewer"))
    monkeypatch.setattr(limits.os, "cpu_count", lambda: 2)


def held(args: Namespace) -> Need:
    return Need(memory=args.ranks * args.n)


@pytest.mark.parametrize(
    ("args", "need", "steps", "says"),
    [
        (
            {"ranks": 4, "n": 3 * GIB, "mpi": False},
            held,
            {"ranks": 1, "n": 4},
            "got --ranks 4 --n 3221225472, which need about 12 GiB of memory, expected at most 8 GiB of what is free; "
            f"remedy: --ranks up to 2 or --n up to {2 * GIB - limits.RANK_BYTES}",
        ),
        (
            {"ranks": 10**8, "n": 10**12, "mpi": False},
            held,
            {"ranks": 1, "n": 4},
            "got --ranks 100000000 --n 1000000000000, which need about 86.74 EiB of memory, expected at most 8 GiB "
            "of what is free; remedy: less of each",
        ),
        (
            {"ranks": 10**6, "mpi": False},
            lambda args: Need(messages=args.ranks**2),
            {"ranks": 1},
            "got --ranks 1000000, which need about 18.63 GiB of memory, expected at most 8 GiB of what is free; "
            "remedy: --ranks up to 18973",
        ),
        (
            {"ranks": 10**6, "mpi": False},
            lambda args: Need(messages=args.ranks**2),
            {"ranks": lambda n: n // 100 * 100},
            "got --ranks 1000000, which need about 18.63 GiB of memory, expected at most 8 GiB of what is free; "
            "remedy: --ranks up to 18900",
        ),
        (
            {"ranks": 10**5, "mpi": False},
            lambda args: Need(messages=args.ranks**2),
            {"ranks": 1},
            "got --ranks 100000, which take about 27.8 hours, expected at most 1; remedy: --ranks up to 18973",
        ),
        (
            {"ranks": None, "mpi": False, "log2_size": 30},
            lambda args: Need(seconds=2**args.log2_size / 1000),
            {"log2_size": 1},
            "got --log2-size 30, which take about 298 hours, expected at most 1; remedy: --log2-size up to 21",
        ),
        (
            {"ranks": 101, "mpi": True},
            lambda args: Need(),
            {"ranks": 1},
            "got --ranks 101 on real MPI, expected at most 100, since 100 processes may run; remedy: fewer --ranks",
        ),
    ],
)
def test_what_is_too_much_is_said_in_one_line_with_what_fits(args, need, steps, says):
    with pytest.raises(UsageError) as caught:
        afford(Namespace(**args), need, **steps)
    assert str(caught.value) == says


@pytest.mark.parametrize("memory", [1, 3, 10**4])
@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("n", [10**10, 10**11 + 1])
def test_the_value_that_is_named_fits_and_the_next_one_does_not(memory, step, n):
    def need(args: Namespace) -> Need:
        return Need(memory=memory * args.n)

    args = Namespace(ranks=3, mpi=False, n=n)
    with pytest.raises(UsageError) as caught:
        afford(args, need, n=step)
    args.n = int(re.search(r"--n up to (\d+)$", str(caught.value))[1])
    assert args.n % step == 0
    afford(args, need, n=step)
    args.n += step
    with pytest.raises(UsageError):
        afford(args, need, n=step)


def test_processes_take_no_memory_of_simulated_ranks_but_time_where_cores_are_few(monkeypatch):
    afford(Namespace(ranks=100, mpi=True), lambda args: Need(memory=8 * GIB), ranks=1)
    monkeypatch.setattr(real, "most_processes", lambda: (10**6, "", ""))
    with pytest.raises(UsageError, match=r"got --ranks 2000, which take about 1\.81 hours, expected at most 1"):
        afford(Namespace(ranks=2000, mpi=True), lambda args: Need(), ranks=1)
    monkeypatch.setattr(limits.os, "cpu_count", lambda: 4000)
    afford(Namespace(ranks=2000, mpi=True), lambda args: Need(), ranks=1)


def test_under_mpi_the_processes_that_are_there_are_not_counted_again(monkeypatch):
    monkeypatch.setattr(real, "under_mpi", lambda: True)
    afford(Namespace(ranks=101, mpi=True), lambda args: Need(), ranks=1)
