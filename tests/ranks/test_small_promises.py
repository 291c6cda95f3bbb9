"""Claims about PROC_NULL and faults, empty buffers, changes of shared state, handles of others, and a rank's memory."""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from random import random as drawn
from typing import Any

import numpy as np
import pytest

import ranks

TO_NOBODY: dict[str, Callable[[Any], Any]] = {
    "Send": lambda comm: comm.Send(np.ones(1), ranks.PROC_NULL),
    "send": lambda comm: comm.send(1, ranks.PROC_NULL),
    "Isend": lambda comm: comm.Isend(np.ones(1), ranks.PROC_NULL).Wait(),
    "isend": lambda comm: comm.isend(1, ranks.PROC_NULL).wait(),
    "Sendrecv": lambda comm: comm.Sendrecv(np.ones(1), ranks.PROC_NULL, 0, np.ones(1), ranks.PROC_NULL),
    "sendrecv": lambda comm: comm.sendrecv(1, ranks.PROC_NULL, 0, None, ranks.PROC_NULL),
}


@pytest.mark.parametrize("name", TO_NOBODY)
def test_a_send_to_nobody_takes_no_time_and_is_none_to_a_fault(name: str) -> None:
    for fault in (ranks.Straggler(rank=0, factor=2), ranks.Crash(rank=0, send=1)):
        assert ranks.run(TO_NOBODY[name], 1, faults=[fault]).times_ps == [0]


def read_only() -> Any:
    array = np.zeros(0)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("make", [read_only, lambda: np.zeros(4)[::2]], ids=["read-only", "strided"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_buffer_that_cannot_be_written_is_refused_for_an_empty_message_too(
    make: Callable[[], Any], is_there: bool
) -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 1:
            for _ in range(2):
                comm.Send(np.zeros(0), 0)
            comm.send(None, 0, 1)
            return
        if is_there:
            comm.recv(source=1, tag=1)
        comm.Recv(np.zeros(0), 1, 0)
        comm.Recv(make(), 1, 0)

    with pytest.raises(ranks.InvalidBufferError):
        ranks.run(program, 2)


def test_a_change_of_the_output_that_others_see_ends_the_run_whoever_catches_it() -> None:
    def program(comm: ranks.Comm) -> None:
        got = np.zeros(1)
        if comm.rank == 0:
            with suppress(ranks.SharedStateError), redirect_stdout(io.StringIO()):
                for _ in range(30):
                    comm.Send(np.ones(1), 1)
            comm.Recv(got, 1)
            return
        for _ in range(18):
            comm.Recv(got, 0)
        comm.Send(got, 0)

    with pytest.raises(ranks.SharedStateError):
        ranks.run(program, 2)


class Callable_:  # noqa: N801  # a program may be an object
    def __call__(self, comm: ranks.Comm) -> float:
        return drawn()


def test_a_program_that_is_an_object_has_generators_of_its_own_too() -> None:
    first, second = (ranks.run(Callable_(), 3).results for _ in range(2))
    assert first == second
    assert len(set(first)) == 3


CALLS: dict[str, Callable[[Any], Any]] = {
    "Abort": lambda comm: comm.Abort(),
    "Send_init": lambda comm: comm.Send_init(np.zeros(1), 0),
    "Recv_init": lambda comm: comm.Recv_init(np.zeros(1), 0),
    "Set_name": lambda comm: comm.Set_name("x"),
    "region": lambda comm: ranks.region(comm, "x"),
    "reduction_clock": lambda comm: ranks.reduction_clock(comm),
    "spend": lambda comm: ranks.spend(comm, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_communicator_is_used_by_its_rank_in_its_run_only(name: str) -> None:
    kept: list[Any] = []

    def program(comm: ranks.Comm) -> Any:
        kept.append(comm)
        if comm.rank == 1:
            with pytest.raises(ranks.InvalidHandleError, match="rank 0"):
                CALLS[name](kept[0])
        comm.sendrecv(None, 1 - comm.rank)

    ranks.run(program, 2)
    with pytest.raises(ranks.InvalidHandleError, match="over"):
        CALLS[name](kept[0])


def test_a_parked_rank_holds_8_kib_at_most() -> None:
    """Of these, 4,210 bytes are a page of its frames and what the C library adds: Python does not count them."""
    size, token = 300, np.zeros(1)

    def program(comm: ranks.Comm) -> int:
        if comm.rank:
            comm.Send(token, 0)
            comm.Recv(token, 0)
            return 0
        for source in range(1, size):
            comm.Recv(token, source)
        held = tracemalloc.get_traced_memory()[0]
        for dest in range(1, size):
            comm.Send(token, dest)
        return held

    ranks.run(program, size)
    tracemalloc.start()
    try:
        held = ranks.run(program, size).results[0] / size
    finally:
        tracemalloc.stop()
    # Later Pythons keep more of the C stack of each greenlet.
    assert held + 4210 <= (8192 if sys.version_info < (3, 12) else 9700)
