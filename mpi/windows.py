"""Win: memory that other ranks read and write without the owner's help, between the calls that begin and end that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

import collectives
from mpi import constants
from mpi.accesses import Accesses
from mpi.constants import PROC_NULL
from mpi.errors import ERR_ARG, ERR_RMA_SYNC, wrong
from mpi.exporting import exports_buffer
from mpi.group import Group
from mpi.handles import constant
from mpi.locks import Locks
from mpi.memory import EMPTY
from mpi.simulated import whole

_POST, _COMPLETE = 31, 32


@exports_buffer
class Win(Accesses):
    """Memory that other ranks read and write."""

    __slots__ = ()

    def Fence(self, assertion: int = 0) -> None:
        """Complete all accesses, and wait until all ranks have done so."""
        self._object()
        self._check_unlocked()
        self._complete(self._o.until_ps)
        self._o.fences += 1
        self._o.is_fenced = not assertion & constants.MODE_NOSUCCEED
        collectives.barrier(self._o.c._hidden())

    def Post(self, group: Group, assertion: int = 0) -> None:
        """Let a group use the rank's memory until Wait."""
        places = self._places(group)
        if self._o.exposed is not None:
            raise wrong(ERR_RMA_SYNC, "a second Post", "one at a time", "call Wait first")
        self._o.exposed = places
        self._o.segments[self._o.c.rank].exposures += 1
        self._tell(self._o.exposed, _POST)

    def Start(self, group: Group, assertion: int = 0) -> None:
        """Use the memory of a group until Complete."""
        places = self._places(group)
        self._check_unlocked()
        if self._o.accessed is not None:
            raise wrong(ERR_RMA_SYNC, "a second Start", "one at a time", "call Complete first")
        self._o.accessed = places
        self._hear(self._o.accessed, _POST)

    def Complete(self) -> None:
        """Complete what began with Start."""
        if self._object().accessed is None:
            raise wrong(ERR_RMA_SYNC, "Complete without Start", "the end of an epoch", "call Start first")
        self._complete(self._o.until_ps)
        self._tell(self._o.accessed, _COMPLETE)
        self._o.accessed = None

    def Wait(self) -> Literal[True]:
        """Wait until all of the group of Post are complete."""
        self._hear(self._exposed(), _COMPLETE)
        self._o.exposed = None
        return True

    def Test(self) -> bool:
        """Return whether all of the group of Post are complete."""
        c, waiting = self._object().c._hidden(), []
        for rank in self._exposed():
            if not c.Iprobe(rank, _COMPLETE):
                waiting.append(rank)
        return not waiting and self.Wait()

    def _exposed(self) -> tuple[int, ...]:
        found: tuple[int, ...] | None = self._object().exposed
        if found is None:
            raise wrong(ERR_RMA_SYNC, "Wait or Test without Post", "the end of an epoch", "call Post first")
        return found

    def _places(self, group: Group) -> tuple[int, ...]:
        opened = self._object()
        return tuple(
            Group._checked(group).Translate_ranks(None, Group._with(b.owner.rank for b in opened.c._members()))
        )

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
        if lock_type not in (constants.LOCK_EXCLUSIVE, constants.LOCK_SHARED):
            raise wrong(ERR_ARG, f"lock_type={lock_type!r}", "LOCK_EXCLUSIVE or LOCK_SHARED", "name one of them")
        if rank != PROC_NULL:
            self._acquires(rank, is_alone=lock_type == constants.LOCK_EXCLUSIVE)
            self._o.locked.add(rank)

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
            self._flush([place])
            opened.segments[place].locks.release(opened.c)
            opened.locked.discard(rank)

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
        if whole(rank) != PROC_NULL:
            target = self._target(rank)
            self._check_locked()
            self._flush([target])

    def Flush_all(self) -> None:
        """Wait until all accesses are complete."""
        self._check_locked()
        self._flush(list(self._o.until_ps))

    def _flush(self, ranks: Sequence[int]) -> None:
        """Wait until the accesses of some ranks' memory are complete; this ends their epochs."""
        self._complete(ranks)
        state = self._o.c._state
        for rank in ranks:
            self._o.segments[rank].conflicts.complete(state.rank, state.now)

    Flush_local, Flush_local_all = Flush, Flush_all

    def Sync(self) -> None:
        """Do nothing: a rank sees what others have written."""
        self._check_locked()

    def _check_locked(self) -> None:
        if not self._object().locked:
            raise wrong(ERR_RMA_SYNC, "no lock of the window", "a call after Lock", "call Lock or Lock_all before")


WIN_NULL = constant("WIN_NULL", Win())
