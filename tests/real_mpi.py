"""Programs of tests on real MPI, with more processes than there may be cores."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from processes import HANG_S
from ranks import real
from ranks.real import find_mpiexec


def launch(
    n_processes: int, argv: Sequence[str | Path], *, timeout_s: float = HANG_S
) -> subprocess.CompletedProcess[str]:
    """Do as `ranks.real.launch`, with MPICH's launcher gforker if it is there. Each process must say that it is done.

    The usual launcher, hydra, puts each process into a session of its own. Linux shares out cores among sessions, so a
    process that polls in one session cannot yield to another, and keeps its core for milliseconds. With gforker three
    processes on two cores need a quarter of the time. But gforker does not notice that a process was killed: such a
    program ends by its time-out, or it looks like a success in which a process said nothing.
    """
    gforker = find_mpiexec().with_name("mpiexec.gforker")
    with pytest.MonkeyPatch.context() as patch:
        if gforker.is_file():
            patch.setattr("ranks.real.processes.find_mpiexec", lambda: gforker)
            patch.setattr("ranks.real.processes.available_cores", lambda: n_processes)  # none needs to sleep
        return real.launch(n_processes, argv, timeout_s=timeout_s)
