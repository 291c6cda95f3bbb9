"""Ring all-reduce on MockMPI: one process per rank, a pipe per pair, messages pickled. No clock."""

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from peers import Array

NAME = "MockMPI"


def missing() -> str:
    """Return "" if MockMPI can be imported, else how to install it."""
    return "" if find_spec("mockmpi") else "pip install mockmpi"


def ring_allreduce(data: Array, calls: int) -> tuple[float, Array]:
    """Return the seconds of `calls` all-reduces of the rows of `data`, and the last one's results.

    The clock runs on rank 0 between two barriers: starting p processes takes seconds and is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.npz"
        import_module("mockmpi").mock_mpiexec(len(data), _rank, data, calls, str(answer))
        with np.load(answer) as saved:
            return float(saved["seconds"]), saved["results"]


def _rank(comm: Any, data: Array, calls: int, answer: str) -> None:
    comm.Barrier()
    start = perf_counter()
    for _ in range(calls):
        result = _allreduce(comm, data[comm.rank])
    comm.Barrier()
    seconds = perf_counter() - start
    results = comm.gather(result)
    if comm.rank == 0:
        np.savez(answer, seconds=seconds, results=np.stack(results))


def _allreduce(comm: Any, x: Array) -> Array:
    p, rank = comm.size, comm.rank
    left, right = (rank - 1) % p, (rank + 1) % p
    result = x.copy()
    chunks = result.reshape(p, -1)
    scratch = np.empty_like(chunks[0])
    for step in range(p - 1):
        comm.Send(chunks[(rank - step) % p], right)
        comm.Recv(scratch, left)
        chunks[(rank - step - 1) % p] += scratch
    for step in range(p - 1):
        comm.Send(chunks[(rank + 1 - step) % p], right)
        comm.Recv(chunks[(rank - step) % p], left)
    return result
