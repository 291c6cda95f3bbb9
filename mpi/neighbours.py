"""Topocomm: a communicator whose ranks are laid out, and the collectives between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import ranks
from mpi import plans
from mpi.background import begin, prepare
from mpi.buffers import Blocks, each_its_own, simple, vector
from mpi.constants import PROC_NULL
from mpi.errors import WrongValueError, wrong
from mpi.intracommunicator import Intracomm
from mpi.plans import Plan
from mpi.requests import Prequest, Request

BYTES = np.dtype(np.uint8)


def exchange(comm: Any, leaving: Sequence[Any], arriving: Sequence[Any]) -> Plan:
    """Send a block along each edge out, and receive one along each edge in."""
    shared = comm._object()
    sources, destinations = comm.inoutedges
    tags_in, tags_out = shared.topology.tags(shared.c.rank)

    def run(c: Any) -> None:
        requests = []
        for (blocks, block), source, tag in zip(arriving, sources, tags_in, strict=True):
            if source != PROC_NULL:
                requests.append(c.Irecv(_as_bytes(blocks.piece(block)), source, tag))
        for (blocks, block), dest, tag in zip(leaving, destinations, tags_out, strict=True):
            if dest != PROC_NULL:
                requests.append(c.Isend(plans.as_bytes(blocks.packed(block)), dest, tag))
        ranks.Request.Waitall(requests)

    return run


def _as_bytes(piece: Any) -> Any:
    if isinstance(piece, np.ndarray):
        return plans.as_bytes(piece)
    piece.dtype = BYTES
    return piece


def _each(blocks: Blocks) -> list[Any]:
    return [(blocks, block) for block in range(len(blocks))]


class Topocomm(Intracomm):
    """A communicator whose ranks are laid out, and the collectives between neighbours."""

    __slots__ = ()
    layout: ClassVar[Any] = "any"

    @property
    def inoutedges(self) -> tuple[list[int], list[int]]:
        """The ranks that this one receives from and sends to."""
        shared = self._object()
        edges: tuple[list[int], list[int]] = shared.topology.edges(shared.c.rank)
        return edges

    inedges = property(lambda self: self.inoutedges[0])
    outedges = property(lambda self: self.inoutedges[1])
    indegree = property(lambda self: len(self.inoutedges[0]))
    outdegree = property(lambda self: len(self.inoutedges[1]))
    degrees = property(lambda self: (len(self.inoutedges[0]), len(self.inoutedges[1])))

    # -- what they do ------------------------------------------------------------------------------------------------

    def _allgather(self, sendbuf: Any, recvbuf: Any) -> Plan:
        into, out_of = self.degrees
        sent = simple(sendbuf, writable=False)
        return exchange(self, [(sent, 0)] * out_of, _each(simple(recvbuf, into, writable=True)))

    def _allgatherv(self, sendbuf: Any, recvbuf: Any) -> Plan:
        into, out_of = self.degrees
        sent = simple(sendbuf, writable=False)
        return exchange(self, [(sent, 0)] * out_of, _each(vector(recvbuf, into, writable=True)))

    def _alltoall(self, sendbuf: Any, recvbuf: Any) -> Plan:
        into, out_of = self.degrees
        sent, received = simple(sendbuf, out_of, writable=False), simple(recvbuf, into, writable=True)
        return exchange(self, _each(sent), _each(received))

    def _alltoallv(self, sendbuf: Any, recvbuf: Any) -> Plan:
        into, out_of = self.degrees
        sent, received = vector(sendbuf, out_of, writable=False), vector(recvbuf, into, writable=True)
        return exchange(self, _each(sent), _each(received))

    def _alltoallw(self, sendbuf: Any, recvbuf: Any) -> Plan:
        into, out_of = self.degrees
        received, sent = each_its_own(recvbuf, into, writable=True), each_its_own(sendbuf, out_of, writable=False)
        return exchange(self, [(block, 0) for block in sent], [(block, 0) for block in received])

    # -- blocking ----------------------------------------------------------------------------------------------------

    def Neighbor_allgather(self, sendbuf: Any, recvbuf: Any) -> None:
        """Send one block to all neighbours, and collect theirs."""
        self._carry_out(self._allgather(sendbuf, recvbuf))

    def Neighbor_allgatherv(self, sendbuf: Any, recvbuf: Any) -> None:
        """Send one block to all neighbours, and collect theirs, of any sizes."""
        self._carry_out(self._allgatherv(sendbuf, recvbuf))

    def Neighbor_alltoall(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange equal blocks with all neighbours."""
        self._carry_out(self._alltoall(sendbuf, recvbuf))

    def Neighbor_alltoallv(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange blocks of any sizes with all neighbours."""
        self._carry_out(self._alltoallv(sendbuf, recvbuf))

    def Neighbor_alltoallw(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange blocks of any sizes and datatypes with all neighbours."""
        self._carry_out(self._alltoallw(sendbuf, recvbuf))

    # -- nonblocking -------------------------------------------------------------------------------------------------

    def Ineighbor_allgather(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Begin to send one block to all neighbours, and to collect theirs."""
        return begin(self._o, "Ineighbor_allgather", self._allgather(sendbuf, recvbuf))

    def Ineighbor_allgatherv(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Begin to send one block to all neighbours, and to collect theirs, of any sizes."""
        return begin(self._o, "Ineighbor_allgatherv", self._allgatherv(sendbuf, recvbuf))

    def Ineighbor_alltoall(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Begin to exchange equal blocks with all neighbours."""
        return begin(self._o, "Ineighbor_alltoall", self._alltoall(sendbuf, recvbuf))

    def Ineighbor_alltoallv(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Begin to exchange blocks of any sizes with all neighbours."""
        return begin(self._o, "Ineighbor_alltoallv", self._alltoallv(sendbuf, recvbuf))

    def Ineighbor_alltoallw(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Begin to exchange blocks of any sizes and datatypes with all neighbours."""
        return begin(self._o, "Ineighbor_alltoallw", self._alltoallw(sendbuf, recvbuf))

    # -- persistent --------------------------------------------------------------------------------------------------

    def Neighbor_allgather_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Return a persistent request that sends one block to all neighbours, and collects theirs."""
        return prepare(self._o, "Neighbor_allgather", self._allgather(sendbuf, recvbuf))

    def Neighbor_allgatherv_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Return a persistent request that sends one block to all neighbours, and collects theirs, of any sizes."""
        return prepare(self._o, "Neighbor_allgatherv", self._allgatherv(sendbuf, recvbuf))

    def Neighbor_alltoall_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Return a persistent request that exchanges equal blocks with all neighbours."""
        return prepare(self._o, "Neighbor_alltoall", self._alltoall(sendbuf, recvbuf))

    def Neighbor_alltoallv_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Return a persistent request that exchanges blocks of any sizes with all neighbours."""
        return prepare(self._o, "Neighbor_alltoallv", self._alltoallv(sendbuf, recvbuf))

    def Neighbor_alltoallw_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Return a persistent request that exchanges blocks of any sizes and datatypes with all neighbours."""
        return prepare(self._o, "Neighbor_alltoallw", self._alltoallw(sendbuf, recvbuf))

    # -- objects -------------------------------------------------------------------------------------------------------

    def neighbor_allgather(self, sendobj: Any) -> list[Any]:
        """Send one object to all neighbours, and return theirs; None along an edge of PROC_NULL."""
        return self.neighbor_alltoall([sendobj] * self.outdegree)

    def neighbor_alltoall(self, sendobj: Sequence[Any]) -> list[Any]:
        """Send an object to each neighbour, and return theirs; None along an edge of PROC_NULL."""
        c, (sources, destinations) = self._collective(), self.inoutedges
        if len(sendobj) != len(destinations):
            raise wrong(
                WrongValueError, f"{len(sendobj)} objects", f"{len(destinations)}", "pass one for each neighbour"
            )
        tags_in, tags_out = self._o.topology.tags(c.rank)
        receiving = [c.irecv(None, source, tag) for source, tag in zip(sources, tags_in, strict=True)]
        sending = [c.isend(obj, dest, tag) for obj, dest, tag in zip(sendobj, destinations, tags_out, strict=True)]
        found: list[Any] = ranks.Request.waitall([*receiving, *sending])
        return found[: len(receiving)]
