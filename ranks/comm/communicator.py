"""Comm: makes communicators from communicators, and tells a rank about its own."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import numpy as np

from ranks.comm.point_to_point import PointToPoint
from ranks.engine.rank import current_rank
from ranks.messages.ledger import Ledger
from ranks.messages.mailbox import Context
from ranks.words.callsite import current_call
from ranks.words.constants import COMM_TYPE_SHARED, CONGRUENT, IDENT, SIMILAR, UNDEFINED, UNEQUAL, behind
from ranks.words.errors import AbortError, InvalidHandleError, InvalidRankError
from ranks.words.group import Group

# What MPI takes as a color or a key.
_INTEGERS = (int, np.integer, np.bool_)


class _Elsewhere:
    """Stands in for a call of MPI that is a function here: whoever asks a communicator for the call is told so.

    A __getattr__ would do the same, but it would make each look-up of a communicator's attribute several times slower.
    """

    def __init__(self, name: str, call: str) -> None:
        self.name, self.call = name, call

    def __get__(self, comm: Any, owner: type) -> None:
        if comm is not None:
            raise AttributeError(
                f"{self.name}: got a method of a communicator, expected a function of the package "
                f"collectives, which has MPI's collectives; remedy: {self.call}"
            )


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
        self._check_caller("a communicator")
        self._name = name

    name = property(Get_name, Set_name)

    def Get_group(self) -> Group:
        """Return the communicator's group."""
        return Group((box.owner.rank for box in self._context.boxes), self._state.rank)

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
        if not isinstance(color, _INTEGERS) or (color < 0 and color != UNDEFINED):
            raise self._error(
                InvalidRankError, f"color={color!r}", "0 or more, or UNDEFINED", "number the colors from 0"
            )
        if not isinstance(key, _INTEGERS):
            raise self._error(InvalidRankError, f"key={key!r}", "an integer", "order the ranks by integers")
        return self._divided("Split", int(color), int(key), {})

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
        """Release the communicator; using it afterwards is an error."""
        self._check_usable()
        self._freed = True
        self._to, self._from = {}, {}

    def Abort(self, errorcode: int = 0) -> NoReturn:
        """End the run at once, on all ranks, with an AbortError."""
        self._check_caller("a communicator")
        call = current_call()
        problem = AbortError(
            self._state.rank, call.text, site=call.site, got=f"Abort with errorcode {errorcode}",
            expected="all ranks to return", remedy="see why this rank gave up",
        )  # fmt: skip
        problem.errorcode = errorcode
        self._scheduler.fail(self._state, problem)

    def __copy__(self) -> Comm:
        return self if self._context.number == 0 else self.__reduce__()

    def __deepcopy__(self, memo: Any) -> Comm:
        return self.__copy__()

    def __reduce__(self) -> NoReturn:
        raise self._error(
            InvalidHandleError, "a communicator to be copied or sent", "the world, or something that is no handle",
            "let each rank make it by Dup or Split",
        )  # fmt: skip

    def _announce(self, name: str, arguments: dict[str, Any]) -> Ledger:
        """Enter the rank's next collective here; hold the rank if others disagree."""
        self._check_usable()
        number = self._announced
        self._announced += 1
        return self._transport.announce(self._state, self._context, number, name, arguments)

    def _meet(self, name: str, value: Any, arguments: dict[str, Any]) -> dict[int, Any]:
        """Return what all ranks brought to a collective, by rank, once all have come."""
        return self._announce(name, arguments).meet(self._state, self.rank, value)

    def _hidden(self) -> Comm:
        """Return a communicator of the same ranks for a collective: no wildcard or tag of the program meets it."""
        if self._inner is None:
            context = self._transport.hidden_context(self._context)
            hides = context is not self._context
            self._inner = type(self)(self._transport, self._state, context, self.rank) if hides else self
        return self._inner  # type: ignore[no-any-return]

    def _divided(self, call: str, color: int, key: int, arguments: dict[str, Any]) -> Comm:
        """Return this rank's communicator among those with the same color, in order of (key, rank)."""
        brought = self._meet(call, (color, key), arguments)
        made = brought.get(-1)
        if made is None:
            made = brought[-1] = self._contexts_by_color(brought)
        if color == UNDEFINED:
            return COMM_NULL
        context, places = made[color]
        return type(self)(self._transport, self._state, context, places[self.rank])

    def _contexts_by_color(self, brought: dict[int, Any]) -> dict[int, tuple[Context, dict[int, int]]]:
        """Return for each color its new context, and the new rank of each old one."""
        by_color: dict[int, list[tuple[int, int]]] = {}
        for rank, (color, key) in sorted(brought.items()):
            if color != UNDEFINED:
                by_color.setdefault(color, []).append((key, rank))
        made = {}
        for color in sorted(by_color):
            members = [rank for _, rank in sorted(by_color[color])]
            context = self._transport.new_context([self._context.boxes[rank].owner for rank in members])
            made[color] = context, {rank: place for place, rank in enumerate(members)}
        return made


# What MPI's collectives are called here.
_COLLECTIVES = {
    "barrier": "barrier", "bcast": "broadcast", "gather": "gather", "gatherv": "gather", "scatter": "scatter",
    "scatterv": "scatter", "allgather": "allgather", "allgatherv": "allgather", "alltoall": "alltoall",
    "alltoallv": "alltoallv", "alltoallw": "alltoallv", "reduce": "reduce", "allreduce": "allreduce",
    "reduce_scatter": "reduce_scatter", "reduce_scatter_block": "reduce_scatter", "scan": "scan", "exscan": "exscan",
}  # fmt: skip
_STARTED = ("allreduce", "alltoall", "broadcast")
for _name, _function in _COLLECTIVES.items():
    for _spelled in (_name, _name.capitalize()):
        setattr(Comm, _spelled, _Elsewhere(_spelled, f"collectives.{_function}(comm, ...)"))
    _call = f"collectives.i{_function}(comm, ...)" if _function in _STARTED else (
        f"ranks.start(collectives.{_function}, comm, ...)"
    )  # fmt: skip
    for _spelled in (f"i{_name}", f"I{_name}"):
        setattr(Comm, _spelled, _Elsewhere(_spelled, _call))


class _NullComm(Comm):
    """The communicator of no ranks, which Split and Create give to those left out."""

    __slots__ = ()

    def __init__(self) -> None:
        self._context, self._name = Context(-1, [], lambda receive, message: None), "COMM_NULL"

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        # A freed communicator lacks everything that its calls need first.
        call = current_call()
        current = current_rank()
        raise InvalidHandleError(
            None if current is None else current.rank,
            name if call.text.startswith(("__getattr__", "?")) else call.text,
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
    announced = getattr(behind(comm), "_announce", None)
    if announced is not None:
        announced(name, arguments)
