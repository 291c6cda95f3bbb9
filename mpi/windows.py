"""Win: memory that other ranks read and write without the owner's help, between the calls that begin and end that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

import collectives
from mpi import constants
from mpi.accesses import Accesses
from mpi.constants import PROC_NULL
from mpi.exporting import exports_buffer
from mpi.group import Group
from mpi.handles import constant
from mpi.locks import Locks
from mpi.memory import EMPTY

_POST, _COMPLETE = 31, 32


@exports_buffer
class Win(Accesses):
    """Memory that other ranks read and write."""

    __slots__ = ()

    def Fence(self, assertion: int = 0) -> None:
        """Complete all accesses, and wait until all ranks have done so."""
        self._complete(self._object().until_ps)
        self._o.is_fenced = not assertion & constants.MODE_NOSUCCEED
        collectives.barrier(self._o.c._hidden())

    def Post(self, group: Group, assertion: int = 0) -> None:
        """Let a group use the rank's memory until Wait."""
        self._o.exposed = self._places(group)
        self._tell(self._o.exposed, _POST)

    def Start(self, group: Group, assertion: int = 0) -> None:
        """Use the memory of a group until Complete."""
        self._o.accessed = self._places(group)
        self._hear(self._o.accessed, _POST)

    def Complete(self) -> None:
        """Complete what began with Start."""
        self._complete(self._object().until_ps)
        self._tell(self._o.accessed, _COMPLETE)
        self._o.accessed = ()

    def Wait(self) -> Literal[True]:
        """Wait until all of the group of Post are complete."""
        self._hear(self._object().exposed, _COMPLETE)
        self._o.exposed = ()
        return True

    def Test(self) -> bool:
        """Return whether all of the group of Post are complete."""
        c, waiting = self._object().c._hidden(), []
        for rank in self._o.exposed:
            if not c.Iprobe(rank, _COMPLETE):
                waiting.append(rank)
        return not waiting and self.Wait()

    def _places(self, group: Group) -> tuple[int, ...]:
        opened = self._object()
        return tuple(group.Translate_ranks(None, Group._with(b.owner.rank for b in opened.c._members())))

    def _tell(self, ranks: Sequence[int], tag: int) -> None:
        c = self._object().c._hidden()
        for rank in ranks:
            c.Bsend(EMPTY, rank, tag)

    def _hear(self, ranks: Sequence[int], tag: int) -> None:
        c = self._object().c._hidden()
        for rank in ranks:
            c.Recv(np.empty(0, np.uint8), rank, tag)

    def Lock(self, rank: int, lock_type: int = constants.LOCK_EXCLUSIVE, assertion: int = 0) -> None:
        """Wait for the right to use a rank's memory, alone or with others, until Unlock."""
        if rank != PROC_NULL:
            self._acquires(rank, is_alone=lock_type == constants.LOCK_EXCLUSIVE)

    def _acquires(self, rank: int, *, is_alone: bool = True, blocking: bool = True) -> bool:
        """Return whether the rank has got a lock, for which it has waited if need be, unless `blocking` is false."""
        opened, place = self._object(), self._target(rank)
        self._access(place, 0, comes_back=True)
        self._complete([place])
        locks: Locks = opened.segments[place].locks
        return locks.acquires(opened.c, is_alone, blocking=blocking)

    def Unlock(self, rank: int) -> None:
        """Complete the accesses of a rank's memory, and let others use it."""
        if rank != PROC_NULL:
            opened, place = self._object(), self._target(rank)
            self._complete([place])
            opened.segments[place].locks.release(opened.c)

    def Lock_all(self, assertion: int = 0) -> None:
        """Wait for the right to use the memory of all, with others."""
        for rank in range(self._object().c.size):
            self.Lock(rank, constants.LOCK_SHARED)

    def Unlock_all(self) -> None:
        """Complete all accesses, and let others use the memory."""
        for rank in range(self._object().c.size):
            self.Unlock(rank)

    def Flush(self, rank: int) -> None:
        """Wait until the accesses of a rank's memory are complete."""
        if rank != PROC_NULL:
            self._complete([self._target(rank)])

    def Flush_all(self) -> None:
        """Wait until all accesses are complete."""
        self._complete(self._object().until_ps)

    Flush_local, Flush_local_all = Flush, Flush_all

    def Sync(self) -> None:
        """Do nothing: a rank sees what others have written."""
        self._object()


WIN_NULL = constant("WIN_NULL", Win())
