"""What pytest shows of a failure inside a program: the program's own frames, with what its assertion found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


@pytest.mark.parametrize("options", [{}, {"check": True}], ids=["plain", "checked"])
@pytest.mark.parametrize(
    ("program", "places", "text"),
    [
        (asserts, ["ranks.run(program, 3, **options)", "assert mean.tolist() == [0.5]"], "assert [1.0] == [0.5]"),
        (sends_to_nobody, ["ranks.run(program, 3, **options)", "comm.Send(np.zeros(3), comm.size)"], "got dest=3"),
        (never_sends, ["ranks.run(program, 3, **options)"], "wait for each other"),
        (disagrees, ["ranks.run(program, 3, **options)"], "ranks of one communicator disagree"),
    ],
)
def test_a_report_shows_the_frames_of_the_program_only(
    program: Callable[..., Any], places: list[str], text: str, options: dict[str, Any]
) -> None:
    with pytest.raises((AssertionError, ranks.RanksError)) as caught:
        ranks.run(program, 3, **options)
    report = caught.getrepr(style="long")
    shown = list(report.reprtraceback.reprentries)
    assert [Path(entry.reprfileloc.path).name for entry in shown] == [Path(__file__).name] * len(places)
    for entry, place in zip(shown, places, strict=True):
        assert any(line.startswith(">") and place in line for line in entry.lines), entry.lines
    assert any(line.startswith("E") and text in line for line in shown[-1].lines), shown[-1].lines
    assert "direct cause" not in str(report)
