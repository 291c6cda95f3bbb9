"""The blocking collectives of buffers."""

from __future__ import annotations

from typing import Any

from mpi import plans
from mpi.common import CommBase
from mpi.ops import SUM, Op


class Blocking(CommBase):
    """Collectives that return when this rank's part is done."""

    __slots__ = ()

    def _carry_out(self, plan: plans.Plan) -> None:
        plan(self._o.hidden)

    def Barrier(self) -> None:
        """Wait until all ranks have entered."""
        self._carry_out(self._plans.barrier(self._c))

    def Bcast(self, buf: Any, root: int = 0) -> None:
        """Give the root's buffer to all ranks."""
        self._carry_out(self._plans.bcast(self._c, buf, self._checked_root(root)))

    def Gather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Collect equal blocks on the root."""
        self._carry_out(self._plans.gather(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Gatherv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Collect blocks of any sizes on the root."""
        self._carry_out(self._plans.gatherv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Scatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Give each rank its block of the root's buffer; all are equal."""
        self._carry_out(self._plans.scatter(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Scatterv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Give each rank its block of the root's buffer, of any size."""
        self._carry_out(self._plans.scatterv(self._c, sendbuf, recvbuf, self._checked_root(root)))

    def Allgather(self, sendbuf: Any, recvbuf: Any) -> None:
        """Collect equal blocks on all ranks."""
        self._carry_out(self._plans.allgather(self._c, sendbuf, recvbuf))

    def Allgatherv(self, sendbuf: Any, recvbuf: Any) -> None:
        """Collect blocks of any sizes on all ranks."""
        self._carry_out(self._plans.allgatherv(self._c, sendbuf, recvbuf))

    def Alltoall(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange equal blocks, one for each pair of ranks."""
        self._carry_out(self._plans.alltoall(self._c, sendbuf, recvbuf))

    def Alltoallv(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange blocks of any sizes."""
        self._carry_out(self._plans.alltoallv(self._c, sendbuf, recvbuf))

    def Alltoallw(self, sendbuf: Any, recvbuf: Any) -> None:
        """Exchange blocks of any sizes and datatypes."""
        self._carry_out(self._plans.alltoallw(self._c, sendbuf, recvbuf))

    def Reduce(self, sendbuf: Any, recvbuf: Any, op: Op = SUM, root: int = 0) -> None:
        """Reduce the buffers of all ranks to the root's."""
        self._carry_out(self._plans.reduce(self._c, sendbuf, recvbuf, op, self._checked_root(root)))

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of all ranks, and give the result to all."""
        self._carry_out(self._plans.allreduce(self._c, sendbuf, recvbuf, op))

    def Reduce_scatter_block(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of all ranks, and give each rank its block; all are equal."""
        self._carry_out(self._plans.reduce_scatter_block(self._c, sendbuf, recvbuf, op))

    def Reduce_scatter(self, sendbuf: Any, recvbuf: Any, recvcounts: Any = None, op: Op = SUM) -> None:
        """Reduce the buffers of all ranks, and give each rank its block of any size."""
        self._carry_out(self._plans.reduce_scatter(self._c, sendbuf, recvbuf, recvcounts, op))

    @property
    def _plans(self) -> Any:
        """What reads the arguments of collectives: they mean other things to an intercommunicator."""
        return plans
