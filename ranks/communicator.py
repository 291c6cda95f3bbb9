"""Comm: the point-to-point calls of `comm.py`, and making communicators out of communicators."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from greenlet import getcurrent

from ranks.agreement import announce as note
from ranks.agreement import meet
from ranks.calls import current_call
from ranks.comm import PointToPoint
from ranks.constants import COMM_TYPE_SHARED, CONGRUENT, IDENT, SIMILAR, UNDEFINED, UNEQUAL
from ranks.errors import AbortError, InvalidHandleError, InvalidRankError
from ranks.group import Group
from ranks.matching import Context
from ranks.world import RankGreenlet


class Comm(PointToPoint):
    """A communicator as one of its ranks sees it; a program gets the one of the whole world."""

    __slots__ = ()
    _mpi = sys.modules["ranks"]  # see mpi_of

    def __bool__(self) -> bool:
        return not self._freed

    def Get_rank(self) -> int:
        """Return the calling rank's number in the communicator."""
        return self.rank

    def Get_size(self) -> int:
        """Return the number of ranks in the communicator."""
        return self.size

    def Get_name(self) -> str:
        """Return the communicator's name."""
        return self._name

    def Set_name(self, name: str) -> None:
        """Set the communicator's name, which reports show."""
        self._name = name

    name = property(Get_name, Set_name)

    def Get_group(self) -> Group:
        """Return the communicator's group."""
        return Group((box.owner.rank for box in self._boxes), self._state.rank)

    group = property(Get_group)

    def Compare(self, comm: Comm) -> int:
        """Return IDENT (the same), CONGRUENT (same ranks, same order), SIMILAR (same ranks) or UNEQUAL."""
        if self._context is comm._context:
            return IDENT
        result = self.Get_group().Compare(comm.Get_group())
        return {IDENT: CONGRUENT, SIMILAR: SIMILAR}.get(result, UNEQUAL)

    def Split(self, color: int = 0, key: int = 0) -> Comm:
        """Return the communicator of the ranks with the same `color`, ordered by `key`, then by rank.

        COMM_NULL for color UNDEFINED. All ranks of the communicator must call it.
        """
        if color != UNDEFINED and color < 0:
            raise self._error(InvalidRankError, f"color={color}", "0 or more, or UNDEFINED", "number the colors from 0")
        return self._divided("Split", color, key, {})

    def Split_type(self, split_type: int, key: int = 0, info: Any = None) -> Comm:
        """Return the communicator of the ranks on the same node (COMM_TYPE_SHARED)."""
        color = UNDEFINED if split_type == UNDEFINED else self._state.node
        if split_type not in (COMM_TYPE_SHARED, UNDEFINED):
            raise self._error(
                InvalidRankError,
                f"split_type={split_type}",
                "COMM_TYPE_SHARED or UNDEFINED",
                "give one of these",
            )
        return self._divided("Split_type", color, key, {})

    def Dup(self, info: Any = None) -> Comm:
        """Return a communicator of the same ranks whose messages are kept apart from this one's."""
        return self._divided("Dup", 0, self.rank, {})

    def Create(self, group: Group) -> Comm:
        """Return the communicator of `group`, COMM_NULL outside of it; all ranks here must call it alike."""
        outside = [member for member in group.members if member not in self.Get_group().members]
        if outside:
            raise self._error(
                InvalidRankError, f"a group with world rank {outside[0]}", "ranks of this communicator",
                "build the group from comm.Get_group()",
            )  # fmt: skip
        color = UNDEFINED if group.rank == UNDEFINED else 0
        return self._divided("Create", color, max(group.rank, 0), {"group": group.members})

    def Free(self) -> None:
        """Let go of the communicator; using it afterwards is an error."""
        self._check_usable()
        self._freed = True
        self._lanes, self._came = {}, {}

    def Abort(self, errorcode: int = 0) -> NoReturn:
        """End the run at once, on all ranks, with an AbortError."""
        call = current_call()
        problem = AbortError(
            self._state.rank, call.text, site=call.site, got=f"Abort with errorcode {errorcode}",
            expected="all ranks to return", remedy="see why this rank gave up",
        )  # fmt: skip
        problem.errorcode = errorcode
        self._world.fail(self._state, problem)

    def _announce(self, name: str, arguments: dict[str, Any]) -> None:
        self._check_usable()
        note(self, name, arguments)

    def _divided(self, call: str, color: int, key: int, arguments: dict[str, Any]) -> Comm:
        """Return this rank's communicator among those with the same color, in order of (key, rank)."""
        self._check_usable()
        brought = meet(self, call, (color, key), arguments)
        made = brought.get(-1)
        if made is None:
            made = brought[-1] = self._contexts_by_color(brought)
        if color == UNDEFINED:
            return COMM_NULL
        context, places = made[color]
        return Comm(self._state, context, places[self.rank])

    def _contexts_by_color(self, brought: dict[int, Any]) -> dict[int, tuple[Context, dict[int, int]]]:
        """Return for each color its new context, and the new rank of each old one."""
        by_color: dict[int, list[tuple[int, int]]] = {}
        for rank, (color, key) in sorted(brought.items()):
            if color != UNDEFINED:
                by_color.setdefault(color, []).append((key, rank))
        made = {}
        for color in sorted(by_color):
            members = [rank for _, rank in sorted(by_color[color])]
            context = self._world.new_context([self._boxes[rank].owner for rank in members])
            made[color] = context, {rank: place for place, rank in enumerate(members)}
        return made


class _NullComm(Comm):
    """The communicator of no ranks, which Split and Create give to those left out."""

    __slots__ = ()

    def __init__(self) -> None:
        self._context, self._name = Context(-1, []), "COMM_NULL"

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        # All that the calls of a communicator need first is missing here.
        call, current = current_call(), getcurrent()
        raise InvalidHandleError(
            current.state.rank if isinstance(current, RankGreenlet) else None,
            name if call.text.startswith("__getattr__") else call.text,
            site=call.site, got="COMM_NULL", expected="a communicator",
            remedy="check `if comm:` after Split or Create",
        )  # fmt: skip


COMM_NULL: Comm = _NullComm()


def announce(comm: Any, name: str, **arguments: Any) -> None:
    """Let all ranks of a simulated `comm` check that they call the same collective with the same arguments.

        announce(comm, "ring_allreduce", op=op, n=x.size, dtype=x.dtype)

    Nothing is sent and no time passes. Raises CollectiveMismatchError, with the majority and the outliers,
    once all have announced or nothing moves any more. On real MPI it does nothing, unless `comm` is `checked`.
    """
    announced = getattr(comm, "_announce", None)
    if announced is not None:
        announced(name, arguments)
