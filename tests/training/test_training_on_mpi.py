"""Training under every plan of a few ranks on real MPI, launched by pytest, equals one rank's."""

from pathlib import Path

import pytest

from real_mpi import launch
from training_claims import plans, plans_with_experts

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "training_on_mpi.py"


@pytest.mark.parametrize("p", [4])
def test_training_on_real_mpi(p: int, tmp_path: Path) -> None:
    run = launch(p, [str(PROGRAM), str(tmp_path)])
    assert run.returncode == 0, run.stderr
    held = sorted(line for line in run.stdout.splitlines() if "held" in line)
    n = len(plans(p)[::3]) + len(plans_with_experts(p))
    assert held == [f"rank {rank} held {n} plans" for rank in range(p)], run.stdout
