"""What all ranks of one run share: communicators that ranks find by a name which they agree on without a message."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Any

from mpi.simulated import Simulated
from ranks import nodes_of, placement
from ranks.both.kept import kept
from ranks.messages.mailbox import Context
from ranks.messages.rank import RankState
from ranks.messages.transfer import Transport


class Universe:
    """What the ranks of a run share.

    things:  What they have made together, by its name.
    left:    How many ranks have yet to fetch a thing; the last one takes it away.
    numbers: Numbers that nobody else has.
    told:    The places of the program, by twos, whose conflicting accesses were reported.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.things: dict[Hashable, Any] = {}
        self.left: dict[Hashable, int] = {}
        self.numbers = count(1)
        self.told: set[tuple[str, str]] = set()

    def fetch(self, name: Hashable, n_ranks: int, make: Callable[[], Any]) -> Any:
        """Return what the first rank that asks for a name has made; `n_ranks` ask, each once."""
        if name not in self.things:
            self.things[name], self.left[name] = make(), n_ranks
        self.left[name] -= 1
        found = self.things[name]
        if not self.left[name]:
            del self.things[name], self.left[name]
        return found

    def communicator(self, state: RankState, name: Hashable, members: Sequence[int]) -> Simulated:
        """Return the new communicator of some ranks, which all of them ask for by the same name."""
        ranks = self.transport.ranks
        context = self.fetch(name, len(members), lambda: self.transport.new_context([ranks[m] for m in members]))
        return Simulated(self.transport, state, context, list(members).index(state.rank))


def universe(c: Any) -> Universe:
    """Return what the ranks of the run of a communicator share."""
    transport: Transport = c._transport
    found: Universe | None = transport.kept.get(Universe)
    if found is None:
        found = transport.kept[Universe] = Universe(transport)
    return found


class Worker(Simulated):
    """The communicator of a worker: what is kept for it, such as scratch memory, is nobody else's.

    _kept:  See `ranks.kept`.
    """

    __slots__ = ("_kept",)

    def _keep(self, c: Any) -> None:
        known = {key: kept(c, key, lambda: None) for key in (nodes_of, placement)}
        self._kept: dict[Any, Any] = {key: fact for key, fact in known.items() if fact is not None}


def workers(c: Any, name: Hashable) -> Context:
    """Return the communicator of those who work beside the ranks of `c`; all its ranks ask for it by the same name."""
    transport, owners = c._transport, [box.owner for box in c._members()]

    def make() -> Context:
        return Context(c._context.number, [beside(owner) for owner in owners], transport.join)

    found: Context = universe(c).fetch((c._context, name), len(owners), make)
    return found


def beside(owner: Any) -> RankState:
    """Return a new state for what works beside a rank, with its ports."""
    state = RankState(owner.rank, owner.node, owner.seed)
    state.scheduler, state.in_port, state.out_port = owner.scheduler, owner.in_port, owner.out_port
    return state
