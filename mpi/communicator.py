"""Comm and Intracomm: the calls of communicators put together, and how they are made of each other."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from mpi import plans
from mpi.blocking import Blocking
from mpi.common import PerRank, Shared
from mpi.constants import CONGRUENT, IDENT, SIMILAR, UNDEFINED, UNEQUAL
from mpi.errors import ERR_COMM, wrong
from mpi.handles import constant
from mpi.object_collectives import ObjectCollectives, _callable, butterfly_scan
from mpi.objects import Objects
from mpi.ops import SUM, Op
from mpi.simulated import whole


class Comm(Objects, ObjectCollectives, Blocking):
    """A communicator."""

    __slots__ = ()

    def Compare(self, comm: Comm) -> int:
        """Return IDENT (the same), CONGRUENT (same ranks, same order), SIMILAR (same ranks) or UNEQUAL."""
        if self._object() is comm._object():
            return IDENT
        mine, other = ([box.owner.rank for box in each._c._context.boxes] for each in (self, comm))
        if mine == other:
            return CONGRUENT
        return SIMILAR if set(mine) == set(other) else UNEQUAL

    def Get_name(self) -> str:
        """Return the communicator's name."""
        return "MPI_COMM_NULL" if self._o is None else self._o.name

    def Set_name(self, name: str) -> None:
        """Set the communicator's name, which reports show."""
        self._object().name = name
        self._c.Set_name(name)

    name = property(Get_name, Set_name)

    def Is_inter(self) -> bool:
        """Return whether this is an intercommunicator."""
        return self._object().remote is not None

    def Is_intra(self) -> bool:
        """Return whether this is an intracommunicator."""
        return not self.Is_inter()

    is_inter = property(Is_inter)
    is_intra = property(Is_intra)

    def Dup(self, info: Any = None) -> Self:
        """Return a communicator of the same ranks whose messages are kept apart from this one's."""
        made = self._c._divided("Dup", 0, self._c.rank, {})
        kind = type(self)
        return kind._of(Shared(made, topology=self._o.topology))

    Clone = Dup

    def Split(self, color: int = 0, key: int = 0) -> Comm:
        """Return the communicator of the ranks with the same color, ordered by key, then by rank."""
        made = self._c._divided("Split", whole(color), whole(key), {})
        return Intracomm._of(Shared(made)) if made else COMM_NULL

    def Free(self) -> None:
        """Let go of the communicator, and make the handle null."""
        if isinstance(self._object(), PerRank):
            raise wrong(ERR_COMM, f"Free of {self.name[4:]}", "a communicator that the program has made", "keep it")
        self._o.c.Free()
        self._o = None

    def Abort(self, errorcode: int = 0) -> NoReturn:
        """End the run at once, on all ranks."""
        self._c.Abort(errorcode)
        raise AssertionError("a rank goes on after Abort")


class Intracomm(Comm):
    """A communicator of one group of ranks."""

    __slots__ = ()

    def Scan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of the ranks up to this one."""
        self._carry_out(plans.scan(self._c, sendbuf, recvbuf, op))

    def Exscan(self, sendbuf: Any, recvbuf: Any, op: Op = SUM) -> None:
        """Reduce the buffers of the ranks below this one."""
        self._carry_out(plans.exscan(self._c, sendbuf, recvbuf, op))

    def scan(self, sendobj: Any, op: Any = SUM) -> Any:
        """Return the reduction of the objects of the ranks up to this one."""
        return butterfly_scan(self._collective(), sendobj, _callable(op), inclusive=True)

    def exscan(self, sendobj: Any, op: Any = SUM) -> Any:
        """Return the reduction of the objects of the ranks below this one; None on rank 0."""
        return butterfly_scan(self._collective(), sendobj, _callable(op), inclusive=False)


COMM_NULL = constant("COMM_NULL", Comm())
COMM_WORLD = constant("COMM_WORLD", Intracomm._of(PerRank("world")))
COMM_SELF = constant("COMM_SELF", Intracomm._of(PerRank("self_")))

__all__ = ["COMM_NULL", "COMM_SELF", "COMM_WORLD", "UNDEFINED", "Comm", "Intracomm"]
