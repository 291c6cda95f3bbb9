"""Intracomm: a communicator of one group of ranks, COMM_WORLD and COMM_SELF among them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, NoReturn

from mpi import plans
from mpi.background import begin, prepare
from mpi.common import KINDS, PerRank, Shared, World
from mpi.communicator import COMM_NULL, NEW, Comm
from mpi.constants import UNDEFINED
from mpi.errors import left_out
from mpi.group import Group
from mpi.handles import constant
from mpi.object_collectives import _callable, butterfly_scan, goes_along_trees, reduced_in_order
from mpi.ops import SUM, Op
from mpi.process import process
from mpi.requests import Prequest, Request
from mpi.universe import universe


class Intracomm(Comm):
    """A communicator of one group of ranks."""

    __slots__ = ()
    layout: ClassVar[Any] = "intra"

    # -- scans -----------------------------------------------------------------------------------------------------

    def Scan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of the ranks up to this one."""
        self._carry_out(plans.scan(self._c, sendbuf, recvbuf, op))

    def Exscan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of the ranks below this one."""
        self._carry_out(plans.exscan(self._c, sendbuf, recvbuf, op))

    def Iscan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> Request:
        """Begin to reduce the buffers of the ranks up to this one."""
        return begin(self._o, "Iscan", plans.scan(self._c, sendbuf, recvbuf, op))

    def Iexscan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> Request:
        """Begin to reduce the buffers of the ranks below this one."""
        return begin(self._o, "Iexscan", plans.exscan(self._c, sendbuf, recvbuf, op))

    def Scan_init(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, info: Any = None) -> Prequest:
        """Return a persistent request that reduces the buffers of the ranks up to this one."""
        return prepare(self._o, "Scan", plans.scan(self._c, sendbuf, recvbuf, op))

    def Exscan_init(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, info: Any = None) -> Prequest:
        """Return a persistent request that reduces the buffers of the ranks below this one."""
        return prepare(self._o, "Exscan", plans.exscan(self._c, sendbuf, recvbuf, op))

    def scan(self, sendobj: Any, op: Any = SUM) -> Any:
        """Return the reduction of the objects of the ranks up to this one."""
        return self._scanned(sendobj, _callable(op), inclusive=True)

    def exscan(self, sendobj: Any, op: Any = SUM) -> Any:
        """Return the reduction of the objects of the ranks below this one; None on rank 0."""
        return self._scanned(sendobj, _callable(op), inclusive=False)

    def _scanned(self, sendobj: Any, op: Any, *, inclusive: bool) -> Any:
        c = self._collective()
        if not goes_along_trees():
            return reduced_in_order(c, sendobj, op, c.rank + inclusive)
        return butterfly_scan(c, sendobj, op, inclusive=inclusive)

    # -- communicators of it -----------------------------------------------------------------------------------------

    def Create_group(self, group: Group, tag: int = 0) -> Intracomm:
        """Return the communicator of a group, whose ranks call it; COMM_NULL for others, which need not call it."""
        shared, ranks = self._object(), Group._checked(group)._ranks
        if shared.c._state.rank not in ranks:
            return Intracomm()
        return Intracomm._of(Shared(met(shared.c, ("group", shared.c._context, ranks, tag), ranks)))

    @classmethod
    def Create_from_group(
        cls, group: Group, stringtag: str = "org.mpi4py", info: Any = None, errhandler: Any = None
    ) -> Intracomm:
        """Return the communicator of a group; only its ranks call it, with the same text."""
        world = process().world.c
        ranks = group._ranks
        return Intracomm._of(Shared(met(world, ("group", ranks, stringtag), ranks))) if ranks else Intracomm()

    def Create_cart(self, dims: Sequence[int], periods: Any = None, reorder: bool = False) -> Any:
        """Return a communicator whose ranks lie in a grid, COMM_NULL for those that are too many."""
        from mpi.topologies import create_cart

        return create_cart(self, dims, periods)

    def Create_graph(self, index: Sequence[int], edges: Sequence[int], reorder: bool = False) -> Any:
        """Return a communicator whose ranks are the nodes of a graph that all know, COMM_NULL beyond."""
        from mpi.topologies import create_graph

        return create_graph(self, index, edges)

    def Create_dist_graph_adjacent(
        self, sources: Sequence[int], destinations: Sequence[int], sourceweights: Any = None, destweights: Any = None,
        info: Any = None, reorder: bool = False,
    ) -> Any:  # fmt: skip
        """Return a communicator whose ranks are the nodes of a graph; each gives its own edges, in and out."""
        from mpi.topologies import create_dist_graph_adjacent

        return create_dist_graph_adjacent(self, sources, destinations, sourceweights, destweights)

    def Create_dist_graph(
        self, sources: Sequence[int], degrees: Sequence[int], destinations: Sequence[int], weights: Any = None,
        info: Any = None, reorder: bool = False,
    ) -> Any:  # fmt: skip
        """Return a communicator whose ranks are the nodes of a graph; each gives any of its edges."""
        from mpi.topologies import create_dist_graph

        return create_dist_graph(self, sources, degrees, destinations, weights)

    def Cart_map(self, dims: Sequence[int], periods: Any = None) -> int:
        """Return the rank that the calling one would have in a grid."""
        return self.Get_rank() if self.Get_rank() < prod(dims) else UNDEFINED

    def Graph_map(self, index: Sequence[int], edges: Sequence[int]) -> int:
        """Return the rank that the calling one would have in a graph."""
        n = len(index) - (len(index) > 1 and index[0] == 0)
        return self.Get_rank() if self.Get_rank() < n else UNDEFINED

    def Create_intercomm(self, local_leader: int, peer_comm: Any, remote_leader: int, tag: int = 0) -> Any:
        """Return the intercommunicator of this group and that of a leader whom this group's leader can reach."""
        from mpi.intercommunicator import create_intercomm

        return create_intercomm(self, local_leader, peer_comm, remote_leader, tag)

    # -- what is left out ----------------------------------------------------------------------------------------------

    def Spawn(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: dynamic processes are not simulated."""
        left_out("a new process")

    Spawn_multiple = Accept = Connect = Spawn


def met(c: Any, name: Any, ranks: Sequence[int]) -> Any:
    """Return a new communicator of some ranks, which all of them ask for by the same name; they leave together."""
    made = universe(c).communicator(c._state, name, ranks)
    made._meet("Create_group", None, {})
    return made


NEW[False] = KINDS["intra"] = Intracomm
COMM_WORLD = constant("COMM_WORLD", Intracomm._of(World("world")))
COMM_SELF = constant("COMM_SELF", Intracomm._of(PerRank("self_")))

__all__ = ["COMM_NULL", "COMM_SELF", "COMM_WORLD", "Intracomm"]
