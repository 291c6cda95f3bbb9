"""Ways to make the choices of a `ChoosingWorld`: all of them in turn, or those of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from ranks.choosing import Asleep, Chooser, Option, commute
from ranks.errors import NondeterminismError

T = TypeVar("T")
Key = tuple[Any, ...]


class _Node:
    """A choice on the path that is being explored: its options, the one taken, and those whose turn was before."""

    __slots__ = ("index", "keys", "sleep")

    def __init__(self, keys: list[Key], index: int, sleep: frozenset[Key]) -> None:
        self.keys, self.index, self.sleep = keys, index, sleep

    def awake_from(self, start: int) -> int | None:
        """Return the first option from `start` on that is not asleep."""
        return next((i for i in range(start, len(self.keys)) if self.keys[i] not in self.sleep), None)


class Search(Generic[T]):
    """The results of play(choose), depth first, for all choices after `prefix` that may make a difference.

    An option that was explored goes to sleep while its later siblings are: after options that commute with it, it
    would lead to what is known already. n_runs, n_pruned: runs so far that came to an end, or met only sleepers.
    Source: Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", LNCS 1032, 1996.
    """

    def __init__(self, play: Callable[[Chooser], T], prefix: Sequence[int] = (), *, reduction: bool = True) -> None:
        self.play, self.prefix, self.reduction = play, prefix, reduction
        self.nodes: list[_Node] = []
        self.n_runs = self.n_pruned = 0
        self.is_exhausted = False

    def __iter__(self) -> Iterator[T]:
        while not self.is_exhausted:
            self.depth = 0
            self.sleep: frozenset[Key] = frozenset()
            try:
                ending = self.play(self._choose)
            except Asleep:
                self.n_pruned += 1
                self._advance()
            else:
                if self.depth < len(self.prefix) + len(self.nodes):
                    raise _differs("an end before the last of these choices")
                self.n_runs += 1
                self._advance()
                yield ending

    def fraction(self) -> float:
        """Return how much of the search is done, if all subtrees were equally large."""
        done, width = 0.0, 1.0
        for node in self.nodes:
            width /= len(node.keys)
            done += width * node.index
        return 1.0 if self.is_exhausted else done

    def _choose(self, options: list[Option]) -> int:
        keys = [option.key for option in options]
        if len(keys) == 1:
            if keys[0] in self.sleep:
                raise Asleep
            self._fall_asleep(self.sleep, keys[0])
            return 0
        depth, self.depth = self.depth, self.depth + 1
        if depth < len(self.prefix):
            return _checked(self.prefix[depth], options)
        depth -= len(self.prefix)
        if depth == len(self.nodes):
            node = _Node(keys, 0, self.sleep)
            first = node.awake_from(0)
            if first is None:
                raise Asleep
            node.index = first
            self.nodes.append(node)
        node = self.nodes[depth]
        if node.keys != keys:
            raise _differs(f"{len(keys)} other options than before")
        self._fall_asleep(node.sleep.union(keys[: node.index]), keys[node.index])
        return node.index

    def _fall_asleep(self, before: frozenset[Key], taken: Key) -> None:
        if self.reduction and before:
            self.sleep = frozenset(key for key in before if commute(key, taken))

    def _advance(self) -> None:
        """Turn to the next schedule."""
        while self.nodes:
            node = self.nodes[-1]
            following = node.awake_from(node.index + 1)
            if following is not None:
                node.index = following
                return
            self.nodes.pop()
        self.is_exhausted = True


def repeat(
    choices: Sequence[int], notice: Callable[[int, list[Option]], None] = lambda depth, options: None
) -> Chooser:
    """Return a chooser that makes these choices, then always the first; it calls notice(depth, options) before each."""
    depth = 0

    def choose(options: list[Option]) -> int:
        nonlocal depth
        if len(options) == 1:
            return 0
        if notice is not None:
            notice(depth, options)
        depth += 1
        return _checked(choices[depth - 1], options) if depth <= len(choices) else 0

    return choose


def last_good(reaches_good: Callable[[Sequence[int]], bool | None], choices: Sequence[int]) -> int | None:
    """Return how many of the choices could be made before no good end could be reached any more.

    None if none could be reached at all, or if `reaches_good(first choices)` gives up. It is asked lg n times, since
    what is out of reach stays so.
    """
    low, high = 0, len(choices)
    if not reaches_good([]):
        return None
    while low < high - 1:
        middle = (low + high) // 2
        good = reaches_good(choices[:middle])
        if good is None:
            return None
        low, high = (middle, high) if good else (low, middle)
    return low


def _checked(index: int, options: list[Option]) -> int:
    if index >= len(options):
        raise _differs(f"{len(options)} options where choice {index} is to be made")
    return index


def _differs(got: str) -> NondeterminismError:
    return NondeterminismError(
        None, "choosing a schedule", got=got, expected="the program to come to the same choices again",
        remedy="use the same program, size, arguments and network, and take nothing from outside: random numbers, "
        "time, globals",
    )  # fmt: skip
