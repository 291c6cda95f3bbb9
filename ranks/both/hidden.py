"""What collectives send on: where no message, tag or wildcard of the program is met, in both worlds."""

from __future__ import annotations

from typing import Any
from weakref import finalize

from ranks.both.kept import kept
from ranks.both.nodes import nodes_of
from ranks.words.constants import behind, mpi_of


def hidden(comm: Any) -> Any:
    """Return the communicator of the same ranks on which collectives of `comm` send.

        def program(comm):
            came = np.empty(1)
            seen = comm.Irecv(came, ranks.ANY_SOURCE, ranks.ANY_TAG)
            hidden(comm).Send(np.array([1.0]), 0)
            comm.Send(np.array([2.0]), 0)
            hidden(comm).Recv(np.empty(1), 0)
            return seen.Wait() and came

        ranks.run(program, 1).results  # [array([2.])]

    On real MPI it is a duplicate, so the first call is collective; it is freed with `comm`. An object that only behaves
    like a communicator, such as one that counts its calls, is returned as it is.
    """
    comm = behind(comm)
    kind = type(comm)
    if hasattr(kind, "_hidden"):
        return comm._hidden()
    return kept(comm, hidden, lambda: _Duplicate(comm)).comm if hasattr(kind, "handle") else comm


class _Duplicate:
    """A duplicate of a communicator of real MPI."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm.Dup()
        nodes: Any = kept(comm, nodes_of, lambda: None)
        if nodes is not None:
            kept(self.comm, nodes_of, lambda: nodes)
        # Free it when `comm` is freed, or before Python ends: MPI ends after Python, when it is too late.
        finalize(self, _free, self.comm, mpi_of(comm))


def _free(comm: Any, mpi: Any) -> None:
    if not mpi.Is_finalized():
        comm.Free()
