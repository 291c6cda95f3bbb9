"""The claims of `parallel_claims.py` and `block_claims.py` on real MPI, launched by pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from block_claims import STRATEGIES, cases
from parallel_claims import WAYS, fixed_cases
from real_mpi import launch
from vocabulary_claims import words

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "parallel_claims_on_mpi.py"


@pytest.mark.parametrize("p", [3])
def test_every_strategy_holds_on_real_mpi(p: int) -> None:
    run = launch(p, [str(PROGRAM)])
    assert run.returncode == 0, run.stderr
    n = len(WAYS) * len(list(fixed_cases())) + len(STRATEGIES) * (len(cases()) + 1) + len(list(words())) + 3
    held = sorted(line for line in run.stdout.splitlines() if "held" in line)
    assert held == [f"rank {rank} held {n} claims" for rank in range(p)], run.stdout
