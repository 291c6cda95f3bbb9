"""Ways to make the choices of a `ChoosingWorld`: all of them in turn, or those of an earlier run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from ranks.schedules.options import Asleep, Chooser, Key, Option, commute
from ranks.words.errors import NondeterminismError

T = TypeVar("T")

# How standard sends are buffered in a run that is explored: all the same way, or each by itself.
MODES = ("none", "eager", "infinite", "each")

_REPLAY = re.compile(rf"({'|'.join(MODES)})(?:/polls=([0-9]+))?:((?:[0-9]+(?:,[0-9]+)*)?)")


def replay_text(mode: str, polls: int, choices: Sequence[int]) -> str:
    """Return the text that tells how to make a run again: "none:0,2,1", or "none/polls=2:0,2,1" if polls is not 1."""
    bound = "" if polls == 1 else f"/polls={polls}"
    return f"{mode}{bound}:{','.join(map(str, choices))}"


def read_replay(replay: str) -> tuple[str, int, list[int]]:
    """Return the buffering mode, the bound on polls and the choices in such a text."""
    match = _REPLAY.fullmatch(replay) if isinstance(replay, str) and replay.isascii() else None
    if match is None:
        raise ValueError(
            f'ranks.run: got replay={replay!r}, expected a text such as "none:0,2,1"; remedy: take it from an outcome '
            "of ranks.explore"
        )
    mode, polls, choices = match.groups()
    return mode, int(polls or 1), [int(number) for number in choices.split(",") if number]


class _Node:
    """A choice on the path that is being explored.

    keys: These are the options. turns: These of them are explored, one after the other; n_before were, so far.
    sleep: These options were asleep when the search first came here.
    """

    __slots__ = ("keys", "n_before", "sleep", "turns")

    def __init__(self, keys: list[Key], places: Iterable[int], sleep: frozenset[Key]) -> None:
        self.keys, self.sleep, self.n_before = keys, sleep, 0
        self.turns = [place for place in places if keys[place] not in sleep]

    def explored(self) -> list[Key]:
        """Return the options whose turn was before."""
        return [self.keys[place] for place in self.turns[: self.n_before]]


class Search(Generic[T]):
    """The results of play(choose), depth first, for all choices after `prefix` that may make a difference.

    An option that was explored goes to sleep while its later siblings are: after options that commute with it, it
    would lead to what is known already. Where a rank's options are all that it can ever have, only these are explored:
    what other ranks do meanwhile commutes with them. That finds all ends of a program in which no rank fails, polls or
    cancels.
    Source: Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", LNCS 1032, 1996.

    reduction: It tells whether the search leaves out what it has seen already; without it, it makes all choices.
    narrows: It tells whether the search explores a rank's options alone, where it can; has_narrowed, whether it has.
    n_runs: It counts the runs that came to an end. If another one remains after max_runs, the search is cut off.
    n_pruned: It counts the runs that were ended because they led to what is known; max_pruned cuts the search off too.
    is_exhausted: It tells whether there is nothing left to explore.
    after: This function is called after each run.
    """

    def __init__(
        self, play: Callable[[Chooser], T], prefix: Sequence[int] = (), *, reduction: bool = True,
        narrows: bool = False, max_runs: float = math.inf, max_pruned: float = math.inf,
        after: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.play, self.prefix, self.reduction, self.narrows = play, prefix, reduction, narrows
        self.has_narrowed = False
        self.max_runs, self.max_pruned, self.after = max_runs, max_pruned, after
        self.nodes: list[_Node] = []
        self.n_runs = self.n_pruned = 0
        self.is_exhausted = False

    def __iter__(self) -> Iterator[T]:
        while not self.is_exhausted and self.n_pruned < self.max_pruned:
            self.depth = 0
            self.sleep: frozenset[Key] = frozenset()
            try:
                ending = self.play(self._choose)
            except Asleep:
                self.n_pruned += 1
                self._advance()
                self.after()
                continue
            if self.depth < len(self.prefix) + len(self.nodes):
                raise differs("an end before the last of these choices")
            if self.n_runs >= self.max_runs:
                return
            self.n_runs += 1
            self._advance()
            self.after()
            yield ending

    def fraction(self) -> float:
        """Return how much of the search is done, if all subtrees were equally large."""
        done, width = 0.0, 1.0
        for node in self.nodes:
            width /= len(node.turns)
            done += width * node.n_before
        return 1.0 if self.is_exhausted else done

    def _choose(self, options: list[Option]) -> int:
        keys = [option.key for option in options]
        if len(keys) == 1:
            if keys[0] in self.sleep or options[0].is_covered:
                raise Asleep
            self._fall_asleep(self.sleep, keys[0])
            return 0
        depth, self.depth = self.depth, self.depth + 1
        if depth < len(self.prefix):
            return _checked(self.prefix[depth], options)
        return self._turn(depth - len(self.prefix), keys, options)

    def _turn(self, depth: int, keys: list[Key], options: list[Option]) -> int:
        """Return the option whose turn it is at a choice after the prefix."""
        if depth == len(self.nodes):
            covered = [option.key for option in options if option.is_covered]
            node = _Node(keys, self._places(options), self.sleep.union(covered))
            if not node.turns:
                raise Asleep
            self.nodes.append(node)
        node = self.nodes[depth]
        if node.keys != keys:
            raise differs(f"{len(keys)} other options than before")
        index = node.turns[node.n_before]
        self._fall_asleep(node.sleep.union(node.explored()) if node.n_before else node.sleep, keys[index])
        pledge = options[index].pledge
        if self.reduction and pledge is not None:
            pledge()
        return index

    def _places(self, options: list[Option]) -> Iterable[int]:
        """Return which options are to be explored: all, or those of one rank that has no others to come."""
        if self.narrows:
            for option in options:
                if option.is_last_word:
                    self.has_narrowed = True
                    return [place for place, other in enumerate(options) if other.subject is option.subject]
        return range(len(options))

    def _fall_asleep(self, before: frozenset[Key], taken: Key) -> None:
        if self.reduction and before:
            self.sleep = frozenset([key for key in before if commute(key, taken)])

    def _advance(self) -> None:
        """Turn to the next schedule."""
        while self.nodes:
            node = self.nodes[-1]
            node.n_before += 1
            if node.n_before < len(node.turns):
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
        raise differs(f"{len(options)} options where choice {index} is to be made")
    return index


def differs(got: str, expected: str = "the program to come to the same choices again") -> NondeterminismError:
    """Return the error for a program that does not do the same for the same choices."""
    return NondeterminismError(
        None, "choosing a schedule", got=got, expected=expected,
        remedy="use the same program, size, arguments and network, and take nothing from outside: random numbers, "
        "time, globals",
    )  # fmt: skip
