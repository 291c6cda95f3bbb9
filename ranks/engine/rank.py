"""One rank as the scheduler knows it: its thread of control, its clock, and what it is parked on."""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any

from greenlet import getcurrent, greenlet

from ranks.engine.chance import Chance

# What a parked rank needs: all that it awaits, or the first of it.
ALL, FIRST = 1, 2


class RankGreenlet(greenlet):
    """The thread of control of one rank."""

    __slots__ = ("state",)
    state: Any


class Rank:
    """One rank: its clock, and what it is parked on.

    rank:      Its number in the world.
    node:      The node that it is on.
    now:       Its virtual time in picoseconds; it runs with the rank.
    greenlet:  Its thread of control; false when its program has ended.
    awaits:    What a parked rank says it waits for; empty while it runs, polls, or waits for its turn to run.
    enough:    Whether the rank needs ALL of what it awaits, or the FIRST of it.
    seed:      The seed of the run.
    own:       What it has for itself of the state of the process, if it does not share it with other ranks.
    streak:    The failed polls that it made in a row; None if its latest call was something else.
    local:     What a package above keeps for the rank, as MPI does for a process.
    """

    __slots__ = ("_chance", "awaits", "enough", "greenlet", "local", "node", "now", "own", "rank", "seed", "streak")

    def __init__(self, rank: int, node: int, seed: int) -> None:
        self.rank, self.node, self.seed, self.now = rank, node, seed, 0
        self.greenlet: Any = None
        self.awaits: Sequence[Any] = ()
        self.enough = ALL
        self.own: Any = None
        self.streak: Any = None
        self.local: Any = None
        self._chance: Chance | None = None

    @property
    def chance(self) -> Chance:
        """The random generators of the rank."""
        if self._chance is None:
            self._chance = Chance(f"{self.seed}/{self.rank}")
        return self._chance

    def generators(self) -> list[Any]:
        """Return the random generators that the rank has used so far."""
        return [] if self._chance is None else self._chance.made()


# The ranks of threads that ranks have started, by the number of the thread.
threads: dict[int, Any] = {}


def current_rank() -> Any:
    """Return the state of the rank whose program is running, also in what it runs in the background; None outside."""
    current: greenlet | None = getcurrent()
    while current is not None and not isinstance(current, RankGreenlet):
        current = current.parent
    if current is None:
        return threads.get(get_ident())
    return current.state


def is_thread_of_rank() -> bool:
    """Return whether a thread is running that a rank has started."""
    return get_ident() in threads
