"""Memory goes: what was received with the program's last reference, all else with the run."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import collectives
import mpi
import ranks


@pytest.mark.parametrize("n", [1, 100, 100_000])  # staged, above 1 KiB, above the eager limit
@pytest.mark.parametrize("call", ["Recv", "Sendrecv", "from any"])
@pytest.mark.parametrize("check", [False, True])
def test_a_received_array_goes_with_the_program_s_last_reference(n: int, call: str, check: bool) -> None:
    def program(comm: ranks.Comm) -> bool:
        other, came = 1 - comm.rank, np.empty(n)
        if comm.rank == 1:
            ranks.spend(comm, 10**9)  # so that rank 0 waits
        if call == "Sendrecv":
            comm.Sendrecv(np.ones(n), other, 5, came, other, 5)
        elif comm.rank == 0:
            comm.Recv(came, ranks.ANY_SOURCE if call == "from any" else other, 5)
        else:
            comm.Send(np.ones(n), other, 5)
        seen = weakref.ref(came)
        del came
        return seen() is None

    assert ranks.run(program, 2, check=check).results == [True, True]


def keeps(comm: ranks.Comm) -> None:
    collectives.staged_allreduce(comm, np.ones(10))


def starts(comm: ranks.Comm) -> None:
    ranks.start(collectives.ring_allreduce, comm, np.ones(10))
    assert comm.rank, "this ends the run"
    comm.Barrier()


def hangs(comm: ranks.Comm) -> None:
    ranks.start(collectives.ring_allreduce, comm, np.ones(10))
    comm.recv()


def calls_mpi(comm: Any) -> None:
    comm.Iallreduce(np.ones(10), np.empty(10)).Wait()
    mpi.MPI.Win.Allocate(8, comm=comm).Fence()
    comm.Dup().allreduce(1)


@pytest.mark.parametrize("program", [keeps, starts, hangs, calls_mpi])
def test_nothing_of_a_run_is_left_however_it_ends(program: Any) -> None:
    left = []

    def watched(comm: Any) -> None:
        left.append(weakref.ref(comm._transport if program is not calls_mpi else comm._c._transport))
        program(comm)

    with suppress(AssertionError, ranks.RanksError):
        (mpi.run if program is calls_mpi else ranks.run)(watched, 3, network="nvlink")
    gc.collect()
    assert {each() for each in left} == {None}
