"""Times of the algorithms that cut arrays into segments: no sums of prices, since the number of segments grows.

In a chain and in a ring, each rank receives from one rank only, so messages never compete, and a few lines tell the
time. All nodes do the same, so the ranks of one node stand for all.
"""

from collectives.broadcast import SEGMENT_BYTES

Links = list[tuple[int, int]]  # latency and time of a byte on the way into each rank of a node


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


def cut(n_bytes: float) -> tuple[int, float]:
    """Return the number of segments and the bytes of each."""
    count = max(1, -int(-n_bytes // SEGMENT_BYTES))
    return count, n_bytes / count
