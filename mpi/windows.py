"""Win: memory that other ranks read and write without the owner's help.

All ranks live in one process, so an access is a copy; its virtual time is that of a message there, and back if it
brings something. Accesses of all ranks happen in the order of virtual time, so that atomic ones are.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, Self

import numpy as np

import collectives
from mpi import constants
from mpi.attributes import Attributes
from mpi.buffers import Blocks, is_number, simple
from mpi.constants import PROC_NULL, BottomType
from mpi.datatypes import as_datatype
from mpi.errhandlers import HandlesErrors
from mpi.errors import ERR_ARG, ERR_RANK, ERR_WIN, WrongValueError, wrong
from mpi.exported import buffer
from mpi.group import Group
from mpi.handles import Named, constant
from mpi.info import Hints, Info
from mpi.intracommunicator import COMM_SELF
from mpi.locks import Locks
from mpi.memory import EMPTY, Raw, at_address, memory_of
from mpi.ops import NO_OP, REPLACE, SUM, Op
from mpi.requests import Request
from mpi.simulated import whole
from mpi.universe import universe
from ranks.messages.operation import Work

_POST, _COMPLETE = 31, 32


class Segment:
    """What one rank gives to a window: its memory, the unit of displacements in it, and who has locked it."""

    def __init__(self, memory: Raw, unit: int) -> None:
        self.memory, self.unit = memory, unit
        self.locks = Locks()


class Opened(Named):
    """What a window's handle stands for, on one rank.

    c:          The communicator of the ranks.
    segments:   What each of them gives to it.
    flavor:     How it was made.
    until_ps:   When all accesses of this rank so far are complete, by target.
    """

    def __init__(self, c: Any, segments: list[Segment], flavor: int) -> None:
        super().__init__()
        self.c, self.segments, self.flavor = c, segments, flavor
        self.name = ""
        self.info: dict[str, str] = {}
        self.attributes: dict[int, Any] = {}
        self.errhandler: Any = None
        self.until_ps: dict[int, int] = {}
        self.exposed: tuple[int, ...] = ()
        self.accessed: tuple[int, ...] = ()


class Win(Attributes, HandlesErrors):
    """Memory that other ranks read and write."""

    __slots__ = ()
    error_class = ERR_WIN
    null = "WIN_NULL"
    _o: Any

    # -- making windows --------------------------------------------------------------------------------------------

    @classmethod
    def _opened(cls, comm: Any, memory: Raw, disp_unit: int, info: Any, flavor: int) -> Self:
        base = comm._object()
        c = base.c._divided("Win", 0, base.c.rank, {})
        unit = whole(disp_unit)
        if unit < 1:
            raise wrong(ERR_ARG, f"disp_unit={disp_unit!r}", "1 or more", "give the bytes of an element")
        name = "segments", c._context
        segments: list[Any] = universe(c).things.setdefault(name, [None] * c.size)
        segments[c.rank] = Segment(memory, unit)
        collectives.barrier(c._hidden())
        universe(c).things.pop(name, None)
        self = cls._of(Opened(c, segments, flavor))
        if info:
            self._o.info = dict(info.items())
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
        sizes = comm.allgather(whole(size))
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
        self._object()
        memory_of(memory, writable=True)

    def Detach(self, memory: Any) -> None:
        """Let other ranks use some memory no more."""
        self._object()

    def Free(self) -> None:
        """Let go of the window, once all ranks have come here; the handle becomes null."""
        opened = self._object()
        self._delete_attributes()
        self.Flush_all()
        collectives.barrier(opened.c._hidden())
        self._o = None

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
        self._object().name = name

    name = property(Get_name, Set_name)

    def Get_info(self) -> Info:
        """Return a copy of its hints."""
        return Info._of(Hints(dict(self._object().info)))

    def Set_info(self, info: Info) -> None:
        """Set its hints."""
        self._object().info = dict(info.items())

    info = property(Get_info, Set_info)

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
        return buffer._of(memory, memory)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(np.asarray(self.tomemory()))  # type: ignore[arg-type]

    # -- accesses ----------------------------------------------------------------------------------------------------

    def _target(self, rank: Any) -> int:
        place, size = whole(rank), self._object().c.size
        if not 0 <= place < size:
            raise wrong(ERR_RANK, f"target rank {rank}", f"0 to {size - 1} or PROC_NULL", "choose a rank of the window")
        return int(place)

    def _blocks(self, origin: Blocks, rank: int, target: Any) -> Blocks:
        """Return the part of a rank's memory that an access names; by default it is like what the origin gives."""
        segment = self._object().segments[rank]
        disp, count, datatype = 0, origin.counts[0], origin.datatype
        if target is not None and not isinstance(target, (list, tuple)):
            if not is_number(target):
                raise wrong(
                    WrongValueError, f"target {target!r:.60}", "a displacement, or a list of one", "pass an int"
                )
            disp = index(target)
        elif target is not None:
            if len(target) > 3:
                raise wrong(
                    WrongValueError, f"a target of {len(target)} items", "at most 3", "give [disp, count, datatype]"
                )
            disp = index(target[0]) if target else 0
            count = index(target[1]) if len(target) > 1 and target[1] is not None else count
            datatype = as_datatype(target[2]) if len(target) > 2 and target[2] is not None else datatype
        begin = disp * segment.unit
        if self._o.flavor == constants.WIN_FLAVOR_DYNAMIC:
            layout = datatype._layout()
            memory = at_address(begin, (count - 1) * layout.extent + layout.true_bounds()[1] if count else 0)
        else:
            memory = segment.memory[begin:]
        blocks = Blocks(memory, datatype, [count], [0])
        if begin < 0 or (count and begin > segment.memory.size and self._o.flavor != constants.WIN_FLAVOR_DYNAMIC):
            raise blocks._too_small(0, begin, begin)
        return blocks

    def _access(self, rank: int, n_bytes: int, *, comes_back: bool) -> int:
        """Let all that happens before this access happen, and return when it is complete."""
        opened = self._object()
        c = opened.c
        c._check_usable()
        state, network = c._state, c._transport.network
        state.scheduler.catch_up(state)
        state.now += c._overhead_ps
        link = network.link(state.rank, c._context.boxes[rank].owner.rank)
        done_ps: int = state.now + link.latency_ps * (2 if comes_back else 1) + link.transfer_ps(n_bytes)
        opened.until_ps[rank] = max(opened.until_ps.get(rank, 0), done_ps)
        return done_ps

    def Put(self, origin: Any, target_rank: int, target: Any = None) -> None:
        """Write a buffer to a rank's memory."""
        self._put(origin, target_rank, target)

    def _put(self, origin: Any, target_rank: int, target: Any) -> int | None:
        if target_rank == PROC_NULL:
            return None
        sent, rank = simple(origin, writable=False), self._target(target_rank)
        into = self._blocks(sent, rank, target)
        done_ps = self._access(rank, sum(sent.sizes()), comes_back=False)
        into.place(sent.packed())
        return done_ps

    def Get(self, origin: Any, target_rank: int, target: Any = None) -> None:
        """Read from a rank's memory into a buffer."""
        self._get(origin, target_rank, target)

    def _get(self, origin: Any, target_rank: int, target: Any) -> int | None:
        if target_rank == PROC_NULL:
            return None
        received, rank = simple(origin, writable=True), self._target(target_rank)
        out_of = self._blocks(received, rank, target)
        done_ps = self._access(rank, sum(received.sizes()), comes_back=True)
        received.place(out_of.packed())
        return done_ps

    def Accumulate(self, origin: Any, target_rank: int, target: Any = None, op: Op = SUM) -> None:
        """Reduce a buffer into a rank's memory."""
        self._accumulate(origin, None, target_rank, target, op)

    def Get_accumulate(self, origin: Any, result: Any, target_rank: int, target: Any = None, op: Op = SUM) -> None:
        """Reduce a buffer into a rank's memory, and return what that was before."""
        self._accumulate(origin, result, target_rank, target, op)

    def _accumulate(self, origin: Any, result: Any, target_rank: int, target: Any, op: Op) -> int | None:
        if target_rank == PROC_NULL:
            return None
        rank = self._target(target_rank)
        before = None if result is None else simple(result, writable=True)
        sent = before if op == NO_OP and before is not None else simple(origin, writable=False)
        into = self._blocks(sent, rank, target)
        done_ps = self._access(rank, sum(into.sizes()), comes_back=result is not None)
        old = into.packed().copy()
        if before is not None:
            before.place(old)
        if op == REPLACE:
            into.place(sent.packed())
        elif op != NO_OP and old.size:
            function, x = op._on(sent)
            into.place(np.asarray(function(x, old.view(x.dtype))))
        return done_ps

    def Fetch_and_op(self, origin: Any, result: Any, target_rank: int, target_disp: int = 0, op: Op = SUM) -> None:
        """Reduce one element into a rank's memory, and return what that was before."""
        self._accumulate(origin, result, target_rank, (target_disp, 1), op)

    def Compare_and_swap(self, origin: Any, compare: Any, result: Any, target_rank: int, target_disp: int = 0) -> None:
        """Write one element to a rank's memory if that equals another, and return what it was before."""
        if target_rank == PROC_NULL:
            return
        sent, wanted, before = (
            simple(each, writable=place == 2) for place, each in enumerate((origin, compare, result))
        )
        rank = self._target(target_rank)
        into = self._blocks(sent, rank, (target_disp, 1))
        self._access(rank, sum(into.sizes()), comes_back=True)
        old = into.packed().copy()
        before.place(old)
        if (old == wanted.packed()).all():
            into.place(sent.packed())

    def Rput(self, origin: Any, target_rank: int, target: Any = None) -> Request:
        """Write a buffer to a rank's memory; the request tells when."""
        return self._request("Rput", self._put(origin, target_rank, target))

    def Rget(self, origin: Any, target_rank: int, target: Any = None) -> Request:
        """Read from a rank's memory into a buffer; the request tells when."""
        return self._request("Rget", self._get(origin, target_rank, target))

    def Raccumulate(self, origin: Any, target_rank: int, target: Any = None, op: Op = SUM) -> Request:
        """Reduce a buffer into a rank's memory; the request tells when."""
        return self._request("Raccumulate", self._accumulate(origin, None, target_rank, target, op))

    def Rget_accumulate(self, origin: Any, result: Any, target_rank: int, target: Any = None, op: Op = SUM) -> Request:
        """Reduce a buffer into a rank's memory, and return what that was before; the request tells when."""
        return self._request("Rget_accumulate", self._accumulate(origin, result, target_rank, target, op))

    def _request(self, call: str, done_ps: int | None) -> Request:
        c = self._object().c
        work = Work(call, c._state, c._box, None)
        work.ready_ps = c._state.now if done_ps is None else done_ps
        return Request._of(c, c._open(work))

    # -- epochs ------------------------------------------------------------------------------------------------------

    def _complete(self, ranks: Any) -> None:
        """Wait until the accesses of some ranks' memory are complete."""
        opened = self._object()
        state = opened.c._state
        state.now = max([state.now, *(opened.until_ps.pop(rank, 0) for rank in list(ranks))])

    def Fence(self, assertion: int = 0) -> None:
        """Complete all accesses, and wait until all ranks have done so."""
        self._complete(self._object().until_ps)
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
            opened, place = self._object(), self._target(rank)
            self._access(place, 0, comes_back=True)
            self._complete([place])
            opened.segments[place].locks.acquire(opened.c, lock_type == constants.LOCK_EXCLUSIVE)

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


def _new(size: Any) -> Raw:
    n_bytes = whole(size)
    if n_bytes < 0:
        raise wrong(ERR_ARG, f"size={size!r}", "0 or more", "correct the size")
    memory: Raw = np.zeros(n_bytes, np.uint8)
    return memory


WIN_NULL = constant("WIN_NULL", Win())
