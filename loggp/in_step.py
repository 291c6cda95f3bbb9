"""The clocks of all ranks of a schedule, round by round: a round of a million ranks is a few operations on arrays.

Ports serve messages first come first served. All ranks can play a round before any plays the next one as long as no
message comes to a port before one of an earlier round does, or as long as it leaves the port before that one comes.
If a message delays one that was played already, this player gives up, and `windows.py` plays the schedule.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from loggp.clocks import Clocks
from loggp.machine import Machine
from loggp.patience import give_up_if_past
from loggp.ports import Asking, OutOfStepError, Ports
from loggp.rounds import NOBODY, Array, Moves, Rounds

# So many ranks play a round before others do: their arrays stay in the cache.
_AT_ONCE = 1 << 15


class InStep(Clocks):
    """All ranks of a schedule, in the same round.

    left_ps:             When the last message of each rank that is not buffered has left.
    offered_ps, to:      By slot and rank, when the message of this round was ready, and to whom it goes.
    first_ps, transfer_ps: When its first byte is there, and how long the others take after it.
    chain:               The longest chain of messages that ends with one that a rank sends in this round.
    numbers:             The numbers of all ranks.
    """

    def __init__(self, machine: Machine, rounds: Rounds) -> None:
        super().__init__(machine, rounds)
        if rounds.together or not rounds.waits:
            raise OutOfStepError
        self.numbers, width = np.arange(self.p), rounds.width
        self.out_ports, self.in_ports = [Ports(self.p, width)], [Ports(self.p, width, rounds.n_rounds)]
        if self.through_nodes:
            sharing = np.bincount(self.nodes)
            for ports in (self.out_ports, self.in_ports):
                ports.append(Ports(sharing.size, width * int(sharing.max())))
        self.left_ps, self.chain = np.zeros(self.p, np.int64), np.zeros(self.p, np.int32)
        self.offered_ps, self.first_ps, self.transfer_ps, self.to = np.empty((4, rounds.width, self.p), np.int64)
        # By round, the ranks that begin it.
        self.ready: list[list[Array]] = [[] for _ in range(rounds.n_rounds + 1)]

    def run(self) -> None:
        """Play all ranks to their ends."""
        self.ready[0] = np.array_split(self.numbers, -(-self.p // _AT_ONCE))
        for number in range(self.rounds.n_rounds):
            ready, self.ready[number] = self.ready[number], []
            if self.through_nodes and ready:  # ranks that share ports play together
                ready = [np.sort(np.concatenate(ready))]
            playing = [(ranks, self.rounds.moves(ranks, number)) for ranks in ready]
            self.to.fill(NOBODY)
            for do in (self._offer, self._leave, self._arrive):
                for ranks, moves in playing:
                    do(ranks, moves, number)
            for ranks, moves in playing:
                self._go_on(ranks, number + 1 if moves.then is None else moves.then)
            give_up_if_past(int(self.now.min()))  # up to there, nothing can come any more

    def _offer(self, ranks: Array, moves: Moves, _: int) -> None:
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

    def _leave(self, ranks: Array, moves: Moves, number: int) -> None:
        """Let messages take their out-ports: at once, or if they are not buffered when their receivers are ready."""
        leaving, prices = [], []
        for slot, (to, n_bytes) in enumerate(zip(moves.to, moves.n_bytes, strict=True)):
            who, to, n_bytes = _those_with(to, ranks, n_bytes)
            source, ready_ps, buffered = self.numbers[who], self.offered_ps[slot, who], self.all_buffered
            if not buffered:
                buffered = self.machine.is_eager(n_bytes)
                ready_ps = np.where(buffered, ready_ps, np.maximum(ready_ps, self.now[to]))
            latency_ps, transfer_ps = self.link(source, to, n_bytes)
            leaving.append((Asking(who, source, ready_ps, transfer_ps), to))
            prices.append((buffered, latency_ps))
        begins_ps = self._serve(self.out_ports, leaving, number)
        for slot, ((asking, _), (buffered, latency_ps), begin_ps) in enumerate(
            zip(leaving, prices, begins_ps, strict=True)
        ):
            who = asking.port
            if not self.all_buffered:
                left_ps = np.where(buffered, 0, begin_ps + asking.transfer_ps)
                self.left_ps[who] = np.maximum(self.left_ps[who], left_ps)
            self.first_ps[slot, who] = begin_ps + latency_ps
            self.transfer_ps[slot, who] = asking.transfer_ps

    def _arrive(self, ranks: Array, moves: Moves, number: int) -> None:
        """Let messages take their in-ports, and ranks end their round."""
        coming = []
        for slot, source in enumerate(moves.source):
            who, source, _ = _those_with(source, ranks, 0)
            dest = self.numbers[who]
            if (self.to[slot, source] != dest).any():
                raise OutOfStepError
            first_ps, transfer_ps = self.first_ps[slot, source], self.transfer_ps[slot, source]
            coming.append((Asking(who, source, first_ps, transfer_ps), dest))
        begins_ps = self._serve(self.in_ports, coming, number)
        for ((who, source, _, transfer_ps), _), begin_ps in zip(coming, begins_ps, strict=True):
            self.now[who] = np.maximum(self.now[who], begin_ps + transfer_ps) + self.overhead_ps
            self.depth[who] = np.maximum(self.depth[who], self.chain[source])
        everyone = _slice(ranks)
        if not self.all_buffered:
            self.now[everyone] = np.maximum(self.now[everyone], self.left_ps[everyone])
        if not (isinstance(moves.reduced, int) and moves.reduced == 0):
            self.now[everyone] += moves.times * self.reduction_ps(moves.reduced)

    def _serve(self, ports: list[Ports], messages: list[tuple[Asking, Array]], number: int) -> list[Array]:
        """Return when the messages of each slot, which have these destinations, begin to fill their ports."""
        all_asking = [asking for asking, _ in messages]
        if not (self.network.ports and messages):
            return [asking.time_ps for asking in all_asking]
        if not self.through_nodes and all(_all_later(*two) for two in pairwise(all_asking)):
            return [ports[0].serve(asking, number, slot) for slot, asking in enumerate(all_asking)]
        whole = [asking._replace(port=self.numbers[asking.port]) for asking in all_asking]
        whole = [asking._replace(transfer_ps=_of_each(asking.transfer_ps, asking.source)) for asking in whole]
        joined = Asking(*map(np.concatenate, zip(*whole, strict=True)))
        if not self.through_nodes:
            begin_ps = ports[0].serve_in_turn(joined, number)
        else:
            between = self.nodes[joined.source] != self.nodes[np.concatenate([dest for _, dest in messages])]
            through = joined._replace(port=self.nodes[joined.port])
            begin_ps = np.empty_like(joined.time_ps)
            for serving, asking, chosen in zip(ports, (joined, through), (~between, between), strict=True):
                if chosen.any():
                    begin_ps[chosen] = serving.serve_in_turn(asking.take(chosen), number)
        return np.split(begin_ps, np.cumsum([asking.source.size for asking in all_asking])[:-1])

    def _go_on(self, ranks: Array, then: Array | int) -> None:
        """Let ranks begin the rounds `then`."""
        if isinstance(then, int):
            self.ready[then].append(ranks)
            return
        for number in np.flatnonzero(np.bincount(then)).tolist():
            self.ready[number].append(ranks[then == number])


def _of_each(number: Any, ranks: Array) -> Array:
    return number if isinstance(number, np.ndarray) else np.full(ranks.size, number)


def _all_later(former: Asking, latter: Asking) -> bool:
    """Return whether messages of two slots ask for the same ports, and the latter ones later."""
    return former.time_ps.shape == latter.time_ps.shape and bool((former.time_ps < latter.time_ps).all())


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
