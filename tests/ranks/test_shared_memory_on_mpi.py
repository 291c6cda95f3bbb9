"""Shared memory between real processes: the claims, the flags, MPI's progress, and what happens when one ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from real_mpi import launch

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "shared_memory.py"
CHECKS = [  # several to a launch, which takes a second by itself; those that change a setting come last
    ("claims", 1),
    ("barrier_holds barriers_of_several many_messages lost_peer", 2),
    ("freed outlives spare_memory wrong_calls without_ordered_stores", 2),
    ("barrier_holds progress same_bits prepared_calls auto claims", 3),
]


@pytest.mark.parametrize(("checks", "p"), CHECKS)
def test_checks_hold_on_real_mpi(checks: str, p: int) -> None:
    run = launch(p, [str(PROGRAM), *checks.split()])
    assert run.returncode == 0, run.stderr
    assert "persistent request" not in run.stderr
    assert sorted(run.stdout.splitlines()) == [f"rank {rank} done" for rank in range(p)], run.stdout
