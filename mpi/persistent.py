"""The persistent collectives of buffers: their arguments are read once, and each Start begins them."""

from __future__ import annotations

from typing import Any

from mpi.background import prepare
from mpi.blocking import Blocking
from mpi.ops import SUM, Op
from mpi.requests import Prequest


class Persistent(Blocking):
    """Collectives that a request begins again and again."""

    __slots__ = ()

    def Barrier_init(self, info: Any = None) -> Prequest:
        """Wait until all ranks have entered."""
        return prepare(self._o, "Barrier", self._plans.barrier(self._c))

    def Bcast_init(self, buf: Any, root: int = 0, info: Any = None) -> Prequest:
        """Give the root's buffer to all ranks."""
        return prepare(self._o, "Bcast", self._plans.bcast(self._c, buf, self._checked_root(root)))

    def Gather_init(self, sendbuf: Any, recvbuf: Any, root: int = 0, info: Any = None) -> Prequest:
        """Collect equal blocks on the root."""
        return prepare(self._o, "Gather", self._plans.gather(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Gatherv_init(self, sendbuf: Any, recvbuf: Any, root: int = 0, info: Any = None) -> Prequest:
        """Collect blocks of any sizes on the root."""
        return prepare(self._o, "Gatherv", self._plans.gatherv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Scatter_init(self, sendbuf: Any, recvbuf: Any, root: int = 0, info: Any = None) -> Prequest:
        """Give each rank its block of the root's buffer; all are equal."""
        return prepare(self._o, "Scatter", self._plans.scatter(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Scatterv_init(self, sendbuf: Any, recvbuf: Any, root: int = 0, info: Any = None) -> Prequest:
        """Give each rank its block of the root's buffer, of any size."""
        return prepare(self._o, "Scatterv", self._plans.scatterv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Allgather_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Collect equal blocks on all ranks."""
        return prepare(self._o, "Allgather", self._plans.allgather(self._c, sendbuf, recvbuf))

    def Allgatherv_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Collect blocks of any sizes on all ranks."""
        return prepare(self._o, "Allgatherv", self._plans.allgatherv(self._c, sendbuf, recvbuf))

    def Alltoall_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Exchange equal blocks, one for each pair of ranks."""
        return prepare(self._o, "Alltoall", self._plans.alltoall(self._c, sendbuf, recvbuf))

    def Alltoallv_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Exchange blocks of any sizes."""
        return prepare(self._o, "Alltoallv", self._plans.alltoallv(self._c, sendbuf, recvbuf))

    def Alltoallw_init(self, sendbuf: Any, recvbuf: Any, info: Any = None) -> Prequest:
        """Exchange blocks of any sizes and datatypes."""
        return prepare(self._o, "Alltoallw", self._plans.alltoallw(self._c, sendbuf, recvbuf))

    def Reduce_init(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, root: int = 0, info: Any = None) -> Prequest:
        """Reduce the buffers of all ranks to the root's."""
        return prepare(self._o, "Reduce", self._plans.reduce(self._c, sendbuf, recvbuf, op, self._checked_root(root)))

    def Allreduce_init(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, info: Any = None) -> Prequest:
        """Reduce the buffers of all ranks, and give the result to all."""
        return prepare(self._o, "Allreduce", self._plans.allreduce(self._c, sendbuf, recvbuf, op))

    def Reduce_scatter_block_init(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, info: Any = None) -> Prequest:
        """Reduce the buffers of all ranks, and give each rank its block; all are equal."""
        return prepare(self._o, "Reduce_scatter_block", self._plans.reduce_scatter_block(self._c, sendbuf, recvbuf, op))

    def Reduce_scatter_init(
        self, sendbuf: Any, recvbuf: Any, recvcounts: Any = None, op: Op = SUM, info: Any = None
    ) -> Prequest:
        """Reduce the buffers of all ranks, and give each rank its block of any size."""
        return prepare(self._o, "Reduce_scatter", self._plans.reduce_scatter(self._c, sendbuf, recvbuf, recvcounts, op))
