"""Accesses to the memory of a window.

All ranks live in one process, so an access is a copy; its virtual time is that of a message there, and back if it
brings something. Accesses of all ranks happen in the order of virtual time, so atomic accesses are atomic.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from operator import index
from typing import Any

import numpy as np

from mpi import constants
from mpi.buffers import Blocks, is_number, simple
from mpi.conflicts import ATOMIC, GET, PUT, Access, Conflicts
from mpi.constants import PROC_NULL
from mpi.datatypes import as_datatype
from mpi.errors import ERR_COUNT, ERR_DISP, ERR_OP, ERR_RMA_CONFLICT, ERR_RMA_SYNC, ERR_TYPE, WrongValueError, wrong
from mpi.memory import at_address
from mpi.ops import NO_OP, REPLACE, SUM, Op, check_alike
from mpi.requests import Request
from mpi.universe import universe
from mpi.window_base import WindowBase
from ranks.messages.operation import Work
from ranks.words.callsite import current_where, site_of
from ranks.words.errors import ProgramWarning


class Accesses(WindowBase):
    """The calls that read and write the memory of another rank."""

    __slots__ = ()

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
        if disp < 0:
            raise wrong(ERR_DISP, f"displacement {disp}", "0 or more", "correct the displacement")
        if count < 0:
            raise wrong(ERR_COUNT, f"count {count}", "0 or more", "correct the count")
        self._epoch(rank)
        begin = disp * segment.unit
        if self._o.flavor == constants.WIN_FLAVOR_DYNAMIC:
            layout = datatype._layout()
            memory = at_address(begin, (count - 1) * layout.extent + layout.true_bounds()[1] if count else 0)
        else:
            memory = segment.memory[begin:]
        blocks = Blocks(memory, datatype, [count], [0])
        if count and begin > segment.memory.size and self._o.flavor != constants.WIN_FLAVOR_DYNAMIC:
            raise blocks._too_small(0, begin, begin)
        return blocks

    def _epoch(self, rank: int) -> Hashable:
        """Return what tells the epoch, in which the rank may use another's memory now, from others; or raise."""
        opened, segment = self._o, self._o.segments[rank]
        if segment.locks.is_held(opened.c):
            return "Lock"
        if rank in (opened.accessed or ()):
            return "Post", segment.exposures
        if opened.is_fenced:
            return "Fence", opened.fences
        raise wrong(
            ERR_RMA_SYNC, f"an access of the memory of rank {rank}", "an epoch in which it is allowed",
            "call Fence, Start, Lock or Lock_all before",
        )  # fmt: skip

    def _note(self, kind: str, rank: int, blocks: Blocks, until_ps: int | None = None) -> None:
        """Report an access that conflicts with an earlier one of its epoch: once for two places of the program."""
        piece, opened = blocks.piece(), self._o
        if not piece.nbytes:
            return
        c, segment = opened.c, opened.segments[rank]
        conflicts: Conflicts = segment.conflicts
        access = Access(kind, c._state.rank, piece, until_ps)
        other = conflicts.add(access, self._epoch(rank), c._state.now)
        if other is None:
            return
        told, places = universe(c).told, (site_of(other.mark), current_where())
        if places in told:
            return
        told.add(places)
        is_dynamic = opened.flavor == constants.WIN_FLAVOR_DYNAMIC
        base = 0 if is_dynamic else segment.memory.__array_interface__["data"][0]
        begin, end = (n - base for n in (max(access.begin, other.begin), min(access.end, other.end)))
        problem = wrong(
            ERR_RMA_CONFLICT,
            f"bytes {begin} to {end} of the memory of rank {c._context.boxes[rank].owner.rank}, which {other.kind} of "
            f"rank {other.origin} at {places[0]} touches in the same epoch",
            "accesses that share no byte, or only read, or are all atomic",
            "begin another epoch in between, or use Accumulate",
        )  # fmt: skip
        if c._is_checked():
            raise problem
        warnings.warn(f"{problem}", ProgramWarning, stacklevel=2)

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
        self._note(PUT, rank, into)
        into.place(sent.packed())
        return done_ps

    def Get(self, origin: Any, target_rank: int, target: Any = None) -> None:
        """Read from a rank's memory into a buffer."""
        self._get(origin, target_rank, target)

    def _get(self, origin: Any, target_rank: int, target: Any, *, waits: bool = False) -> int | None:
        if target_rank == PROC_NULL:
            return None
        received, rank = simple(origin, writable=True), self._target(target_rank)
        out_of = self._blocks(received, rank, target)
        done_ps = self._access(rank, sum(received.sizes()), comes_back=True)
        self._note(GET, rank, out_of, done_ps if waits else None)
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
        if not Op._checked(op).is_predefined:
            raise wrong(ERR_OP, "an Op of the program", "one of MPI", "Lock the memory, Get, compute, Put")
        rank = self._target(target_rank)
        before = None if result is None else simple(result, writable=True)
        sent = before if op == NO_OP and before is not None else simple(origin, writable=False)
        into = self._blocks(sent, rank, target)
        done_ps = self._access(rank, sum(into.sizes()), comes_back=result is not None)
        self._note(ATOMIC, rank, into)
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
        if target_rank != PROC_NULL:
            _single([simple(origin, writable=False), simple(result, writable=True)])
        self._accumulate(origin, result, target_rank, (target_disp, 1), op)

    def Compare_and_swap(self, origin: Any, compare: Any, result: Any, target_rank: int, target_disp: int = 0) -> None:
        """Write one element to a rank's memory if that equals another, and return what it was before."""
        if target_rank == PROC_NULL:
            return
        sent, wanted, before = (
            simple(each, writable=place == 2) for place, each in enumerate((origin, compare, result))
        )
        _single([sent, wanted, before])
        if sent.layout.dtype.kind not in "iub":
            raise wrong(
                ERR_TYPE, f"elements of {sent.datatype.name}", "integers or bytes", "compare the bits as an int"
            )
        rank = self._target(target_rank)
        into = self._blocks(sent, rank, (target_disp, 1))
        self._access(rank, sum(into.sizes()), comes_back=True)
        self._note(ATOMIC, rank, into)
        old = into.packed().copy()
        before.place(old)
        if (old == wanted.packed()).all():
            into.place(sent.packed())

    def Rput(self, origin: Any, target_rank: int, target: Any = None) -> Request:
        """Write a buffer to a rank's memory; the request tells when."""
        return self._request("Rput", self._put(origin, target_rank, target))

    def Rget(self, origin: Any, target_rank: int, target: Any = None) -> Request:
        """Read from a rank's memory into a buffer; the request tells when."""
        return self._request("Rget", self._get(origin, target_rank, target, waits=True))

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


def _single(buffers: list[Blocks]) -> None:
    """Raise ValueError unless each buffer is one element, and all are of one datatype."""
    for blocks in buffers:
        if blocks.counts[0] != 1:
            raise wrong(WrongValueError, f"{blocks.counts[0]} elements", "one", "give the count 1, or use Accumulate")
        check_alike(buffers[0], blocks)
