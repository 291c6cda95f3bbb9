"""The claims of `claims.py` on real MPI, launched by pytest: a rank that dies or is wrong fails the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from claims import CLAIMS
from real_mpi import launch

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "collective_claims.py"


@pytest.mark.parametrize("p", [1, 2, 3])
def test_every_claim_holds_on_real_mpi(p: int) -> None:
    run = launch(p, [str(PROGRAM)])
    assert run.returncode == 0, run.stderr
    held = sorted(line for line in run.stdout.splitlines() if "held" in line)
    assert held == [f"rank {rank} held {len(CLAIMS)} claims" for rank in range(p)], run.stdout


@pytest.mark.parametrize("p", [1, 3])
def test_auto_picks_alike_on_real_mpi_and_two_levels_work_on_unequal_nodes(p: int) -> None:
    run = launch(p, [str(PROGRAM.with_name("choices.py"))])
    assert run.returncode == 0, run.stderr
    agreed = sorted(line for line in run.stdout.splitlines() if "agreed" in line)
    assert agreed == [f"rank {rank} agreed" for rank in range(p)], run.stdout
