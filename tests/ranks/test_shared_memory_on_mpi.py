"""Shared memory between real processes: the claims, the flags, MPI's progress, and what happens when one ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from real_mpi import launch

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "shared_memory.py"
CHECKS = [
    *[("claims", p) for p in (1, 2, 4)], ("barrier_holds", 2), ("barrier_holds", 4), ("barriers_of_several", 2),
    ("progress", 3), ("many_messages", 2), ("lost_peer", 2), ("same_bits", 3), ("prepared_calls", 3), ("auto", 3),
    ("freed outlives spare_memory wrong_calls without_ordered_stores", 2),  # the last one changes a setting
]  # fmt: skip


@pytest.mark.parametrize(("checks", "p"), CHECKS)
def test_checks_hold_on_real_mpi(checks: str, p: int) -> None:
    run = launch(p, [str(PROGRAM), *checks.split()], timeout_s=240)
    assert run.returncode == 0, run.stderr
    assert "persistent request" not in run.stderr
    assert sorted(run.stdout.splitlines()) == [f"rank {rank} done" for rank in range(p)], run.stdout
