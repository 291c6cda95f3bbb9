"""All-reduce on two binary trees at once: who is a leaf in one is an inner node in the other, so all links are busy."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.broadcast import SEGMENT_BYTES, segment_bounds
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from loggp import NOBODY, Cost, Machine, Moves, Rounds, cost_of_rounds, extended_cost, give_up_if_past

Segment = tuple[int, int, int]  # tree, first, end
_TAGS = new_tag(), new_tag()  # of the two trees, which may join the same ranks

# _FEW segments of each tree fill the pipeline; each further one takes as long as the one before. With many ranks, fewer
# segments are played, so that all ranks together have at most _MOST_SEGMENTS.
_FEW, _FEWEST, _MOST_SEGMENTS = 16, 4, 1 << 18


class Family(NamedTuple):
    """The parent of a rank in one of the trees, None for the root, and its children."""

    parent: int | None
    children: list[int]


def families(rank: int, p: int) -> list[Family]:
    """Return the family of a rank in each of the two trees.

    families(1, 4)  # [Family(parent=2, children=[]), Family(parent=3, children=[2, 0])]
    """
    parents = [int(tree.parent[rank]) for tree in trees_of_all(p)]
    children = [[child for child in tree.children[:, rank].tolist() if child != NOBODY] for tree in trees_of_all(p)]
    return [Family(None if up == NOBODY else up, down) for up, down in zip(parents, children, strict=True)]


class Tree(NamedTuple):
    """The parents and the two children of all ranks, NOBODY where there is none."""

    parent: Array
    children: Array


@lru_cache(maxsize=2)
def trees_of_all(p: int) -> tuple[Tree, Tree]:
    """Return the two trees of p ranks.

    Both are the in-order tree, whose nodes lie between those of their two subtrees, under 0, the root: odd numbers are
    leaves. In the second one ranks are numbered from the other end if p is even, from rank 1 on if it is odd. So odd
    ranks are leaves in the first, even ones in the second; but rank 0, a root of one child, may not be if p is odd.
    """
    v = np.arange(p)
    low = np.maximum(v & -v, 1)
    # Above v is the node of the next level, on the side where v is a child; beyond the end there is none.
    above = (v ^ low) | (low << 1)
    parent = np.where(v == 0, NOBODY, np.where(above < p, above, v ^ low))
    left, right = np.where((v > 0) & (low > 1), v - low // 2, NOBODY), np.full(p, NOBODY)
    for shift in reversed(range(1, p.bit_length())):
        step = low >> shift
        right = np.where((v > 0) & (step > 0) & (v + step < p), v + step, right)
    left[0] = 1 << (p - 1).bit_length() >> 1 if p > 1 else NOBODY
    turned = (v - 1) % p if p % 2 else p - 1 - v
    names = (v + 1) % p if p % 2 else p - 1 - v
    first = Tree(parent, np.array([left, right]))
    return first, Tree(*(np.where(who == NOBODY, NOBODY, names[who])[..., turned] for who in first))


@algorithm("allreduce", commutative=True, overlaps=True)
def double_tree_allreduce(
    comm: Any, x: Array, op: Op = np.add, *, out: Out = None, segment_bytes: int = SEGMENT_BYTES
) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`: each half up and down its own tree, in segments.

    Cost:    the time is 2 n beta to 2.75 n beta, plus 2 lg p (alpha + m beta) for segments of m bytes. Each port
             carries hardly more bytes than in a ring, in as few rounds as a tree needs.
    Order:   up each tree, each element once, so floats are bit-identical on all ranks; op must be commutative.
    Source:  Sanders, Speck, Träff, Parallel Computing 35(12), 2009.
    """
    trees, segments = families(comm.rank, comm.size), tree_segments(x.size, x.itemsize, segment_bytes)
    (spare,) = scratch(comm, 1, max(end - first for _, first, end in segments), x.dtype)
    up: tuple[deque[Any], deque[Any]] = deque(), deque()
    down = []
    for tree, first, end in _leaves_first(segments, trees):
        part, came = x[first:end], spare[: end - first]
        for child in trees[tree].children:
            comm.Recv(came, child, _TAGS[tree])
            op(part, came, out=out[first:end])
            part = out[first:end]
        if trees[tree].parent is not None:
            up[tree].append(comm.Isend(part, trees[tree].parent, _TAGS[tree]))
    for tree, first, end in _leaves_last(segments, trees):
        part = out[first:end]
        if trees[tree].parent is not None:
            up[tree].popleft().Wait()  # no wait: the result that comes contains it
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


