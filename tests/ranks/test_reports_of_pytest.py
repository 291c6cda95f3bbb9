"""What pytest shows of a failure inside a program: the program's own frames, with what its assertion found out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpi
import ranks
from collectives import ring_allreduce


def asserts(comm: Any) -> None:
    mean = ring_allreduce(comm, np.array([comm.rank])) / comm.size
    assert mean.tolist() == [0.5]


def sends_to_nobody(comm: Any) -> None:
    comm.Send(np.zeros(3), comm.size)


def never_sends(comm: Any) -> None:
    comm.Recv(np.zeros(3), (comm.rank + 1) % comm.size)


def disagrees(comm: Any) -> None:
    ring_allreduce(comm, np.zeros(3 + comm.rank))


CASES = [
    (asserts, ["run(program, 3)", "assert mean.tolist() == [0.5]"], "assert [1.0] == [0.5]"),
    (sends_to_nobody, ["run(program, 3)", "comm.Send(np.zeros(3), comm.size)"], "got dest=3"),
    (never_sends, ["run(program, 3)"], "wait for each other"),
    (disagrees, ["run(program, 3)"], "ranks of one communicator disagree"),
]
RUNS = [(run, case) for run in (ranks.run, partial(ranks.run, check=True)) for case in CASES]
RUNS += [(mpi.run, case) for case in CASES[:3]]  # ranks of real MPI do not compare their collectives


@pytest.mark.parametrize(("run", "case"), RUNS)
def test_a_report_shows_the_frames_of_the_program_only(run: Callable[..., Any], case: Any) -> None:
    program, places, text = case
    with pytest.raises((AssertionError, ranks.RanksError)) as caught:
        run(program, 3)
    report = caught.getrepr(style="long")
    shown = list(report.reprtraceback.reprentries)
    assert [Path(entry.reprfileloc.path).name for entry in shown] == [Path(__file__).name] * len(places)
    for entry, place in zip(shown, places, strict=True):
        assert any(line.startswith(">") and place in line for line in entry.lines), entry.lines
    assert any(line.startswith("E") and text in line for line in shown[-1].lines), shown[-1].lines
    assert "direct cause" not in str(report)
