"""What stands behind a window, how it is made, and what can be asked of it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import collectives
from mpi import constants
from mpi.attributes import Attributes
from mpi.communicator import Comm
from mpi.conflicts import Conflicts
from mpi.constants import PROC_NULL, BottomType
from mpi.errhandlers import HandlesErrors
from mpi.errors import ERR_DISP, ERR_RANK, ERR_RMA_FLAVOR, ERR_RMA_SYNC, ERR_SIZE, ERR_WIN, wrong
from mpi.exported import buffer
from mpi.group import Group
from mpi.handles import Named, text
from mpi.info import HasHints, Info
from mpi.intracommunicator import COMM_SELF
from mpi.locks import Locks
from mpi.memory import EMPTY, Raw, memory_of
from mpi.simulated import c_int, whole
from mpi.universe import universe


class Segment:
    """What one rank gives to a window.

    memory, unit: Its memory, and the unit of displacements in it.
    locks:     Who has locked it.
    conflicts: The accesses of it; `exposures` counts the calls of Post, each of which begins an epoch.
    """

    def __init__(self, memory: Raw, unit: int) -> None:
        self.memory, self.unit = memory, unit
        self.locks, self.conflicts, self.exposures = Locks(), Conflicts(), 0


class Opened(Named):
    """What a window's handle stands for, on one rank.

    c:          The communicator of the ranks.
    segments:   What each of them gives to it.
    flavor:     How it was made.
    until_ps:   When all accesses of this rank so far are complete, by target.
    is_fenced:  Whether it may use the memory of all, since a Fence; `fences` counts them.
    exposed, accessed: The ranks that may use its memory, since Post, and those whose memory it may use, since Start.
    locked:     The ranks whose memory it may use, since Lock.
    """

    def __init__(self, c: Any, segments: list[Segment], flavor: int) -> None:
        super().__init__()
        self.c, self.segments, self.flavor = c, segments, flavor
        self.name = ""
        self.info: dict[str, str] = {}
        self.attributes: dict[int, Any] = {}
        self.errhandler: Any = None
        self.until_ps: dict[int, int] = {}
        self.is_fenced, self.fences = False, 0
        self.exposed: tuple[int, ...] | None = None
        self.accessed: tuple[int, ...] | None = None
        self.locked: set[int] = set()


class WindowBase(Attributes, HasHints, HandlesErrors):
    """How windows are made, and what can be asked of them."""

    __slots__ = ()
    error_class = ERR_WIN
    null = "WIN_NULL"
    _o: Any

    # -- making windows --------------------------------------------------------------------------------------------

    @classmethod
    def _opened(cls, comm: Any, memory: Raw, disp_unit: int, info: Any, flavor: int) -> Self:
        base = Comm._checked(comm)._object()
        c = base.c._divided("Win", 0, base.c.rank, {})
        unit = whole(disp_unit)
        if unit < 1:
            raise wrong(ERR_DISP, f"disp_unit={disp_unit!r}", "1 or more", "give the bytes of an element")
        name = "segments", c._context
        segments: list[Any] = universe(c).things.setdefault(name, [None] * c.size)
        segments[c.rank] = Segment(memory, unit)
        collectives.barrier(c._hidden())
        universe(c).things.pop(name, None)
        self = cls._of(Opened(c, segments, flavor))
        if info is not None:
            self._o.info = dict(Info._checked(info).items())
        return self

    @classmethod
    def Create(cls, memory: Any, disp_unit: int = 1, info: Any = None, comm: Any = COMM_SELF) -> Self:
        """Return a window of memory that each rank brings; None or BOTTOM is none."""
        is_none = memory is None or isinstance(memory, BottomType)
        raw = EMPTY if is_none else memory_of(memory, writable=True)[0]
        return cls._opened(comm, raw, disp_unit, info, constants.WIN_FLAVOR_CREATE)

    @classmethod
    def Allocate(cls, size: int, disp_unit: int = 1, info: Any = None, comm: Any = COMM_SELF) -> Self:
        """Return a window of new memory, of so many bytes on this rank."""
        return cls._opened(comm, _new(size), disp_unit, info, constants.WIN_FLAVOR_ALLOCATE)

    @classmethod
    def Allocate_shared(cls, size: int, disp_unit: int = 1, info: Any = None, comm: Any = COMM_SELF) -> Self:
        """Return a window of new memory that all ranks see as their own, one part after the other."""
        sizes = Comm._checked(comm).allgather(_bytes(size))
        whole_: Raw = universe(comm._c).fetch(("shared", comm._c._context), len(sizes), lambda: _new(sum(sizes)))
        begin = sum(sizes[: comm.rank])
        mine = whole_[begin : begin + sizes[comm.rank]]
        return cls._opened(comm, mine, disp_unit, info, constants.WIN_FLAVOR_SHARED)

    @classmethod
    def Create_dynamic(cls, info: Any = None, comm: Any = COMM_SELF) -> Self:
        """Return a window to which memory is attached later; displacements in it are addresses."""
        return cls._opened(comm, EMPTY, 1, info, constants.WIN_FLAVOR_DYNAMIC)

    def Shared_query(self, rank: int) -> tuple[buffer, int]:
        """Return the part of a rank, and its unit of displacements; PROC_NULL is the first that has some memory."""
        opened = self._object()
        if opened.flavor == constants.WIN_FLAVOR_DYNAMIC:
            raise wrong(ERR_WIN, "a window without memory of its own", "one of Allocate_shared", "make one")
        sizes = [segment.memory.size for segment in opened.segments]
        place = whole(rank) if rank != PROC_NULL else next((r for r, n in enumerate(sizes) if n), 0)
        segment = opened.segments[self._target(place)]
        return buffer._of(segment.memory, segment.memory), segment.unit

    def Attach(self, memory: Any) -> None:
        """Let other ranks use some memory, by its address."""
        if self._object().flavor != constants.WIN_FLAVOR_DYNAMIC:
            raise wrong(ERR_RMA_FLAVOR, "a window that has its memory", "one of Create_dynamic", "make one")
        memory_of(memory, writable=True)

    def Detach(self, memory: Any) -> None:
        """Let other ranks use some memory no more."""
        self._object()

    def Free(self) -> None:
        """Let go of the window, once all ranks have come here; the handle becomes null."""
        opened = self._object()
        self._check_unlocked()
        self._delete_attributes()
        self._complete(opened.until_ps)
        collectives.barrier(opened.c._hidden())
        self._o = None

    def _check_unlocked(self) -> None:
        held = self._o.locked
        if held:
            raise wrong(ERR_RMA_SYNC, f"locks of ranks {sorted(held)}", "none", "Unlock them first")

    # -- what it is --------------------------------------------------------------------------------------------------

    def Get_group(self) -> Group:
        """Return the group of its ranks."""
        return Group._with(box.owner.rank for box in self._object().c._members())

    group = property(Get_group)
    group_size = property(lambda self: self._object().c.size)
    group_rank = property(lambda self: self._object().c.rank)

    def Get_name(self) -> str:
        """Return its name."""
        return "MPI_WIN_NULL" if self._o is None else self._o.name

    def Set_name(self, name: str) -> None:
        """Set its name."""
        self._object().name = text(name)

    name = property(Get_name, Set_name)

    def _predefined(self, keyval: int) -> Any:
        opened = self._object()
        segment = opened.segments[opened.c.rank]
        return {
            constants.WIN_BASE: segment.memory.ctypes.data if segment.memory.size else 0,
            constants.WIN_SIZE: segment.memory.size, constants.WIN_DISP_UNIT: segment.unit,
            constants.WIN_CREATE_FLAVOR: opened.flavor, constants.WIN_MODEL: constants.WIN_UNIFIED,
        }[keyval]  # fmt: skip

    attrs = property(lambda self: tuple(self._predefined(constants.WIN_BASE + 2 * place) for place in range(3)))
    flavor = property(lambda self: self._object().flavor)
    model = property(lambda self: self._predefined(constants.WIN_MODEL))

    def tomemory(self) -> buffer:
        """Return the rank's own memory of the window."""
        opened = self._object()
        memory = opened.segments[opened.c.rank].memory
        return buffer._of(memory, None if opened.flavor == constants.WIN_FLAVOR_DYNAMIC else memory)

    def __buffer__(self, flags: int) -> memoryview:
        memory = EMPTY if self._o is None else self._o.segments[self._o.c.rank].memory
        return memoryview(memory)  # type: ignore[arg-type]  # arrays export buffers

    def _target(self, rank: Any) -> int:
        place, size = c_int(rank), self._object().c.size
        if not 0 <= place < size:
            raise wrong(ERR_RANK, f"target rank {rank}", f"0 to {size - 1} or PROC_NULL", "choose a rank of the window")
        return int(place)

    def _complete(self, ranks: Any) -> None:
        """Wait until the accesses of some ranks' memory are complete."""
        opened = self._object()
        state = opened.c._state
        state.now = max([state.now, *(opened.until_ps.pop(rank, 0) for rank in list(ranks))])


def _bytes(size: Any) -> int:
    n_bytes: int = whole(size)
    if n_bytes < 0:
        raise wrong(ERR_SIZE, f"size={size!r}", "0 or more", "correct the size")
    return n_bytes


def _new(size: Any) -> Raw:
    memory: Raw = np.zeros(_bytes(size), np.uint8)
    return memory
