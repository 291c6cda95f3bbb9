"""The order of the tests, and numbers for those that draw random programs by number; `make hunt` gives them others."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

# A worker has one core, so BLAS gets one thread: here, where NumPy is imported already, and in processes to come.
threadpool_limits(1)
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# Processes to come calibrate real MPI in one round: see the file in that folder.
STARTED = str(Path(__file__).with_name("started"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (STARTED, os.environ.get("PYTHONPATH"))))


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--first-seed", type=int, default=0, help="number of the first random program (default: 0)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let notebooks come first: a test that takes long and begins last would leave the other workers without work."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


def pytest_collection_finish() -> None:
    """Let the garbage collector never look at thousands of tests again: the suite takes a fortieth less."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def seeds(request: Any, record_property: Any) -> Callable[..., range]:
    """Return seeds(n, after=0): the numbers of n random programs, the same in each run of the suite."""

    def numbers(n: int, after: int = 0) -> range:
        record_property("seeds", n)
        first = request.config.option.first_seed + after
        return range(first, first + n)

    return numbers
