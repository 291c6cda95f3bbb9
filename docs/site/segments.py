"""Times of the algorithms that cut arrays into segments: no sums of prices, since the number of segments grows.

In a chain and in a ring, each rank receives from one rank only, so messages never compete, and a few lines tell the
time. All nodes do the same, so the ranks of one node stand for all. In a double tree messages compete for ports, so it
is played message by message.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from collectives.broadcast import SEGMENT_BYTES

Link = tuple[int, int]  # latency and time of a byte
Links = list[Link]  # on the way into each rank of a node
Trees = list[tuple[int | None, list[int]]]  # the parent of a rank and its children, in each tree
Step = tuple[int, int, int, bool, bool]  # other rank, tree, segment, whether it is sent, whether it is reduced
FEW = 16  # further segments of a double tree take as long as these do, as the catalogue's formula has it


def chain_ps(p: int, n_bytes: float, into: Links, overhead: int) -> float:
    """Return the time of a chain: the first segment goes all the way, the others follow as fast as the slowest hop."""
    count, segment = cut(n_bytes)
    way, step = 0.0, overhead * min(p - 1, 2)
    for rank in range(1, p):
        latency, beta = into[rank % len(into)]
        way += latency + 2 * overhead + segment * beta
        step = max(step, segment * beta)
    return way + (count - 1) * step


def ring_ps(p: int, n_bytes: float, into: Links, overhead: int, gamma: int) -> float:
    """Return the time of a segmented ring: each rank takes segment after segment, and passes each on at once."""
    count, segment = cut(n_bytes / p)
    places = range(len(into))
    now, port = [0.0 for _ in places], [0.0 for _ in places]
    came = [[0.0] * count for _ in places]
    for step in range(-1, 2 * p - 2):
        then = [[0.0] * count for _ in places]
        for place in places:
            right = (place + 1) % len(into)
            latency, beta = into[right]
            for number in range(count):
                if step >= 0:
                    now[place] = max(now[place], came[place][number]) + overhead + segment * gamma * (step < p - 1)
                if step < 2 * p - 3:
                    now[place] += overhead
                    port[place] = max(port[place], now[place]) + segment * beta
                    then[right][number] = port[place] + latency
        came = then
    return max(now)


def double_tree_ps(
    trees: Sequence[Trees], n_items: int, itemsize: int, links: tuple[Link, Link, int], overhead: int, gamma: int
) -> float:
    """Return the time of a double tree, in which each half of the array has its tree.

    links: between nodes, inside of a node, and how many ranks a node has.
    """
    count, _ = cut(n_items // 2 * itemsize)
    size, longer = divmod(n_items // 2, count)
    sizes = [itemsize * (size + (number < longer)) for number in range(count)]
    if count <= 2 * FEW:
        return played_ps(trees, sizes, links, overhead, gamma)
    few, more = (played_ps(trees, sizes[:some], links, overhead, gamma) for some in (FEW, 2 * FEW))
    return more + (more - few) * (count - 2 * FEW) / FEW


def played_ps(
    trees: Sequence[Trees], sizes: Sequence[int], links: tuple[Link, Link, int], overhead: int, gamma: int
) -> float:
    """Return the time in which segments of these bytes have gone up and down both trees.

    A message takes its turn at the out-port of its sender, and a latency later at the in-port of its receiver. Those
    that come to a port first take it first.
    """
    far, near, per_node = links
    ranks = range(len(trees))
    now, out_port, in_port = ([0.0 for _ in ranks] for _ in range(3))
    came: defaultdict[tuple[int, int, int], deque[float]] = defaultdict(deque)  # by receiver, sender and tree
    coming: list[tuple[float, int, int, int, int, float]] = []  # when, sender, its number; receiver, tree, transfer

    def play(rank: int) -> Iterator[None]:
        for number, (other, tree, segment, is_sent, is_reduced) in enumerate(steps_of(trees[rank], len(sizes))):
            if is_sent:
                now[rank] += overhead
                latency, beta = near if rank // per_node == other // per_node else far
                begin = max(out_port[rank], now[rank])
                out_port[rank] = begin + sizes[segment] * beta
                heappush(coming, (begin + latency, rank, number, other, tree, sizes[segment] * beta))
            else:
                while not came[rank, other, tree]:
                    yield
                now[rank] = max(now[rank], came[rank, other, tree].popleft()) + overhead
                now[rank] += sizes[segment] * gamma * is_reduced

    playing = [play(rank) for rank in ranks]
    for each in playing:
        next(each, None)
    while coming:
        time, sender, _, receiver, tree, transfer = heappop(coming)
        in_port[receiver] = max(in_port[receiver], time) + transfer
        came[receiver, sender, tree].append(in_port[receiver])
        next(playing[receiver], None)
    return max(now)


def steps_of(trees: Trees, count: int) -> Iterator[Step]:
    """Yield what a rank does with each segment: first where it is a leaf, and on the way down first where it is not."""
    for tree, segment in in_turn(count, [bool(children) for _, children in trees]):
        parent, children = trees[tree]
        yield from ((child, tree, segment, False, True) for child in children)
        if parent is not None:
            yield parent, tree, segment, True, False
    for tree, segment in in_turn(count, [not children for _, children in trees]):
        parent, children = trees[tree]
        if parent is not None:
            yield parent, tree, segment, False, False
        yield from ((child, tree, segment, True, False) for child in children)


def in_turn(count: int, is_late: list[bool]) -> list[tuple[int, int]]:
    """Return (tree, segment) of all segments, the trees in turn unless one is late."""
    return sorted(((tree, segment) for segment in range(count) for tree in (0, 1)), key=lambda each: is_late[each[0]])


def cut(n_bytes: float) -> tuple[int, float]:
    """Return the number of segments and the bytes of each."""
    count = max(1, -int(-n_bytes // SEGMENT_BYTES))
    return count, n_bytes / count
