"""The clocks of all ranks of a schedule, round by round: a round of a million ranks is a few operations on arrays.

Ports serve messages first come first served. As long as no message comes to a port before one of an earlier round
does, all ranks can play a round before any plays the next one. Where one does, nothing is known: `windows.py` plays
such schedules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.clocks import Clocks
from collectives.costs import Machine
from collectives.patience import give_up_if_past
from collectives.rounds import NOBODY, Moves, Rounds

# So many ranks play a round before others do: their arrays stay in the cache.
_AT_ONCE = 1 << 15


class OutOfStepError(Exception):
    """Ranks cannot play a schedule round by round."""


class InStep(Clocks):
    """All ranks of a schedule, in the same round.

    out_free, in_free:   When the port of each rank is free again.
    asked_ps, came_ps:   When the last message asked for the out-port, or the in-port, of each rank.
    left_ps:             When the last message of each rank that is not buffered has left.
    offered_ps, to:      By slot and rank, when the message of this round was ready, and to whom it goes.
    first_ps, transfer_ps: When its first byte is there, and how long the others take after it.
    chain:               The longest chain of messages that ends with one that a rank sends in this round.
    """

    def __init__(self, machine: Machine, rounds: Rounds) -> None:
        super().__init__(machine, rounds)
        if rounds.together or not rounds.waits or self.through_nodes:  # the latter: ranks share ports
            raise OutOfStepError
        self.out_free, self.in_free, self.asked_ps, self.left_ps = np.zeros((4, self.p), np.int64)
        self.came_ps, self.ranks = np.full(self.p, NOBODY), np.arange(self.p)
        self.offered_ps, self.first_ps, self.transfer_ps, self.to = np.empty((4, rounds.width, self.p), np.int64)
        self.chain = np.zeros(self.p, np.int32)
        # By round, the ranks that begin it.
        self.ready: list[list[Array]] = [[] for _ in range(rounds.n_rounds + 1)]

    def run(self) -> None:
        """Play all ranks to their ends."""
        self.ready[0] = np.array_split(self.ranks, -(-self.p // _AT_ONCE))
        for number in range(self.rounds.n_rounds):
            playing = [(ranks, self.rounds.moves(ranks, number)) for ranks in self.ready[number]]
            self.ready[number] = []
            self.to.fill(NOBODY)
            for do in (self._offer, self._leave, self._arrive):
                for ranks, moves in playing:
                    do(ranks, moves)
            for ranks, moves in playing:
                self._go_on(ranks, number + 1 if moves.then is None else moves.then)
            give_up_if_past(int(self.now.min()))  # up to there, nothing can come any more

    def _offer(self, ranks: Array, moves: Moves) -> None:
        """Let ranks offer their messages."""
        if moves.sent_in is not None or moves.slots is not None:
            raise OutOfStepError
        everyone = _slice(ranks)
        self.chain[everyone] = self.depth[everyone] + 1
        for slot, (to, n_bytes) in enumerate(zip(moves.to, moves.n_bytes, strict=True)):
            who, to, n_bytes = _those_with(to, ranks, n_bytes)
            self.now[who] += self.overhead_ps
            self.offered_ps[slot, who] = self.now[who]
            self.sends[who] += 1
            self.bytes_sent[who] += n_bytes
            self.to[slot, who] = to

    def _leave(self, ranks: Array, moves: Moves) -> None:
        """Let messages take their out-ports: at once, or if they are not buffered when their receivers are ready."""
        for slot, (to, n_bytes) in enumerate(zip(moves.to, moves.n_bytes, strict=True)):
            who, to, n_bytes = _those_with(to, ranks, n_bytes)
            latency_ps, transfer_ps = self.link(self.ranks[who], to, n_bytes)
            begin_ps = self.offered_ps[slot, who]
            if not self.all_buffered:
                meets = ~np.broadcast_to(self.is_eager(n_bytes), to.shape)
                begin_ps = np.where(meets, np.maximum(begin_ps, self.now[to]), begin_ps)
                if self.network.ports and (begin_ps < self.asked_ps[who]).any():
                    raise OutOfStepError
                self.asked_ps[who] = begin_ps
            if self.network.ports:
                begin_ps = np.maximum(begin_ps, self.out_free[who])
                self.out_free[who] = begin_ps + transfer_ps
            if not self.all_buffered:
                self.left_ps[who] = np.maximum(self.left_ps[who], np.where(meets, begin_ps + transfer_ps, 0))
            self.first_ps[slot, who] = begin_ps + latency_ps
            self.transfer_ps[slot, who] = transfer_ps

    def _arrive(self, ranks: Array, moves: Moves) -> None:
        """Let messages take their in-ports, and ranks end their round."""
        coming = [_those_with(source, ranks, 0)[:2] for source in moves.source]
        for slot, (who, source) in enumerate(coming):
            if (self.to[slot, source] != self.ranks[who]).any():
                raise OutOfStepError
        arrivals_ps = self._in_turn(ranks, coming)
        for (who, source), arrival_ps in zip(coming, arrivals_ps, strict=True):
            self.now[who] = np.maximum(self.now[who], arrival_ps) + self.overhead_ps
            self.depth[who] = np.maximum(self.depth[who], self.chain[source])
        everyone = _slice(ranks)
        if not self.all_buffered:
            self.now[everyone] = np.maximum(self.now[everyone], self.left_ps[everyone])
        if not (isinstance(moves.reduced, int) and moves.reduced == 0):
            self.now[everyone] += moves.times * self.reduction_ps(moves.reduced)

    def _in_turn(self, ranks: Array, coming: list[tuple[Any, Array]]) -> list[Array]:
        """Return when the messages of each slot are there."""
        sources = [source for _, source in coming]
        asks = [(self.first_ps[slot, each], self.transfer_ps[slot, each]) for slot, each in enumerate(sources)]
        if not self.network.ports:
            return [first_ps + transfer_ps for first_ps, transfer_ps in asks]
        if len(coming) > 1 and all(each.size == ranks.size for each in sources):
            first_ps, transfer_ps = (np.array(column) for column in zip(*asks, strict=True))
            if (first_ps[1:] <= first_ps[:-1]).any():
                return self._sorted(coming[0][0], np.array(sources), first_ps, transfer_ps)
        return [self._take(who, *ask) for (who, _), ask in zip(coming, asks, strict=True)]

    def _sorted(self, who: Any, sources: Array, first_ps: Array, transfer_ps: Array) -> list[Array]:
        """Return when messages are there that do not come in the order of their slots; ties go by source."""
        order = np.lexsort((sources, first_ps), axis=0)
        turns = (np.take_along_axis(times, order, 0) for times in (first_ps, transfer_ps))
        arrivals_ps = [self._take(who, *ask, after=turn > 0) for turn, ask in enumerate(zip(*turns, strict=True))]
        found = np.empty_like(first_ps)
        np.put_along_axis(found, order, np.array(arrivals_ps), 0)
        return list(found)

    def _take(self, who: Any, first_ps: Array, transfer_ps: Array, *, after: bool = False) -> Array:
        """Return when messages are there, one for each in-port; after: a tie with the last one is in order."""
        came_ps = self.came_ps[who]
        if (first_ps < came_ps if after else first_ps <= came_ps).any():
            raise OutOfStepError
        self.came_ps[who] = first_ps
        arrival_ps: Array = np.maximum(first_ps, self.in_free[who])
        arrival_ps += transfer_ps
        self.in_free[who] = arrival_ps
        return arrival_ps

    def _go_on(self, ranks: Array, then: Array | int) -> None:
        """Let ranks begin the rounds `then`."""
        if isinstance(then, int):
            self.ready[then].append(ranks)
            return
        for number in np.flatnonzero(np.bincount(then)).tolist():
            self.ready[number].append(ranks[then == number])


def _slice(ranks: Array) -> Any:
    """Return an index of ascending ranks: a slice if none is left out between them."""
    first, last = ranks[0], ranks[-1]
    return slice(first, last + 1) if last - first == ranks.size - 1 else ranks


def _those_with(other: Array, ranks: Array, n_bytes: Array | int) -> tuple[Any, Array, Any]:
    """Return an index of the ranks that have another one, and that, and their bytes."""
    there = other != NOBODY
    if there.all():
        return _slice(ranks), other, n_bytes
    return ranks[there], other[there], n_bytes[there] if isinstance(n_bytes, np.ndarray) else n_bytes
