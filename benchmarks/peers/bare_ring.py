"""Our ring all-reduce over the barest Sendrecv there is: greenlets, two copies, a clock; nothing checked or matched.

What ranks that check, match, count and explain can come near to, but never beat, in Python.
"""

from collections import deque

import numpy as np
from greenlet import getcurrent, greenlet

from collectives import ring_allreduce as our_ring_allreduce
from peers import ALPHA_PS, BETA_PS_PER_BYTE, Array, timed

NAME = "bound: nothing checked"


def missing() -> str:
    """Return "": greenlets are here."""
    return ""


def ring_allreduce(data: Array, calls: int) -> tuple[float, Array]:
    """Return the seconds of `calls` all-reduces of the rows of `data`, and the last results."""
    return timed(NAME, _simulate, data, calls)


class _Rank:
    """What the ring asks of a communicator. Only its left neighbour sends to a rank, so it has one queue."""

    __slots__ = ("greenlet", "now", "queues", "rank", "ready", "size")

    def __init__(self, rank: int, queues: list[deque[tuple[int, Array]]], ready: deque[greenlet]) -> None:
        self.rank, self.size, self.queues, self.ready, self.now = rank, len(queues), queues, ready, 0

    def Sendrecv(
        self, sendbuf: Array, dest: int, sendtag: int, recvbuf: Array, source: int, recvtag: int
    ) -> None:  # fmt: skip
        self.queues[dest].append((self.now + ALPHA_PS + BETA_PS_PER_BYTE * sendbuf.nbytes, sendbuf.copy()))
        queue = self.queues[self.rank]
        while not queue:
            self.ready.append(self.greenlet)
            self.ready.popleft().switch()
        arrival, came = queue.popleft()
        recvbuf[...] = came
        if arrival > self.now:
            self.now = arrival


def _simulate(data: Array) -> tuple[Array, int]:
    hub = getcurrent()
    ready: deque[greenlet] = deque()
    queues: list[deque[tuple[int, Array]]] = [deque() for _ in data]
    comms = [_Rank(rank, queues, ready) for rank in range(len(data))]
    results = np.empty_like(data)

    def body(comm: _Rank) -> None:
        hub.switch()  # all are started from the hub, or each would be one deeper than the one before
        results[comm.rank] = our_ring_allreduce(comm, data[comm.rank])

    for comm in comms:
        comm.greenlet = greenlet(body)
        comm.greenlet.switch(comm)
    ready += [comm.greenlet for comm in comms]
    while ready:
        ready.popleft().switch()
    return results, max(comm.now for comm in comms)
