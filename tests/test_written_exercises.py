"""The judges of written exercises reject what looks right: each wrong program gets its own fault."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebook_answers import ANSWERS
from test_notebooks import PATHS

JUDGES = {"code-1", "exercise-5-judge"}  # the cells that the exercise needs

WRONG = {
    "04_ulysses": {
        "but ranks send [160, 160, 160] bytes": """def answer(comm, mine, share):
    out = np.empty((3, *mine.shape), mine.dtype)
    out[comm.rank] = mine
    for step in (1, 2):
        comm.Sendrecv(mine, (comm.rank + step) % 3, recvbuf=out[(comm.rank - step) % 3], source=(comm.rank - step) % 3)
    return out.reshape(6, -1)[:, share[comm.rank]]
""",
        "rank 1 returned [[2, 3], [7, 8], [12, 13], [17, 18]]": """def answer(comm, mine, share):
    if comm.rank == 0:
        for rank in (1, 2):
            comm.Send(np.ascontiguousarray(mine[:, share[rank]]), rank)
        return np.arange(30).reshape(6, 5)[:, :2]
    came = np.empty((2, share[comm.rank].stop - share[comm.rank].start), mine.dtype)
    comm.Recv(came, 0)
    return np.concatenate([came, mine[:, share[comm.rank]]])
""",
    },
    "05_which_collective": {
        "the best of the nine takes 7.178 µs": """def answer(comm, x):
    return collectives.allreduce(comm, x, algorithm="naive")
""",
        "rank 1 returned [62.]": """def answer(comm, x):
    return collectives.allreduce(comm, x) - (comm.rank == 1)
""",
        "ranks 0-5 wait": """def answer(comm, x):
    comm.Recv(np.empty_like(x), (comm.rank - 1) % comm.size)
""",
    },
    "06_anatomy_of_a_hang": {
        "on 1 rank, DeadlockError": """def answer(comm):
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if comm.rank % 2:
        from_left, _ = comm.recv(source=left), comm.send(comm.rank, right)
        from_right, _ = comm.recv(source=right), comm.send(comm.rank, left)
    else:
        _, from_left = comm.send(comm.rank, right), comm.recv(source=left)
        _, from_right = comm.send(comm.rank, left), comm.recv(source=right)
    return from_left, from_right
""",
        "a rank sends 3 messages": """def answer(comm):
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    told = {comm.rank: comm.rank}
    for step in range(1, comm.size):
        source = (comm.rank - step) % comm.size
        told[source] = comm.sendrecv(comm.rank, (comm.rank + step) % comm.size, source=source)
    return told[left], told[right]
""",
        "on 3 ranks it returned [(1, 2), (2, 0), (0, 1)]": """def answer(comm):
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    return comm.sendrecv(comm.rank, left, source=right), comm.sendrecv(comm.rank, right, source=left)
""",
    },
    "07_honest_speed_up": {
        "it makes 198 calls": """def answer(stopwatch):
    seconds = stopwatch([0, 1] * 99)
    return np.median(seconds[1::2] / seconds[::2])
""",
        "of the truth on ": """def answer(stopwatch):
    seconds = stopwatch([0, 1] * 31)
    return min(seconds[1::2]) / min(seconds[::2])
""",
    },
}


@pytest.fixture(scope="module", params=WRONG)
def judge(request: Any) -> Any:
    """Give the name of a notebook, and the names that its judge's cells define."""
    path = next(path for path in PATHS if path.stem == request.param)
    names: dict[str, Any] = {}
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        for cell in nbformat.read(path, as_version=4).cells:  # type: ignore[no-untyped-call]
            if cell.id in JUDGES:
                exec(compile(cell.source.replace("%matplotlib inline", ""), cell.id, "exec"), names)
    finally:
        os.chdir(here)
    return request.param, names


def said_of(judge: Any, source: str) -> list[str]:
    """Return the faults of a program."""
    exec(source, judge[1])
    return list(judge[1]["faults"](judge[1]["answer"]))


def test_a_wrong_program_gets_its_fault(judge):
    for fault, source in WRONG[judge[0]].items():
        assert fault in next(iter(said_of(judge, source))), source


def test_the_model_answer_has_no_faults(judge):
    assert said_of(judge, ANSWERS[judge[0]][4]) == []
