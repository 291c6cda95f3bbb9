"""All-reduce on two binary trees at once: who is a leaf in one is an inner node in the other, so all links are busy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.broadcast import SEGMENT_BYTES, segment_bounds
from collectives.calls import Out
from collectives.catalogue import algorithm, cost_of
from collectives.costs import Cost, Machine
from collectives.messages import new_tag
from collectives.reduction import Op
from collectives.schedules import MOST_MESSAGES, Step, pipelined_cost, scheduled_cost
from collectives.scratch import scratch

Segment = tuple[int, int, int]  # tree, first, end
_TAGS = new_tag(), new_tag()  # of the two trees, which may join the same ranks

# So many segments fill the pipeline of any tree: from there on, each takes as long as the one before.
_FEW = 64


class Family(NamedTuple):
    """The parent of a rank in one of the trees, None for the root, and its children."""

    parent: int | None
    children: list[int]


def families(rank: int, p: int) -> list[Family]:
    """Return the family of a rank in each of the two trees.

    Both are the in-order tree, in which odd numbers are leaves; in the second one ranks are numbered from the other
    end if p is even, from rank 1 on if it is odd. So odd ranks are leaves in the first, even ones in the second.

        families(1, 4)  # [Family(parent=2, children=[]), Family(parent=3, children=[2, 0])]
    """
    turned = in_order_family((rank - 1) % p if p % 2 else p - 1 - rank, p)

    def name(v: int) -> int:
        return (v + 1) % p if p % 2 else p - 1 - v

    parent = None if turned.parent is None else name(turned.parent)
    return [in_order_family(rank, p), Family(parent, [name(child) for child in turned.children])]


def in_order_family(v: int, p: int) -> Family:
    """Return the family of number v in the tree whose nodes lie between those of their two subtrees; 0 is the root.

    in_order_family(4, 7)  # Family(parent=0, children=[2, 6])
    """
    if v == 0:
        top = 1 << max(p - 1, 0).bit_length()
        return Family(None, [top // 2] if p > 1 else [])
    low = v & -v
    # Above v is the node of the next level, on the side where v is a child; beyond the end there is none.
    above = (v ^ low) | (low << 1)
    parent = above if above < p else v ^ low
    if low == 1:
        return Family(parent, [])
    right = next((v + step for step in _halves(low) if v + step < p), None)
    return Family(parent, [v - low // 2] + ([right] if right is not None else []))


def _halves(n: int) -> Iterator[int]:
    while n > 1:
        n //= 2
        yield n


@algorithm("allreduce", commutative=True, overlaps=True)
def double_tree_allreduce(
    comm: Any, x: Array, op: Op = np.add, *, out: Out = None, segment_bytes: int = SEGMENT_BYTES
) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`: each half up and down its own tree, in segments.

        ranks.run(lambda comm: double_tree_allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size. `x` is kept unless out overlaps it.
    Cost:    2 n beta to 2.75 n beta and 2 lg p (alpha + m beta) for segments of m bytes: hardly more bytes through each
             port than of a ring, and as few rounds as a tree.
    Order:   up each tree, each element once, so floats are bit-identical on all ranks; op must be commutative.
    Raises:  TypeError, ValueError if x, op, out or segment_bytes do not fit; CollectiveMismatchError if simulated
             ranks differ.
    Source:  Sanders, Speck, Träff, Parallel Computing 35(12), 2009.
    """
    trees, segments = families(comm.rank, comm.size), tree_segments(x.size, x.itemsize, segment_bytes)
    (spare,) = scratch(comm, 1, max(end - first for _, first, end in segments), x.dtype)
    up, down = {}, []
    for tree, first, end in _leaves_first(segments, trees):
        part, came = x[first:end], spare[: end - first]
        for child in trees[tree].children:
            comm.Recv(came, child, _TAGS[tree])
            op(part, came, out=out[first:end])
            part = out[first:end]
        if trees[tree].parent is not None:
            up[tree, first] = comm.Isend(part, trees[tree].parent, _TAGS[tree])
    for tree, first, end in _leaves_last(segments, trees):
        part = out[first:end]
        if trees[tree].parent is not None:
            up[tree, first].Wait()  # it has long left: what comes was made of it
            comm.Recv(part, trees[tree].parent, _TAGS[tree])
        down += [comm.Isend(part, child, _TAGS[tree]) for child in trees[tree].children]
    for request in down:
        request.Wait()
    return out


def tree_segments(n: int, itemsize: int, segment_bytes: int) -> list[Segment]:
    """Return (tree, first, end) of each segment of n elements, the two trees in turn.

    tree_segments(5, 8, 16)  # [(0, 0, 2), (1, 3, 4), (0, 2, 3), (1, 4, 5)]
    """
    half = block_bounds(n, 2)[1]
    n_segments = len(segment_bounds(half, itemsize, segment_bytes))
    bounds = [block_bounds(half, n_segments), [half + bound for bound in block_bounds(n - half, n_segments)]]
    return [(tree, bounds[tree][s], bounds[tree][s + 1]) for s in range(n_segments) for tree in range(2)]


def _leaves_first(segments: list[Segment], trees: list[Family]) -> list[Segment]:
    """Return the order of the way up: a rank that first waited for its children would keep its other parent waiting.

    With the order of the way down, neither tree waits for the other.
    """
    return sorted(segments, key=lambda segment: bool(trees[segment[0]].children))


def _leaves_last(segments: list[Segment], trees: list[Family]) -> list[Segment]:
    """Return the order of the way down: what others wait for is passed on first."""
    return sorted(segments, key=lambda segment: not trees[segment[0]].children)


@cost_of(double_tree_allreduce)
def double_tree_allreduce_cost(
    machine: Machine, n_items: int, itemsize: int, segment_bytes: int = SEGMENT_BYTES
) -> Cost:
    """Return the cost of `double_tree_allreduce` of n_items on each rank.

    Of many segments only as many are played as show the time that one more takes.
    """
    p = machine.p
    segments = tree_segments(n_items, itemsize, segment_bytes)
    if 2 * p * len(segments) <= MOST_MESSAGES or len(segments) <= 2 * _FEW:
        return _played(machine, segments, itemsize)
    about = pipelined_cost(_FEW, len(segments), lambda few: _played(machine, segments[:few], itemsize))
    half = block_bounds(n_items, 2)[1] * itemsize
    links = [[(f.parent is not None) + len(f.children) for f in families(rank, p)] for rank in range(p)]
    sends = [sum(both) * len(segments) // 2 for both in links]
    bytes_sent = [first * half + second * (n_items * itemsize - half) for first, second in links]
    return replace(about, sends=sends, bytes_sent=bytes_sent)


def _played(machine: Machine, segments: list[Segment], itemsize: int) -> Cost:
    def steps(rank: int) -> Iterator[Step]:
        trees = families(rank, machine.p)
        for tree, first, end in _leaves_first(segments, trees):
            size = (end - first) * itemsize
            for child in trees[tree].children:
                yield Step(None, 0, child, size, tag=tree)
            if trees[tree].parent is not None:
                yield Step(trees[tree].parent, size, None, waits=False, tag=tree)
        for tree, first, end in _leaves_last(segments, trees):
            if trees[tree].parent is not None:
                yield Step(None, 0, trees[tree].parent, tag=tree)
            for child in trees[tree].children:
                yield Step(child, (end - first) * itemsize, None, waits=False, tag=tree)

    return scheduled_cost(machine, steps if machine.p > 1 else lambda rank: [])
