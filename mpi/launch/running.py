"""A program on many simulated ranks, each of which takes itself for a process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType
from typing import Any

from mpi.launch.clock import virtual_clocks
from mpi.launch.compute import MeasuredCompute
from mpi.launch.exits import exits_of_ranks, leave
from mpi.launch.forks import forks_of_ranks
from mpi.launch.modules import UsersFinder, project_is_library, replaced_by_users, users_modules
from mpi.launch.mpi4py_names import ours_is_mpi4py
from mpi.launch.process_state import ProcessState, ProcessStates
from mpi.launch.programs import Program
from mpi.launch.streams import Nothing, Output, Reader, Writer
from mpi.launch.threads import threads_of_ranks
from mpi.running import begin


class Launch:
    """What all ranks of a program share, and what one rank does.

    program:     It is what every rank runs.
    tag_output:  It tells whether each line that is printed begins with the number of its rank.
    compute:     It charges what a rank computes; None if computing takes no time.
    keeps_output: It tells whether the result of a rank is what it has printed.
    """

    def __init__(
        self, program: Program, *, tag_output: bool = False, compute: MeasuredCompute | None = None,
        keeps_output: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.tag_output, self.compute, self.keeps_output = program, tag_output, compute, keeps_output
        self.codes: dict[str, CodeType] = {}
        self.writers: dict[Writer, None] = {}

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Let every rank that runs inside have what an MPI process has for itself."""
        folder = self.program.folder or os.getcwd()
        with ExitStack() as stack:
            compute = self.compute
            resumed, charge = (compute.goes_on, compute.charge) if compute else (_nothing, _nothing)
            states = stack.enter_context(ProcessStates(self._new, replaced_by_users(folder), resumed))
            own = states.caller.modules
            finder = UsersFinder(lambda: states.running.modules, self.codes)
            stack.enter_context(users_modules(finder, {name: own[name] for name in own if name != "__main__"}))
            stack.enter_context(virtual_clocks(charge))
            stack.enter_context(ours_is_mpi4py())
            stack.enter_context(project_is_library())
            stack.enter_context(exits_of_ranks())
            stack.enter_context(threads_of_ranks())
            stack.enter_context(forks_of_ranks())
            stack.callback(lambda: self._finish(self.writers))
            yield

    def _new(self, rank: int) -> tuple[Any, ...]:
        """Return argv, path, stdin, stdout, stderr and excepthook of a rank."""
        prefix = f"[{rank}] " if self.tag_output else ""
        out, err = Output(sys.stdout), Output(sys.stderr)
        stdout = Writer(out, prefix, "<stdout>", out.errors)
        stderr = Writer(err, prefix, "<stderr>", "backslashreplace")
        self.writers |= {stdout: None, stderr: None}
        reads = rank == 0 and sys.stdin is not None
        stdin: Any = Reader(sys.stdin, stdout.finish) if reads else io.TextIOWrapper(Nothing(), encoding="utf-8")
        stdout.lines.keeps = self.keeps_output
        path = [self.program.folder, *sys.path]
        return list(self.program.argv), path, stdin, stdout, stderr, sys.__excepthook__

    def rank(self, comm: Any) -> str | None:
        """Run the program as one rank."""
        own: ProcessState = comm._state.own
        stdout, stderr = own_writers = _writers()
        scheduler = comm._state.scheduler
        stdout.lines.is_over = stderr.lines.is_over = lambda: scheduler.closed
        begin(comm)
        _set_variables(comm)
        try:
            self.program.run(own.modules)
        except (Exception, SystemExit) as problem:  # nothing else: a rank that is ended from outside has no exit
            leave(comm._state, problem, has_clock=not self.keeps_output)
            raise
        else:
            leave(comm._state, None)
        finally:
            if scheduler.closed and "__main__" in own.modules:
                vars(own.modules["__main__"]).clear()  # now, while what its objects print at their end is dropped
            self._finish(own_writers)
        return b"".join(stdout.lines.kept).decode(stdout.encoding) if self.keeps_output else None

    def _finish(self, writers: Iterable[Writer]) -> None:
        """Pass on what ranks have written to these, and forget them."""
        for writer in list(writers):
            writer.finish()
            del self.writers[writer]


def _writers() -> tuple[Writer, Writer]:
    """Return the output streams of the rank that runs, which its program has not seen yet."""
    assert isinstance(sys.stdout, Writer)
    assert isinstance(sys.stderr, Writer)
    return sys.stdout, sys.stderr


def _nothing(*arguments: Any) -> None:
    """Do nothing."""


def _set_variables(comm: Any) -> None:
    """Let the environment of a rank tell what the launchers of MPICH and of Open MPI tell a process.

    They are not set by `putenv`, which would set them for all ranks.
    """
    rank, size, per_node = comm.rank, comm.size, comm._transport.network.ranks_per_node
    node = 0 if per_node == 1 else rank // per_node * per_node  # the first rank on it; all are on one machine if 1
    local_size = size if per_node == 1 else min(per_node, size - node)
    told: dict[str, Any] = {
        "PMI_RANK": rank, "PMI_SIZE": size, "MPI_LOCALRANKID": rank - node, "MPI_LOCALNRANKS": local_size,
        "OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_SIZE": size, "OMPI_COMM_WORLD_LOCAL_RANK": rank - node,
        "OMPI_COMM_WORLD_LOCAL_SIZE": local_size,
    }  # fmt: skip
    own: Any = os.environ
    # pytest on every rank would else capture the file of standard output, which all ranks write to.
    told["PYTEST_ADDOPTS"] = f"--capture=sys {own.get('PYTEST_ADDOPTS', '')}"
    own._data.update((own.encodekey(name), own.encodevalue(str(value))) for name, value in told.items())
