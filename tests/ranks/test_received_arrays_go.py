"""A rank that has received into an array keeps no reference to it: the array goes when the program drops it."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

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
