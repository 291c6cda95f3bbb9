"""No message, tag or wildcard of a program meets a message of a collective, nor the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

import ranks
from claims import CLAIMS
from claims_of_movers import MOVER_CLAIMS, claim_in_a_crowd
from real_mpi import launch

ALL_CLAIMS = CLAIMS | MOVER_CLAIMS
MPI_PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "out_of_reach.py"


@pytest.mark.parametrize("claim", ALL_CLAIMS)
def test_collectives_and_the_program_take_no_message_of_each_other(claim: str) -> None:
    ranks.run(claim_in_a_crowd, 5, ALL_CLAIMS[claim])


def test_they_take_none_on_real_mpi() -> None:
    run = launch(3, [str(MPI_PROGRAM)])
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [f"rank {rank} done" for rank in range(3)]
