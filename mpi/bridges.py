"""What stands behind an intercommunicator: two groups, each of which sends to the other and collects within itself."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from mpi.common import Shared
from mpi.constants import UNDEFINED
from mpi.group import Members
from mpi.simulated import Simulated
from mpi.universe import Worker, beside, universe
from ranks.messages.mailbox import Context
from ranks.messages.transfer import Transport


class Bridge(Simulated):
    """One rank's way to the other group: `rank` is its own, `size` and all ranks that it names are of the others.

    Its context has the mailboxes of the other group, and its own mailbox knows this context: so a source is one of
    the other group too.
    """

    __slots__ = ()

    def __init__(self, transport: Transport, state: Any, context: Context, rank: int) -> None:
        super().__init__(transport, state, _other_side(context), rank)
        self._context, self.size = context, context.size

    def _members(self) -> Any:
        return _other_side(self._context).boxes

    def _hidden(self) -> Any:
        context = self._context
        if context.hidden is None:
            other = _other_side(context)
            mine, theirs = ([box.owner for box in each.boxes] for each in (other, context))
            context.hidden, other.hidden = paired(self._transport, context.number, mine, theirs)
        return Bridge(self._transport, self._state, context.hidden, self.rank)


def _other_side(context: Context) -> Context:
    """Return the context of the other group, which has the mailboxes of this one."""
    found: Context = context.boxes[0].context
    return found


def paired(transport: Transport, number: int, one: Sequence[Any], other: Sequence[Any]) -> tuple[Context, Context]:
    """Return the contexts of two groups that send to each other: each has the mailboxes of the other."""
    return _facing(Context(number, one, transport.join), Context(number, other, transport.join))


def _facing(first: Context, second: Context) -> tuple[Context, Context]:
    """Return both contexts, each with the mailboxes of the other."""
    first.boxes, second.boxes = second.boxes, first.boxes
    first.size, second.size = second.size, first.size
    return first, second


class Both(NamedTuple):
    """The communicators of an intercommunicator's collectives: to the other group, and within the own one."""

    inter: Any
    local: Any
    low: bool


class InterShared(Shared):
    """What all handles of one intercommunicator share, on one rank.

    c:      The way to the other group.
    local:  What stands behind a communicator of the own group.
    low:    Whether the own group is the first of the two, as both see it.
    """

    def __init__(self, c: Bridge, local: Any, low: bool) -> None:
        super().__init__(c, remote=True)
        self.local, self.low = local, low

    @property
    def hidden(self) -> Any:
        """The communicators for collectives."""
        if self._hidden is None:
            self._hidden = Both(self.c._hidden(), self.local._hidden(), self.low)
        return self._hidden

    def group(self) -> Members:
        """Return the ranks of the local group."""
        return Members(box.owner.rank for box in self.c._members())

    @property
    def key(self) -> Context:
        """What both groups name their intercommunicator by: the context of the first one."""
        context: Context = self.c._context if self.low else _other_side(self.c._context)
        return context

    def made_of(self, name: Hashable, mine: Sequence[int], theirs: Sequence[int]) -> InterShared:
        """Return what stands behind a new intercommunicator of parts of the groups, which both name alike."""
        low, high = (mine, theirs) if self.low else (theirs, mine)
        return connect(self.c, (self.key, name), low, high)

    def duplicate(self, call: str) -> Shared:
        """Return what stands behind a duplicate."""
        return self.twin()

    def twin(self) -> Shared:
        """Return what stands behind a duplicate; all ranks call it, and nobody waits."""
        self.n_made += 1
        return self.made_of(("twin", self.n_made), self.group().ranks, self.remote_group().ranks)

    def split(self, call: str, color: int, key: int) -> Shared | None:
        """Return what stands behind the intercommunicator of the ranks of both groups with the same color."""
        from mpi.intercommunicator import exchanged_lists

        self.n_made += 1
        mine, theirs = exchanged_lists(self.hidden, (color, key, self.c._state.rank))
        if color == UNDEFINED:
            return None
        chosen = [
            [rank for _, rank in sorted((key, rank) for c, key, rank in each if c == color)] for each in (mine, theirs)
        ]
        if not chosen[1]:
            return None
        return self.made_of(("split", self.n_made, color), *chosen)

    def worker(self, number: int) -> tuple[Any, Any]:
        """Return the state of what works beside this rank, and what makes its communicators."""
        transport, n_bridge = self.c._transport, self.c._context.number
        owners = [box.owner for box in self.c._members()], [box.owner for box in self.c._context.boxes]
        low, high = owners if self.low else owners[::-1]

        def make() -> Any:
            states = [[beside(owner) for owner in group] for group in (low, high)]
            pair = paired(transport, n_bridge, *states)
            return pair, [Context(self.local._context.number, each, transport.join) for each in states]

        n_ranks = len(low) + len(high)
        pair, locals_ = universe(self.c).fetch((self.key, "work", number), n_ranks, make)
        side = 0 if self.low else 1
        state = locals_[side].boxes[self.c.rank].owner

        def communicators() -> Both:
            local = Worker(transport, state, locals_[side], self.c.rank)
            local._keep(self.local)
            return Both(Bridge(transport, state, pair[side], self.c.rank), local, self.low)

        return state, communicators


def connect(c: Any, name: Hashable, low: Sequence[int], high: Sequence[int]) -> InterShared:
    """Return what stands behind an intercommunicator of two groups of world ranks; all call it by the same name."""
    transport, state, found = c._transport, c._state, universe(c)

    def make() -> Any:
        states = [[transport.ranks[rank] for rank in group] for group in (low, high)]
        pair = _facing(transport.new_context(states[0]), transport.new_context(states[1]))
        return pair, [transport.new_context(each) for each in states]

    pair, locals_ = found.fetch(name, len(low) + len(high), make)
    side = 0 if state.rank in low else 1
    rank = list((low, high)[side]).index(state.rank)
    local = Simulated(transport, state, locals_[side], rank)
    return InterShared(Bridge(transport, state, pair[side], rank), local, side == 0)
