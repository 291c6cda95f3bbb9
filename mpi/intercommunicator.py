"""Intercomm: a communicator of two groups, each of which sends to the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from mpi import inter_plans
from mpi.bridges import Both, connect
from mpi.common import KINDS, Shared
from mpi.communicator import NEW, Comm
from mpi.constants import PROC_NULL, ROOT, UNDEFINED
from mpi.errors import ERR_RANK, ERR_ROOT, wrong
from mpi.group import Group
from mpi.intracommunicator import Intracomm
from mpi.object_collectives import (
    _callable,
    _one_for_each,
    allgather_objects,
    bcast_object,
    tree_reduce,
)
from mpi.ops import SUM
from mpi.process import process
from mpi.simulated import whole
from mpi.universe import universe

_TAG = 21


class Intercomm(Comm):
    """A communicator of two groups; ranks that a call names are those of the other one."""

    __slots__ = ()
    layout: ClassVar[Any] = "inter"

    @property
    def _plans(self) -> Any:
        return inter_plans

    def Get_size(self) -> int:
        """Return the number of ranks in the local group."""
        return len(self._c._members())

    def Get_remote_size(self) -> int:
        """Return the number of ranks in the other group."""
        size: int = self._c.size
        return size

    def Get_remote_group(self) -> Group:
        """Return the other group."""
        return Group._with(self._object().remote_group().ranks)

    size = property(Get_size)
    remote_size = property(Get_remote_size)
    remote_group = property(Get_remote_group)

    def Create(self, group: Group) -> Comm:
        """Return the intercommunicator of a part of this group and of that which the others give."""
        ranks, me = group._ranks, self._c._state.rank
        color, key = (0, ranks.index(me)) if me in ranks else (UNDEFINED, 0)
        made = self._object().split("Create", color, key)
        return Intercomm() if made is None else Intercomm._of(made)

    def Split(self, color: int = 0, key: int = 0) -> Comm:
        """Return the intercommunicator of the ranks of both groups with the same color."""
        made = self._object().split("Split", whole(color), whole(key))
        return Intercomm() if made is None else Intercomm._of(made)

    def Merge(self, high: bool = False) -> Intracomm:
        """Return the communicator of both groups; the one that says high comes second."""
        shared = self._object()
        mine, theirs = exchanged_lists(shared.hidden, bool(high))
        shared.n_made += 1
        first = not mine[0] if mine[0] != theirs[0] else shared.low
        groups = shared.group().ranks, shared.remote_group().ranks
        members = [*groups[0], *groups[1]] if first else [*groups[1], *groups[0]]
        made = universe(shared.c).communicator(shared.c._state, (shared.key, "merge", shared.n_made), members)
        return Intracomm._of(Shared(made))

    @classmethod
    def Create_from_groups(
        cls, local_group: Group, local_leader: int, remote_group: Group, remote_leader: int,
        stringtag: str = "org.mpi4py", info: Any = None, errhandler: Any = None,
    ) -> Self:  # fmt: skip
        """Return the intercommunicator of two groups, all of whose ranks call it with the same text."""
        mine, theirs = local_group._ranks, remote_group._ranks
        low, high = sorted((mine, theirs))
        return cls._of(connect(process().world.c, ("groups", low, high, stringtag), low, high))

    def _checked_root(self, root: Any) -> int:
        number = int(whole(root))
        if number not in (ROOT, PROC_NULL) and not 0 <= number < self._c.size:
            raise wrong(ERR_ROOT, f"root={root!r}", f"ROOT, PROC_NULL, or 0 to {self._c.size - 1} of the other group",
                        "say ROOT on the root, PROC_NULL beside it")  # fmt: skip
        return number

    # -- objects -------------------------------------------------------------------------------------------------------

    def barrier(self) -> None:
        """Wait until all ranks of the other group have entered."""
        self.Barrier()

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Return the root's object on all ranks of the other group."""
        both, root = self._collective(), self._checked_root(root)
        if root == ROOT:
            both.inter.send(obj, 0, _TAG)
        if root in (ROOT, PROC_NULL):
            return None
        got = both.inter.recv(None, root, _TAG) if both.local.rank == 0 else None
        return bcast_object(both.local, got, 0)

    def gather(self, sendobj: Any, root: int = 0) -> list[Any] | None:
        """Return the objects of the other group on the root."""
        both, root = self._collective(), self._checked_root(root)
        if root == ROOT:
            return [both.inter.recv(None, source, _TAG) for source in range(both.inter.size)]
        if root != PROC_NULL:
            both.inter.send(sendobj, root, _TAG)
        return None

    def scatter(self, sendobj: Sequence[Any] | None, root: int = 0) -> Any:
        """Return this rank's of the objects of the root, which is in the other group."""
        both, root = self._collective(), self._checked_root(root)
        if root == ROOT:
            for dest, obj in enumerate(_one_for_each(sendobj, both.inter.size)):
                both.inter.send(obj, dest, _TAG)
        return None if root in (ROOT, PROC_NULL) else both.inter.recv(None, root, _TAG)

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return the objects of the other group."""
        return exchanged_lists(self._collective(), sendobj)[1]

    def alltoall(self, sendobj: Sequence[Any]) -> list[Any]:
        """Return what each rank of the other group has for this one."""
        both = self._collective()
        sending = [both.inter.isend(obj, d, _TAG) for d, obj in enumerate(_one_for_each(sendobj, both.inter.size))]
        found = [both.inter.recv(None, source, _TAG) for source in range(both.inter.size)]
        for request in sending:
            request.wait()
        return found

    def reduce(self, sendobj: Any, op: Any = SUM, root: int = 0) -> Any:
        """Return the reduction of the objects of the other group on the root."""
        both, root = self._collective(), self._checked_root(root)
        if root == ROOT:
            return both.inter.recv(None, 0, _TAG)
        if root != PROC_NULL:
            got = tree_reduce(both.local, sendobj, _callable(op), 0)
            if both.local.rank == 0:
                both.inter.send(got, root, _TAG)
        return None

    def allreduce(self, sendobj: Any, op: Any = SUM) -> Any:
        """Return the reduction of the objects of the other group."""
        both = self._collective()
        got = tree_reduce(both.local, sendobj, _callable(op), 0)
        if both.local.rank == 0:
            got = both.inter.sendrecv(got, 0, _TAG, None, 0, _TAG)
        return bcast_object(both.local, got, 0)


def exchanged_lists(both: Both, obj: Any) -> tuple[list[Any], list[Any]]:
    """Return the objects of the own group, and those of the other one."""
    mine = allgather_objects(both.local, obj)
    theirs = both.inter.sendrecv(mine, 0, _TAG, None, 0, _TAG) if both.local.rank == 0 else None
    return mine, bcast_object(both.local, theirs, 0)


def create_intercomm(comm: Intracomm, local_leader: int, peer_comm: Any, remote_leader: int, tag: int) -> Intercomm:
    """Return the intercommunicator of a group and of that whose leader the own leader can reach."""
    shared, leader = comm._object(), whole(local_leader)
    c = shared.hidden
    if not 0 <= leader < c.size:
        raise wrong(ERR_RANK, f"local_leader={local_leader}", f"0 to {c.size - 1}", "choose a rank of the group")
    agreed = None
    if c.rank == leader:
        peer = peer_comm._object().hidden
        other = whole(remote_leader)
        mine = shared.group().ranks, next(universe(c).numbers)
        theirs = peer.sendrecv(mine, other, whole(tag), None, other, whole(tag))
        low, high = sorted((mine, theirs))
        agreed = low[0], high[0], low[1]
    low_ranks, high_ranks, number = bcast_object(c, agreed, leader)
    return Intercomm._of(connect(shared.c, ("inter", number), low_ranks, high_ranks))


NEW[True] = KINDS["inter"] = Intercomm
