"""Cases in which every two values of two options meet: random ones, and options that take turns, leave some out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

Chosen = dict[str, Any]


def covering(options: dict[str, Sequence[Any]], fits: Callable[[Chosen], bool] = lambda chosen: True) -> list[Chosen]:
    """Return choices, a value for each option, among which each pair of values of two options is found.

        covering({"dtype": ["i4", "f8"], "n": [0, 1], "copy": [False, True]})  # 4 of the 8 choices

    Pairs that do not fit are left out; `fits` is also asked about a part of the options, and some value of each further
    one must fit too. The same on every machine: greedy, and of equally good values that which was taken least.
    """
    missing = dict.fromkeys(  # a set, but in order
        ((a, x), (b, y)) for a, b in combinations(options, 2) for x in options[a] for y in options[b]
    )
    taken: Counter[tuple[str, Any]] = Counter()
    made: list[Chosen] = []
    while missing:
        first = next(iter(missing))
        del missing[first]
        chosen = dict(first)
        if not fits(chosen):
            continue
        for name in [name for name in options if name not in chosen]:
            ways = [way for way in ({**chosen, name: value} for value in options[name]) if fits(way)]
            new = [sum(pair in missing for pair in _pairs(options, way)) for way in ways]
            worth = [(n, -taken[name, way[name]]) for n, way in zip(new, ways, strict=True)]
            chosen = ways[worth.index(max(worth))]
        for pair in _pairs(options, chosen):
            missing.pop(pair, None)
        taken.update(chosen.items())
        made.append(chosen)
    return made


def _pairs(options: dict[str, Sequence[Any]], chosen: Chosen) -> list[Any]:
    return list(combinations([(name, chosen[name]) for name in options if name in chosen], 2))
