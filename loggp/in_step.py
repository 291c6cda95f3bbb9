"""The clocks of all ranks of a schedule, round by round: a round of a million ranks is a few operations on arrays.

Ports serve messages first come first served. All ranks can play a round before any plays the next one as long as no
message comes to a port before one of an earlier round does, or as long as it leaves the port before that one comes.
Where a message delays one that was played already, nothing is known: `windows.py` plays such schedules.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from loggp.clocks import Clocks
from loggp.machine import Machine
from loggp.patience import give_up_if_past
from loggp.rounds import NOBODY, Array, Moves, Rounds

# So many ranks play a round before others do: their arrays stay in the cache.
_AT_ONCE = 1 << 15


class OutOfStepError(Exception):
    """Ranks cannot play a schedule round by round."""


class _Asking(NamedTuple):
    """Messages that ask for ports, each for its own one: when, by whom they are sent, and how long they fill it."""

    port: Any
    source: Array
    time_ps: Array
    transfer_ps: Array | int


class _Ports:
    """Ports of ranks, and behind these of nodes.

    free_ps:           When each port is free again.
    asked_ps, source:  When the last message asked for it, and who sent that message.
    begins_ps, ends_ps: By message and port, when the message filled the port. They are kept for ports that receive for
                       one rank, which then waits for its messages in the order of rounds.
    """

    def __init__(self, n_ports: int, n_messages: int = 0) -> None:
        self.free_ps, self.asked_ps, self.source = np.zeros(n_ports, np.int64), *np.full((2, n_ports), NOBODY)
        self.begins_ps, self.ends_ps = np.zeros((2, n_messages, n_ports), np.int64)
        self.numbers = np.arange(n_ports)

    def take(self, asking: _Asking, number: int) -> Array:
        """Return when messages begin to fill their ports; each is the message of its port that has this number."""
        port, source, time_ps, transfer_ps = asking
        asked_ps = self.asked_ps[port]
        if (time_ps <= asked_ps).any():
            early = (time_ps < asked_ps) | (time_ps == asked_ps) & (source < self.source[port])
            if early.any():
                return self._take_partly_early(asking, number, early)
        self.asked_ps[port], self.source[port] = time_ps, source
        begin_ps: Array = np.maximum(time_ps, self.free_ps[port])
        self.free_ps[port] = end_ps = begin_ps + transfer_ps
        if self.begins_ps.size:
            self.begins_ps[number, port], self.ends_ps[number, port] = begin_ps, end_ps
        return begin_ps

    def _take_partly_early(self, asking: _Asking, number: int, early: Array) -> Array:
        """Do as `take`, where some messages come before one that has filled the port already."""
        if not self.begins_ps.size:
            raise OutOfStepError
        columns = (self.numbers[asking.port], *(np.broadcast_to(column, early.shape) for column in asking[1:]))
        begin_ps = asking.time_ps.copy()
        # A message that fills no port delays no other, and its receiver does not wait for it: it is there when the
        # receiver has the message of the round before.
        gets_between = early & (columns[-1] > 0)
        for chosen, take in ((~early, self.take), (gets_between, self._take_between)):
            begin_ps[chosen] = take(_Asking(*(column[chosen] for column in columns)), number)
        return begin_ps

    def _take_between(self, asking: _Asking, number: int) -> Array:
        """Return when messages begin to fill their ports, if they leave these before any message that comes later."""
        port, _, time_ps, transfer_ps = asking
        begins_ps, ends_ps = self.begins_ps[:number, port], self.ends_ps[:number, port]
        is_before = begins_ps < time_ps
        begin_ps: Array = np.maximum(time_ps, np.where(is_before, ends_ps, 0).max(axis=0))
        end_ps = begin_ps + transfer_ps
        if not (is_before | (begins_ps >= end_ps)).all():
            raise OutOfStepError
        self.begins_ps[number, port], self.ends_ps[number, port] = begin_ps, end_ps
        return begin_ps

    def take_in_turn(self, columns: list[Array], number: int) -> Array:
        """Return when messages begin to fill their ports; those of one port come in the order of time, then source."""
        port, source, time_ps, _ = columns
        order = np.lexsort((source, time_ps, port))
        starts = np.flatnonzero(np.diff(port[order], prepend=NOBODY))
        counts = np.diff(starts, append=order.size)
        begin_ps = np.empty_like(time_ps)
        for place in range(counts.max(initial=0)):
            turn = order[starts[counts > place] + place]
            begin_ps[turn] = self.take(_Asking(*(column[turn] for column in columns)), number + place)
        return begin_ps


class InStep(Clocks):
    """All ranks of a schedule, in the same round.

    left_ps:             When the last message of each rank that is not buffered has left.
    offered_ps, to:      By slot and rank, when the message of this round was ready, and to whom it goes.
    first_ps, transfer_ps: When its first byte is there, and how long the others take after it.
    chain:               The longest chain of messages that ends with one that a rank sends in this round.
    numbers:             Those of all ranks, and behind these of the ports of nodes.
    """

    def __init__(self, machine: Machine, rounds: Rounds) -> None:
        super().__init__(machine, rounds)
        if rounds.together or not rounds.waits:
            raise OutOfStepError
        self.numbers = np.arange(self.p + int(self.nodes.max()) + 1)
        n_ports, n_messages = self.numbers.size, rounds.n_rounds * rounds.width
        self.out_ports = _Ports(n_ports)
        self.in_ports = _Ports(n_ports, 0 if self.through_nodes or not self.network.ports else n_messages)
        self.left_ps, self.chain = np.zeros(self.p, np.int64), np.zeros(self.p, np.int32)
        self.offered_ps, self.first_ps, self.transfer_ps, self.to = np.empty((4, rounds.width, self.p), np.int64)
        # By round, the ranks that begin it.
        self.ready: list[list[Array]] = [[] for _ in range(rounds.n_rounds + 1)]

    def run(self) -> None:
        """Play all ranks to their ends."""
        self.ready[0] = np.array_split(self.numbers[: self.p], -(-self.p // _AT_ONCE))
        for number in range(self.rounds.n_rounds):
            ready, self.ready[number] = self.ready[number], []
            if self.through_nodes and ready:  # ranks that share ports play together
                ready = [np.sort(np.concatenate(ready))]
            playing = [(ranks, self.rounds.moves(ranks, number)) for ranks in ready]
            self.to.fill(NOBODY)
            for do in (self._offer, self._leave, self._arrive):
                for ranks, moves in playing:
                    do(ranks, moves, number * self.rounds.width)
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
            source, ready_ps = self.numbers[who], self.offered_ps[slot, who]
            meets = ~np.broadcast_to(self.all_buffered or self.machine.is_eager(n_bytes), to.shape)
            if not self.all_buffered:
                ready_ps = np.where(meets, np.maximum(ready_ps, self.now[to]), ready_ps)
            latency_ps, transfer_ps = self.link(source, to, n_bytes)
            leaving.append(_Asking(self._port(who, source, to), source, ready_ps, transfer_ps))
            prices.append((who, meets, latency_ps, transfer_ps))
        begin_ps = self._in_turn(self.out_ports, leaving, number)
        for slot, (who, meets, latency_ps, transfer_ps) in enumerate(prices):
            if not self.all_buffered:
                left_ps = np.where(meets, begin_ps[slot] + transfer_ps, 0)
                self.left_ps[who] = np.maximum(self.left_ps[who], left_ps)
            self.first_ps[slot, who] = begin_ps[slot] + latency_ps
            self.transfer_ps[slot, who] = transfer_ps

    def _arrive(self, ranks: Array, moves: Moves, number: int) -> None:
        """Let messages take their in-ports, and ranks end their round."""
        coming = []
        for slot, source in enumerate(moves.source):
            who, source, _ = _those_with(source, ranks, 0)
            dest = self.numbers[who]
            if (self.to[slot, source] != dest).any():
                raise OutOfStepError
            first_ps, transfer_ps = self.first_ps[slot, source], self.transfer_ps[slot, source]
            coming.append((who, _Asking(self._port(who, source, dest), source, first_ps, transfer_ps)))
        begin_ps = self._in_turn(self.in_ports, [asking for _, asking in coming], number)
        for (who, asking), begins_ps in zip(coming, begin_ps, strict=True):
            self.now[who] = np.maximum(self.now[who], begins_ps + asking.transfer_ps) + self.overhead_ps
            self.depth[who] = np.maximum(self.depth[who], self.chain[asking.source])
        everyone = _slice(ranks)
        if not self.all_buffered:
            self.now[everyone] = np.maximum(self.now[everyone], self.left_ps[everyone])
        if not (isinstance(moves.reduced, int) and moves.reduced == 0):
            self.now[everyone] += moves.times * self.reduction_ps(moves.reduced)

    def _port(self, who: Any, source: Array, dest: Array) -> Any:
        """Return the ports of `who`: their own, or those of their nodes if these are passed."""
        if not self.through_nodes:
            return who
        between = self.nodes[source] != self.nodes[dest]
        return np.where(between, self.p + self.nodes[who], self.numbers[who])

    def _in_turn(self, ports: _Ports, messages: list[_Asking], number: int) -> list[Array]:
        """Return when the messages of each slot begin to fill their ports; `number` is that of the first slot's."""
        if not (self.network.ports and messages):
            return [asking.time_ps for asking in messages]
        if not self.through_nodes and all(_all_later(*two) for two in pairwise(messages)):
            return [ports.take(asking, number + slot) for slot, asking in enumerate(messages)]
        joined: list[list[Array]] = [[], [], [], []]
        for port, source, time_ps, transfer_ps in messages:
            for column, part in zip(joined, (self.numbers[port], source, time_ps, transfer_ps), strict=True):
                column.append(np.broadcast_to(part, source.shape))
        begin_ps = ports.take_in_turn([np.concatenate(parts) for parts in joined], number)
        return np.split(begin_ps, np.cumsum([asking.source.size for asking in messages])[:-1])

    def _go_on(self, ranks: Array, then: Array | int) -> None:
        """Let ranks begin the rounds `then`."""
        if isinstance(then, int):
            self.ready[then].append(ranks)
            return
        for number in np.flatnonzero(np.bincount(then)).tolist():
            self.ready[number].append(ranks[then == number])


def _all_later(former: _Asking, latter: _Asking) -> bool:
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
