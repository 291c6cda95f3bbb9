"""Random programs without wildcards, and what MPI says of them, found by matching alone: no clock, no scheduler."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import strategies as st

import ranks

SMALL, LARGE = 1, 100  # elements; 8 and 800 bytes lie on both sides of the limit, and two sizes beside it
EAGER_LIMIT = 64
SIZES = (SMALL, 8, 9, LARGE)
NETWORKS = (
    ranks.Network(name="plain", inter=ranks.Link(1000, 10), ports=False, eager_limit=EAGER_LIMIT),
    ranks.Network(name="ports", inter=ranks.Link(500, 9000), overhead_ps=70, eager_limit=EAGER_LIMIT),
    ranks.Network(
        name="nodes", inter=ranks.Link(5000, 100), intra=ranks.Link(10, 1), itself=ranks.Link(0, 0),
        ranks_per_node=2, shared_node_port=True, jitter_ps=4000, eager_limit=EAGER_LIMIT,
    ),
    ranks.Network(name="free", inter=ranks.Link(0, 0), eager_limit=EAGER_LIMIT),
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """One call of one rank: Send, Ssend, Isend, Issend, Recv, Irecv, or Wait for the rank's oldest open request."""

    call: str
    peer: int = 0
    tag: int = 0
    comm: int = 0
    size: int = SMALL
    content: int = 0


@st.composite
def programs(draw: Any) -> list[list[Op]]:
    """Draw a program: a list of calls per rank, made of messages whose two sides are moved about a little."""
    p = draw(st.integers(1, 4))
    keyed: list[list[tuple[int, int, Op]]] = [[] for _ in range(p)]
    rank, shift = st.integers(0, p - 1), st.integers(0, 3)
    for number in range(draw(st.integers(0, 7))):
        source, dest, tag = draw(rank), draw(rank), draw(st.integers(0, 1))
        comm, size = draw(st.integers(0, 1)), draw(st.sampled_from(SIZES))
        wanted = draw(st.sampled_from([tag, tag, tag, ranks.ANY_TAG, 1 - tag]))
        send = Op(draw(st.sampled_from(["Send", "Ssend", "Isend", "Issend"])), dest, tag, comm, size, number)
        receive = Op(draw(st.sampled_from(["Recv", "Irecv"])), source, wanted, comm)
        for who, op in ((source, send), (dest, receive)):
            keyed[who].append((2 * number + draw(shift), number, op))
            if op.call.startswith("I"):
                keyed[who].append((2 * number + 1 + draw(shift), number, Op("Wait")))
    calls = [[op for *_, op in sorted(entries, key=lambda entry: entry[:2])] for entries in keyed]
    for ops in calls:  # a Wait may come before the request that it was drawn for: the end waits for what is left
        ops += [Op("Wait")] * sum(op.call.startswith("I") for op in ops)
    return calls


def play(comm: Any, calls: list[list[Op]]) -> list[int]:
    """Run one rank's calls on `comm`; return the contents received, in the order in which receives were posted."""
    comms = (comm, comm.Dup())
    buffers, requests = [], []
    for op in calls[comm.rank]:
        if op.call == "Wait":
            if requests:
                requests.pop(0).Wait()
        elif op.call in ("Recv", "Irecv"):
            buffers.append(np.full(LARGE, -1))
            request = getattr(comms[op.comm], op.call)(buffers[-1], op.peer, op.tag)
        else:
            request = getattr(comms[op.comm], op.call)(np.full(op.size, op.content), op.peer, op.tag)
        if op.call.startswith("I"):
            requests.append(request)
    return [int(buffer[0]) for buffer in buffers]


class Side:
    """A posted send or receive, and the side it is matched with."""

    def __init__(self, op: Op, rank: int, buffered: bool) -> None:
        self.op, self.rank, self.buffered, self.mate = op, rank, buffered, None

    def is_done(self) -> bool:
        return self.buffered or self.mate is not None


class Oracle:
    """What becomes of a program: `received` by rank, `blocked` {rank: the rank it waits for}, `left` over messages."""

    def __init__(self, calls: list[list[Op]], buffering: str) -> None:
        self.calls, self.limit = calls, {"none": -1, "eager": EAGER_LIMIT, "infinite": 10**9}[buffering]
        self.sends: dict[Any, list[Side]] = defaultdict(list)
        self.receives: dict[Any, list[Side]] = defaultdict(list)
        self.posted: list[list[Side]] = [[] for _ in calls]
        self.open: list[list[Side]] = [[] for _ in calls]
        self.place, self.waits = [0] * len(calls), [None] * len(calls)
        while any(self._advance(rank) for rank in range(len(calls))):
            pass
        self.blocked = {rank: side.op.peer for rank, side in enumerate(self.waits) if side is not None}
        self.left = [s for sides in self.sends.values() for s in sides if s.mate is None]
        self.received = [[s.mate.op.content for s in sides if "ecv" in s.op.call and s.mate] for sides in self.posted]

    def _advance(self, rank: int) -> bool:
        """Let a rank make one step if it can."""
        side = self.waits[rank]
        if side is not None:
            self.waits[rank] = None if side.is_done() else side
            return side.is_done()
        if self.place[rank] == len(self.calls[rank]):
            return False
        op = self.calls[rank][self.place[rank]]
        self.place[rank] += 1
        if op.call == "Wait":
            self.waits[rank] = self.open[rank].pop(0) if self.open[rank] else None
            return True
        side = self._post(op, rank)
        if op.call.startswith("I"):
            self.open[rank].append(side)
        else:
            self.waits[rank] = side
        return True

    def _post(self, op: Op, rank: int) -> Side:
        side = Side(op, rank, op.call in ("Send", "Isend") and 8 * op.size <= self.limit)
        self.posted[rank].append(side)
        if "ecv" in op.call:
            channel = (op.peer, rank, op.comm)
            others, mine = self.sends[channel], self.receives[channel]
        else:
            channel = (rank, op.peer, op.comm)
            others, mine = self.receives[channel], self.sends[channel]
        mine.append(side)
        for other in others:
            tags = {op.tag, other.op.tag}
            if other.mate is None and (len(tags) == 1 or ranks.ANY_TAG in tags):
                side.mate, other.mate = other, side
                break
        return side


def blocks_itself(members: set[int], blocked: dict[int, int]) -> bool:
    """Return whether each member waits for a member, or for a rank that has returned."""
    return all(blocked[rank] in members or blocked[rank] not in blocked for rank in members)


def smallest_cores(blocked: dict[int, int]) -> list[set[int]]:
    """Return every set of blocked ranks that blocks itself and has no smaller one inside; by trying all."""
    found: list[set[int]] = []
    for n in range(1, len(blocked) + 1):
        for members in map(set, combinations(blocked, n)):
            if blocks_itself(members, blocked) and not any(core <= members for core in found):
                found.append(members)
    return found
