"""Comm: the calls of communicators put together, and how communicators are made of each other."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from mpi import constants
from mpi.attributes import Attributes
from mpi.background import begin, post_both
from mpi.buffers import message
from mpi.common import PerRank, Shared
from mpi.constants import ANY_SOURCE, ANY_TAG, UNDEFINED
from mpi.errhandlers import HandlesErrors
from mpi.errors import ERR_ARG, ERR_COMM, left_out, wrong
from mpi.group import Group, Members
from mpi.handles import constant, text
from mpi.info import HasHints, Info
from mpi.nonblocking import Nonblocking
from mpi.object_collectives import ObjectCollectives
from mpi.objects import Objects
from mpi.persistent import Persistent
from mpi.point_to_point import numbers
from mpi.process import attached, detached, process
from mpi.requests import Request
from mpi.simulated import c_int, whole


class Comm(Objects, ObjectCollectives, Nonblocking, Persistent, Attributes, HasHints, HandlesErrors):
    """A communicator."""

    __slots__ = ()

    # -- what it is ----------------------------------------------------------------------------------------------

    def Compare(self, comm: Comm) -> int:
        """Return IDENT (the same), CONGRUENT (same ranks, same order), SIMILAR (same ranks) or UNEQUAL."""
        if self._object() is Comm._checked(comm)._object():
            return constants.IDENT
        if self.Is_inter() != comm.Is_inter():
            return constants.UNEQUAL
        found = [self.Get_group().Compare(comm.Get_group())]
        if self.Is_inter():
            found.append(Group._of(self._o.remote_group()).Compare(Group._of(comm._o.remote_group())))
        return {constants.IDENT: constants.CONGRUENT}.get(max(found), max(found))

    def Get_group(self) -> Group:
        """Return the group of its ranks, the local one of an intercommunicator; it is equal to that of a duplicate."""
        found = self._object().group().ranks
        return Group._of(process().groups.setdefault(found, Members(found)))

    group = property(Get_group)

    def Get_name(self) -> str:
        """Return the communicator's name."""
        return "MPI_COMM_NULL" if self._o is None else self._o.name

    def Set_name(self, name: str) -> None:
        """Set the communicator's name, which reports show."""
        self._object().name = text(name)
        self._c.Set_name(text(name))

    name = property(Get_name, Set_name)

    def Is_inter(self) -> bool:
        """Return whether this is an intercommunicator."""
        return self._object().remote is not None

    def Is_intra(self) -> bool:
        """Return whether this is an intracommunicator."""
        return not self.Is_inter()

    def Get_topology(self) -> int:
        """Return how its ranks are laid out: CART, GRAPH, DIST_GRAPH, or UNDEFINED."""
        topology = self._object().topology
        return UNDEFINED if topology is None else topology.kind

    is_inter = property(Is_inter)
    is_intra = property(Is_intra)
    topology = property(Get_topology)
    is_topo = property(lambda self: self.Get_topology() != UNDEFINED)

    def _predefined(self, keyval: int) -> Any:
        known = {
            constants.TAG_UB: 536_870_911, constants.IO: self.Get_rank(), constants.WTIME_IS_GLOBAL: 1,
            constants.APPNUM: 0, constants.LASTUSEDCODE: process().last_code(),
        }  # fmt: skip
        if keyval == constants.UNIVERSE_SIZE:
            return process().world.c.size
        return known[keyval]

    # -- communicators of it -------------------------------------------------------------------------------------

    def Dup(self, info: Info | None = None) -> Self:
        """Return a communicator of the same ranks, with hints of its own, whose messages are kept apart."""
        made = self._like(self._object().duplicate("Dup"))
        self._copy_attributes(made)
        if info is not None and Info._checked(info):
            made.Set_info(info)
        return made

    def Clone(self) -> Self:
        """Return a communicator of the same ranks."""
        return self.Dup()

    def Dup_with_info(self, info: Info) -> Self:
        """Return a communicator of the same ranks with other hints."""
        return self.Dup(info)

    def Idup(self, info: Info | None = None) -> tuple[Self, Request]:
        """Return a communicator of the same ranks, and a request by which it may be used."""
        shared = self._object()
        made = self._like(shared.twin())
        self._copy_attributes(made)
        if info is not None and Info._checked(info):
            made.Set_info(info)
        return made, begin(shared, "Idup", self._plans.barrier(self._c))

    def Idup_with_info(self, info: Info) -> tuple[Self, Request]:
        """Return a communicator of the same ranks with other hints, and a request."""
        return self.Idup(info)

    def _like(self, shared: Shared) -> Self:
        """Return a handle of the same class."""
        made = type(self)._of(shared)
        made._o.errhandler = self._o.errhandler
        return made

    def Split(self, color: int = 0, key: int = 0) -> Comm:
        """Return the communicator of the ranks with the same color, ordered by key, then by rank."""
        made = self._object().split("Split", c_int(color), c_int(key))
        return handle_of(made, self)

    def Split_type(self, split_type: int, key: int = 0, info: Any = None) -> Comm:
        """Return the communicator of the ranks on the same node; a network of one rank a node has all on one."""
        c, split_type = self._c, whole(split_type)
        hint = info.get("mpi_hw_resource_type") if info is not None and Info._checked(info) else None
        guided = split_type != UNDEFINED and hint == "mpi_shared_memory"
        shares = split_type == constants.COMM_TYPE_SHARED or guided
        network = c._transport.network
        if not shares and split_type not in (UNDEFINED, *range(2, 5)):
            raise wrong(ERR_ARG, f"split_type={split_type!r}", "COMM_TYPE_SHARED", "split by the node")
        color = (c._state.node if network.ranks_per_node > 1 else 0) if shares else UNDEFINED
        return handle_of(self._object().split("Split_type", color, whole(key)), self)

    def Create(self, group: Group) -> Comm:
        """Return the communicator of a group, COMM_NULL outside of it; all call it, with disjoint groups."""
        shared, ranks = self._object(), Group._checked(group)._ranks
        outside = set(ranks) - set(shared.group().ranks)
        if outside:
            raise wrong(ERR_COMM, f"a group with world rank {min(outside)}", "ranks of the communicator",
                        "build the group from comm.Get_group()")  # fmt: skip
        me = shared.c._state.rank
        color, key = (min(ranks), ranks.index(me)) if me in ranks else (UNDEFINED, 0)
        return handle_of(shared.split("Create", color, key), self)

    def Free(self) -> None:
        """Let go of the communicator, and make the handle null."""
        if isinstance(self._object(), PerRank):
            raise wrong(ERR_COMM, f"Free of {self.name[4:]}", "a communicator that the program has made", "keep it")
        self._delete_attributes()
        self._o.c.Free()
        self._o = None

    def Disconnect(self) -> None:
        """Let go of the communicator, once its messages are through."""
        self.Free()

    def Abort(self, errorcode: int = 0) -> NoReturn:
        """End the run at once, on all ranks."""
        self._c.Abort(whole(errorcode))
        raise AssertionError("a rank goes on after Abort")

    # -- a send and a receive as one request ---------------------------------------------------------------------

    def Isendrecv(
        self, sendbuf: Any, dest: int, sendtag: int = 0, recvbuf: Any = None, source: int = ANY_SOURCE,
        recvtag: int = ANY_TAG,
    ) -> Request:  # fmt: skip
        """Start to send one buffer and to receive into another."""
        (dest, sendtag), (source, recvtag) = numbers(dest, sendtag), numbers(source, recvtag)
        sent, received = message(sendbuf, writable=False, rank=dest), message(recvbuf, writable=True, rank=source)
        c = self._c
        work = post_both(c, c._post(sent, dest, sendtag, 0), c._post_receive(received, source, recvtag))
        return Request._of(c, work)

    def Isendrecv_replace(
        self, buf: Any, dest: int, sendtag: int = 0, source: int = ANY_SOURCE, recvtag: int = ANY_TAG
    ) -> Request:
        """Start to send a buffer and to receive into the same one."""
        copy = message(buf, writable=True, rank=whole(dest))
        copy = copy.gathered() if hasattr(copy, "gathered") else copy.copy()
        return self.Isendrecv(copy, dest, sendtag, buf, source, recvtag)

    # -- buffers for buffered sends: attached and given back, and not needed ---------------------------------------

    def Attach_buffer(self, buf: Any) -> None:
        """Attach a buffer for buffered sends."""
        attached(self._object(), buf)

    def Detach_buffer(self) -> Any:
        """Return the buffer that was attached."""
        return detached(self._object())

    def Flush_buffer(self) -> None:
        """Do nothing: buffered sends have left."""
        self._object()

    def Iflush_buffer(self) -> Request:
        """Return a request that is complete: buffered sends have left."""
        return self.Irecv(None, constants.PROC_NULL)

    # -- what is left out ------------------------------------------------------------------------------------------

    def Psend_init(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: partitioned communication is not simulated."""
        left_out("partitioned communication")

    Precv_init = Psend_init

    def Revoke(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: MPI's fault tolerance is not simulated."""
        left_out("fault tolerance")

    Is_revoked = Get_failed = Ack_failed = Agree = Iagree = Shrink = Ishrink = Revoke

    @classmethod
    def Join(cls, fd: int) -> NoReturn:
        """Refuse: dynamic processes are not simulated."""
        left_out("a connection of processes")

    @classmethod
    def Get_parent(cls) -> Any:
        """Return COMM_NULL: nobody has spawned a simulated rank."""
        from mpi.intercommunicator import Intercomm

        return Intercomm()


def handle_of(shared: Shared | None, parent: Comm) -> Comm:
    """Return the handle of a new communicator, COMM_NULL if the rank is in none."""
    made: Comm = NEW[parent.Is_inter()]._of(shared)
    return made


# The classes of communicators that are made of others, by whether they are intercommunicators.
NEW: dict[bool, Any] = {}
COMM_NULL: Comm = constant("COMM_NULL", Comm())
