"""Which ranks of a deadlock are its cause: a smallest set that would stay blocked whatever all others did.

A rank needs one rank out of each of several sets: a receive from rank 3 needs {3}, a wildcard needs one of
all others, Waitall has a set for each request. A set of ranks blocks itself if each member has a need that
only members, or ranks that have returned, could serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Needs = Mapping[int, list[frozenset[int]]]

# Sets up to this size are made as small as possible; larger ones are reported as they are.
_SHRINK = 64


def deadlock_cores(needs: Needs) -> list[list[int]]:
    """Return the cores of a deadlock, each sorted, in the order of their first ranks; `needs` has all blocked ranks.

        deadlock_cores({0: [frozenset({1})], 1: [frozenset({0})], 2: [frozenset({0})]})  # [[0, 1]]

    Method: in the graph of who could serve whom, a strongly connected component that no edge leaves
    blocks itself.
    """
    components = _components({rank: _targets(needs, rank) for rank in needs})
    place = {rank: index for index, members in enumerate(components) for rank in members}
    sinks = []
    for index, members in enumerate(components):
        if all(place[target] == index for rank in members for target in _targets(needs, rank)):
            sinks.append(_shrink(needs, sorted(members)))
    return sorted(sinks)


def _targets(needs: Needs, rank: int) -> list[int]:
    """Return the blocked ranks that could serve a rank's needs; ranks that have returned are none of them."""
    return [target for need in set(needs[rank]) for target in need if target in needs]


def _shrink(needs: Needs, members: list[int]) -> list[int]:
    if len(members) > _SHRINK:
        return members
    kept = set(members)
    for rank in reversed(members):
        smaller = _self_blocking(needs, kept - {rank})
        if smaller:
            kept = smaller
    return sorted(kept)


def _self_blocking(needs: Needs, members: Iterable[int]) -> set[int]:
    """Return the largest part of `members` that blocks itself."""
    kept = set(members)
    while True:
        free = {r for r in kept if not any(all(t in kept or t not in needs for t in need) for need in needs[r])}
        if not free:
            return kept
        kept -= free


def _components(graph: dict[int, list[int]]) -> list[list[int]]:
    """Return the strongly connected components. Source: Tarjan, SIAM J. Comput. 1(2), 1972; iterative."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    components: list[list[int]] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    members: list[int] = []
                    while not members or members[-1] != node:
                        members.append(stack.pop())
                        on_stack.discard(members[-1])
                    components.append(members)
    return components
