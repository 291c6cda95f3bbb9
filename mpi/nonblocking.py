"""The nonblocking collectives of buffers: each begins what its blocking namesake does."""

from __future__ import annotations

from typing import Any

from mpi.background import begin
from mpi.blocking import Blocking
from mpi.ops import SUM, Op
from mpi.requests import Request


class Nonblocking(Blocking):
    """Collectives that go on beside the program until their request is complete."""

    __slots__ = ()

    def Ibarrier(self) -> Request:
        """Wait until all ranks have entered."""
        return begin(self._o, "Ibarrier", self._plans.barrier(self._c))

    def Ibcast(self, buf: Any, root: int = 0) -> Request:
        """Give the root's buffer to all ranks."""
        return begin(self._o, "Ibcast", self._plans.bcast(self._c, buf, self._checked_root(root)))

    def Igather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        """Collect equal blocks on the root."""
        return begin(self._o, "Igather", self._plans.gather(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Igatherv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        """Collect blocks of any sizes on the root."""
        return begin(self._o, "Igatherv", self._plans.gatherv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Iscatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        """Give each rank its block of the root's buffer; all are equal."""
        return begin(self._o, "Iscatter", self._plans.scatter(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Iscatterv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        """Give each rank its block of the root's buffer, of any size."""
        return begin(self._o, "Iscatterv", self._plans.scatterv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Iallgather(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Collect equal blocks on all ranks."""
        return begin(self._o, "Iallgather", self._plans.allgather(self._c, sendbuf, recvbuf))

    def Iallgatherv(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Collect blocks of any sizes on all ranks."""
        return begin(self._o, "Iallgatherv", self._plans.allgatherv(self._c, sendbuf, recvbuf))

    def Ialltoall(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Exchange equal blocks, one for each pair of ranks."""
        return begin(self._o, "Ialltoall", self._plans.alltoall(self._c, sendbuf, recvbuf))

    def Ialltoallv(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Exchange blocks of any sizes."""
        return begin(self._o, "Ialltoallv", self._plans.alltoallv(self._c, sendbuf, recvbuf))

    def Ialltoallw(self, sendbuf: Any, recvbuf: Any) -> Request:
        """Exchange blocks of any sizes and datatypes."""
        return begin(self._o, "Ialltoallw", self._plans.alltoallw(self._c, sendbuf, recvbuf))

    def Ireduce(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, root: int = 0) -> Request:
        """Reduce the buffers of all ranks to the root's."""
        return begin(self._o, "Ireduce", self._plans.reduce(self._c, sendbuf, recvbuf, op, self._checked_root(root)))

    def Iallreduce(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> Request:
        """Reduce the buffers of all ranks, and give the result to all."""
        return begin(self._o, "Iallreduce", self._plans.allreduce(self._c, sendbuf, recvbuf, op))

    def Ireduce_scatter_block(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> Request:
        """Reduce the buffers of all ranks, and give each rank its block; all are equal."""
        return begin(self._o, "Ireduce_scatter_block", self._plans.reduce_scatter_block(self._c, sendbuf, recvbuf, op))

    def Ireduce_scatter(self, sendbuf: Any, recvbuf: Any, recvcounts: Any = None, op: Op = SUM) -> Request:
        """Reduce the buffers of all ranks, and give each rank its block of any size."""
        return begin(self._o, "Ireduce_scatter", self._plans.reduce_scatter(self._c, sendbuf, recvbuf, recvcounts, op))
