"""What calls come to on simulated ranks is what they come to on real MPI."""

import json
import runpy
from pathlib import Path

import pytest

from mpi import MPI, run
from real_mpi import launch

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "agreed.py"


@pytest.mark.parametrize("p", [3])
def test_many_calls_come_to_the_same_as_on_real_mpi(p):
    results = runpy.run_path(str(PROGRAM))["results"]
    real = launch(p, [PROGRAM])
    assert real.returncode == 0, real.stderr
    simulated = json.loads(json.dumps(run(lambda comm: results(MPI, comm), p).results))
    for rank, expected in enumerate(json.loads(real.stdout)):
        # Ours belong to one of mpi4py's classes of exceptions and to a class of Python's too.
        for (kinds, error_class), (own_kinds, own_class) in zip(
            expected.pop("errors"), simulated[rank].pop("errors"), strict=True
        ):
            assert set(kinds) <= set(own_kinds)
            assert error_class in (own_class, None)
            assert bool(kinds or error_class) == bool(own_kinds or own_class)
        for name, value in expected.items():
            assert simulated[rank][name] == value, f"rank {rank}, {name}"