def double_tree_at_best_ps(machine: Machine, n_items: int, itemsize: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Return a lower bound: one segment goes the longest way up and down without waiting, and the others follow it.

    These pass the busiest in-port, one after the other. All pass the in-port that the ranks of a node share. And
    the rank with the most neighbours sends to and receives from each of them, and reduces what its children send.
    """
    p, network, n_segments = machine.p, machine.network, len(tree_segments(n_items, itemsize, segment_bytes)) // 2
    size = n_items * itemsize // (2 * n_segments)
    nodes, port_ps, way_ps = np.unique(machine.nodes, return_inverse=True)[1], np.zeros(p, np.int64), 0
    links, children = np.zeros((2, p), np.int64)
    far = np.zeros(p, np.int64)  # by node, how many messages come from others in both trees
    for tree in trees_of_all(p):
        near = nodes == nodes[tree.parent]
        transfer_ps = np.where(near, *(link.transfer_ps(size) for link in (network.intra, network.inter)))
        hop_ps = np.where(near, *(network.message_ps(link, size) for link in (network.intra, network.inter)))
        transfer_ps[tree.parent == NOBODY] = hop_ps[tree.parent == NOBODY] = 0
        children += (tree.children != NOBODY).sum(0)
        links += (tree.parent != NOBODY) + (tree.children != NOBODY).sum(0)
        between = ~near & (tree.parent != NOBODY)
        far += np.bincount(nodes[between], minlength=p) + np.bincount(nodes[tree.parent[between]], minlength=p)
        port_ps += transfer_ps + np.where(tree.children == NOBODY, 0, transfer_ps[tree.children]).sum(0)
        # All the way up: each turn doubles how far `above` is.
        above = np.where(tree.parent == NOBODY, np.arange(p), tree.parent)
        for _ in range(p.bit_length()):
            hop_ps, above = hop_ps + hop_ps[above], above[above]
        way_ps = max(way_ps, 2 * int(hop_ps.max()))
    at_heels_ps = way_ps + (n_segments - 1) * int(port_ps.max()) * network.ports
    own_ps = n_segments * int((2 * links * network.overhead_ps + children * network.reduce_ps(size)).max())
    through_node_ps = n_segments * int(far.max()) * network.inter.transfer_ps(size)
    return max(at_heels_ps, own_ps, through_node_ps * (network.ports and network.shared_node_port))


@cost_of(double_tree_allreduce, at_best_ps=double_tree_at_best_ps)
def double_tree_allreduce_cost(
    machine: Machine, n_items: int, itemsize: int, segment_bytes: int = SEGMENT_BYTES
) -> Cost:
    """Return the cost of `double_tree_allreduce` of n_items on each rank; of many segments, by what a few take."""
    p, segments = machine.p, tree_segments(n_items, itemsize, segment_bytes)
    if p == 1:
        return Cost(0, [0], [0], 0, 0)
    sizes = np.array([(end - first) * itemsize for _, first, end in segments]).reshape(-1, 2)

    # Without ports and overhead a segment waits only for others in its rank, so that fewer show what one more takes.
    fills = _FEW if machine.network.ports or machine.network.overhead_ps else _FEWEST // 2
    few = min(fills, max(1, _MOST_SEGMENTS // p))

    def play(few: int) -> Cost:
        return cost_of_rounds(machine, tree_rounds(p, sizes[:few]))

    if len(sizes) > 2 * few > 2 * _FEWEST:
        # Before the pipeline is full a segment seems to take up to a fifth less, or a twentieth more.
        give_up_if_past(0.75 * (extended_cost(_FEWEST, len(sizes), play).expected_ps or 0))
    played = play(len(sizes)) if len(sizes) <= 2 * few else extended_cost(few, len(sizes), play)
    links = [(tree.parent != NOBODY).astype(int) + (tree.children != NOBODY).sum(0) for tree in trees_of_all(p)]
    n_bytes = sizes.sum(0)
    sends, bytes_sent = len(sizes) * (links[0] + links[1]), links[0] * n_bytes[0] + links[1] * n_bytes[1]
    return replace(played, sends=sends.tolist(), bytes_sent=bytes_sent.tolist())


def tree_rounds(p: int, sizes: Array) -> Rounds:
    """Return the schedule for segments of sizes[segment, tree] bytes. Each rank counts its own rounds.

    A rank has `places`, one for each segment of both trees, in the order of `_leaves_first`, and later `_leaves_last`.
    Up, a place is two rounds, with a message from each child; the result goes to the parent in the next round. Down,
    it is one round, with a message from the parent, which goes to the children in the next round.
    """
    trees, n_segments = trees_of_all(p), len(sizes)
    parents, children = np.array([tree.parent for tree in trees]), np.array([tree.children for tree in trees])
    n_places, in_turn = 2 * n_segments, 2
    # By the tree of a rank's first places, or `in_turn`: which tree and segment a place is for, and the reverse.
    # What is asked about places that do not exist is not used.
    place = np.minimum(np.arange(4 * n_places), n_places - 1)
    one, other, segment = place // n_segments, 1 - place // n_segments, place % n_segments
    trees_at, segments_at = np.array([one, other, place % 2]), np.array([segment, segment, place // 2])
    place_of = np.empty((3, 2, n_segments), np.int64)
    for first in range(3):
        place_of[first, trees_at[first, :n_places], segments_at[first, :n_places]] = place[:n_places]
    is_inner = (children != NOBODY).any(1)
    # The tree of a rank's first places, unless it takes both in turn.
    up_first = np.where(is_inner[0] == is_inner[1], in_turn, is_inner[0])
    down_first = np.where(up_first == in_turn, in_turn, 1 - up_first)

    def at(first: Array, place: Array) -> tuple[Array, Array]:
        return trees_at[first, place], segments_at[first, place]

    def moves(ranks: Array, number: Array) -> Moves:
        is_up, up, down = number < 2 * n_places, up_first[ranks], down_first[ranks]
        # What the place before made is sent now, in the first round of this one.
        tree, segment = at(up, number // 2 - 1)
        goes_up = (number % 2 == 0) & (number > 0) & (number <= 2 * n_places)
        to_parent, n_bytes = np.where(goes_up, parents[tree, ranks], NOBODY), sizes[segment, tree]
        tree, segment = at(down, number - 2 * n_places - 1)
        goes_down = number > 2 * n_places
        to = [np.where(goes_down, children[tree, k, ranks], (to_parent, NOBODY)[k]) for k in range(2)]
        n_bytes = np.where(goes_down, sizes[segment, tree], n_bytes)

        tree, segment = at(up, number // 2)
        child, reduced = children[tree, number % 2, ranks], sizes[segment, tree]
        sent_up = 2 * place_of[up_first[child], tree, segment] + 2
        has_second = children[tree, 1, ranks] != NOBODY
        tree, segment = at(down, number - 2 * n_places)
        parent = np.where(number < 3 * n_places, parents[tree, ranks], NOBODY)
        sent_down = 2 * n_places + place_of[down_first[parent], tree, segment] + 1
        source = np.where(is_up, child, parent)
        slot = np.where(is_up, 0, children[tree, 1, parent] == ranks)
        sent_in, reduced = np.where(is_up, sent_up, sent_down), reduced * (is_up & (source != NOBODY))
        # With no second child, nothing is to be done in the second round of a place.
        then = number + 1 + (is_up & (number % 2 == 0) & ~has_second)
        return Moves(to, [n_bytes, n_bytes], [source], reduced, sent_in=sent_in, slots=[slot], then=then)

    return Rounds(p, 3 * n_places + 1, 2, moves, int(sizes.max()), waits=False, together=True)
