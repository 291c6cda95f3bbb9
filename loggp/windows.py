"""The clocks of all ranks of a schedule at once: a round of a million ranks is a few operations on arrays.

Ports serve messages first come first served, so what happens at a port depends on what comes there, and on nothing
else. The player takes the events of all ports in windows of time: a window ends before a message that
does not ask for a port yet can do so. It may end at different times for out-ports and for in-ports. Inside a window no
port influences another, so all are served at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from loggp.clocks import Clocks
from loggp.machine import Machine
from loggp.patience import give_up_if_past
from loggp.ports import serve_in_turn
from loggp.rounds import NOBODY, Array, Moves, Rounds

_UNKNOWN, _AWAITED = -1, -2  # instead of the arrival of a message
_NEVER = 1 << 62
_ONE = np.int32(1)  # of the type of what it is subtracted from: NumPy is 40 times as fast then


class _Events(NamedTuple):
    """Messages that ask for a port: when, which, from whom to whom, how long they take in it and to the other one.

    table: all other fields as its rows, so that events are chosen and joined at once.
    """

    table: Array
    time_ps: Array
    ids: Array
    source: Array
    dest: Array
    transfer_ps: Array
    latency_ps: Array
    buffered: Array

    @classmethod
    def of(cls, *columns: Any) -> _Events:
        """Return events whose columns are arrays, or one number for all."""
        table = np.empty((7, columns[0].size), np.int64)
        for row, column in zip(table, columns, strict=True):
            row[:] = column
        return cls(table, *table)

    def take(self, chosen: Array) -> _Events:
        """Return the chosen events."""
        if chosen.all():
            return self
        table = self.table.take(np.flatnonzero(chosen), axis=1)
        return _Events(table, *table)

    @classmethod
    def joined(cls, parts: list[_Events]) -> _Events:
        """Return all events of the parts."""
        table = np.concatenate([part.table for part in parts] or [np.zeros((7, 0), np.int64)], axis=1)
        return cls(table, *table)


class Windows(Clocks):
    """All ranks of a schedule. A message is known by a number, (round * width + slot) * p + source.

    at, then:     The round of each rank, and the one after it. missing: how many messages it waits for in it.
    arrival_ps:   By message, when it is there; _UNKNOWN, or _AWAITED if its receiver waits for it.
    met_ps:       By message that is not buffered, when the first of both sides was ready; _UNKNOWN before.
    backlog:      How many messages of a rank have yet to take its out-port; later ones wait behind them.
    left_ps:      When the last message of a rank has left, of those that it waits for.
    leaving, arriving: Messages that ask for an out-port, or an in-port. Behind the ports of ranks are those of nodes.
    """

    def __init__(self, machine: Machine, rounds: Rounds) -> None:
        super().__init__(machine, rounds)
        p = self.p
        self.left_ps, self.reduce_ps = np.zeros((2, p), np.int64)
        self.at, self.then, self.missing, self.backlog = np.zeros((4, p), np.int32)
        self.out_free, self.in_free, self.mark = np.zeros((3, p + int(self.nodes.max()) + 1), np.int64)
        n_messages = rounds.n_rounds * rounds.width * p
        self.arrival_ps, self.depths = np.full(n_messages, _UNKNOWN), np.zeros(n_messages, np.int32)
        self.met_ps, self.transfer_ps = np.full((2, 0 if self.all_buffered else n_messages), _UNKNOWN)
        self.coming = np.full((rounds.width, p), NOBODY)
        self.leaving: list[_Events] = []
        self.arriving: list[_Events] = []

    def run(self) -> None:
        """Play all ranks to their ends."""
        freed = self._go_on(np.arange(self.p if self.rounds.n_rounds else 0))
        while True:
            while freed.size:
                freed = self._go_on(self._finish(freed))
            if not (self.leaving or self.arriving):
                break
            freed = self._serve_window()
        stuck = np.flatnonzero(self.at < self.rounds.n_rounds)
        if stuck.size:
            awaited = self.coming[:, stuck[0]]
            awaited = awaited[(awaited != NOBODY) & (self.arrival_ps[awaited] == _AWAITED)]
            why = f"rank {awaited[0] % self.p} to send" if awaited.size else "its message to be received"
            others = f", and {stuck.size - 1} more wait" * (stuck.size > 1)
            raise ValueError(
                f"cost_of_rounds: got a schedule in which rank {stuck[0]} waits for ever in round {self.at[stuck[0]]} "
                f"for {why}{others}, expected every message to be sent and received; remedy: let `to` and `source` "
                "name each other in the same round, or let `sent_in` name the round of the message"
            )

    # -- ranks ---------------------------------------------------------------------------------------------------

    def _go_on(self, ready: Array) -> Array:
        """Let ranks begin their next rounds. Return those that wait for nothing there."""
        if not ready.size:
            return ready
        who: Any = slice(None) if ready.size == self.p else ready
        number, moves = self._moves(ready, self.at[who].astype(np.int64))
        width = self.rounds.width
        for slot, (to, n_bytes) in enumerate(zip(moves.to, moves.n_bytes, strict=True)):
            self._send(ready, (number * width + slot) * self.p + ready, to, n_bytes)
        sent_in = number if moves.sent_in is None else moves.sent_in
        for place, source in enumerate(moves.source):
            from_slot = place if moves.slots is None else moves.slots[place]
            ids = np.where(source == NOBODY, NOBODY, (sent_in * width + from_slot) * self.p + source)
            self.coming[place, who] = ids
            self._post(ready, ids)
        self.coming[len(moves.source) :, who] = NOBODY
        self.then[who] = number + 1 if moves.then is None else moves.then
        self.reduce_ps[who] = moves.times * self.reduction_ps(moves.reduced)
        waiting: Array = self.missing[who] > 0
        return ready[~waiting] if waiting.any() else ready

    def _moves(self, ready: Array, numbers: Array) -> tuple[Any, Moves]:
        """Return what ranks do in their rounds, and the numbers of these: one if it is the same for all."""
        if self.rounds.together:
            return numbers, self.rounds.moves(ready, numbers)
        different = np.flatnonzero(np.bincount(numbers)).tolist()
        if len(different) == 1:
            return different[0], self.rounds.moves(ready, different[0])
        to, source, n_bytes, slots = np.full((4, self.rounds.width, ready.size), NOBODY)
        reduced, times, sent_in, then = np.empty((4, ready.size), np.int64)
        for number in different:
            chosen = numbers == number
            moves = self.rounds.moves(ready[chosen], number)
            from_slots = range(len(moves.source)) if moves.slots is None else moves.slots
            for table, rows in ((to, moves.to), (source, moves.source), (n_bytes, moves.n_bytes), (slots, from_slots)):
                for row, each in zip(table, rows, strict=False):  # fewer messages than others have
                    row[chosen] = each
            reduced[chosen], times[chosen] = moves.reduced, moves.times
            sent_in[chosen] = number if moves.sent_in is None else moves.sent_in
            then[chosen] = number + 1 if moves.then is None else moves.then
        return numbers, Moves([*to], [*n_bytes], [*source], reduced, times, sent_in, [*slots], then)

    def _send(self, source: Array, ids: Array, dest: Array, n_bytes: Array | int) -> None:
        sends = dest != NOBODY
        if not sends.all():
            source, ids, dest = source[sends], ids[sends], dest[sends]
            n_bytes = n_bytes[sends] if isinstance(n_bytes, np.ndarray) else n_bytes
            if not ids.size:
                return
        who: Any = slice(None) if source.size == self.p else source
        offered = self.now[who] + self.overhead_ps
        self.now[who] = offered
        self.sends[who] += 1
        self.bytes_sent[who] += n_bytes
        self.depths[ids] = self.depth[who] + 1
        latency_ps, transfer_ps = self.link(source, dest, n_bytes)
        buffered = self.all_buffered or self.machine.is_eager(n_bytes)
        sent = _Events.of(offered, ids, source, dest, transfer_ps, latency_ps, buffered)
        buffered = sent.buffered != 0
        at_once = buffered if not self.through_nodes else buffered & (self.nodes[source] == self.nodes[dest])
        if not (self.all_buffered and not self.through_nodes):
            at_once = at_once & (self.backlog[who] == 0)
        if at_once.any():
            going = sent.take(at_once)
            self._depart(going, self._in_turn(self.out_free, going.source, going))
        if not at_once.all():
            sent = sent.take(~at_once)
            self.backlog[sent.source] += 1
            self._offer(sent)

    def _offer(self, sent: _Events) -> None:
        """Let messages wait for their turn, and those that are not buffered for their receivers."""
        if sent.buffered.any():
            self.leaving.append(sent.take(sent.buffered))
        if sent.buffered.all():
            return
        sent = sent.take(sent.buffered == 0)
        if self.rounds.waits:
            self.missing[sent.source] += 1
        posted = self.met_ps[sent.ids]
        if (posted != _UNKNOWN).any():
            meeting = sent.take(posted != _UNKNOWN)
            posted = posted[posted != _UNKNOWN]
            self.leaving.append(_Events.of(np.maximum(meeting.time_ps, posted), *meeting.table[1:]))
        alone = sent.take(self.met_ps[sent.ids] == _UNKNOWN)
        self.met_ps[alone.ids], self.transfer_ps[alone.ids] = alone.time_ps, alone.transfer_ps

    def _post(self, ready: Array, ids: Array) -> None:
        """Let ranks wait for messages, unless these are there already."""
        waits = (ids != NOBODY) & (self.arrival_ps[ids] == _UNKNOWN)
        dest, ids = (ready, ids) if waits.all() else (ready[waits], ids[waits])
        self.arrival_ps[ids] = _AWAITED
        self.missing[dest] += 1
        if self.all_buffered:
            return
        posted, offered = self.now[dest], self.met_ps[ids]
        self.met_ps[ids] = posted
        meets = offered != _UNKNOWN
        if meets.any():
            ids, dest, time_ps = ids[meets], dest[meets], np.maximum(posted, offered)[meets]
            source, transfer_ps = ids % self.p, self.transfer_ps[ids]
            latency_ps, _ = self.link(source, dest, 0)
            self.leaving.append(_Events.of(time_ps, ids, source, dest, transfer_ps, latency_ps, False))

    def _finish(self, ready: Array) -> Array:
        """Let ranks that have what they waited for end their round. Return those that have another one."""
        who: Any = slice(None) if ready.size == self.p else ready
        now, depth = self.now[who], self.depth[who]
        for ids in self.coming[:, who]:
            comes = ids != NOBODY
            if comes.any():
                now = np.where(comes, np.maximum(now, self.arrival_ps[ids]) + self.overhead_ps, now)
                depth = np.where(comes, np.maximum(depth, self.depths[ids]), depth)
        self.now[who] = np.maximum(now, self.left_ps[who]) + self.reduce_ps[who]
        self.depth[who] = depth
        self.at[who] = self.then[who]
        goes_on: Array = self.at[who] < self.rounds.n_rounds
        return ready if goes_on.all() else ready[goes_on]

    # -- ports ---------------------------------------------------------------------------------------------------

    def _serve_window(self) -> Array:
        """Serve the next window's messages at their ports. Return the ranks that wait for nothing any more."""
        leaving, arriving = _Events.joined(self.leaving), _Events.joined(self.arriving)
        freed, self.leaving, self.arriving = [], [], []
        for events, end_ps, waiting, serve in zip(
            (leaving, arriving), self._ends_ps(leaving, arriving), (self.leaving, self.arriving),
            (self._leave, self._arrive), strict=True,
        ):  # fmt: skip
            soon = events.time_ps < end_ps
            if not soon.all():
                waiting.append(events.take(~soon))
            if soon.any():
                freed.append(serve(events.take(soon)))
        ranks = np.concatenate(freed)
        ranks = ranks[self.missing[ranks] == 0]
        ranks = ranks[self._apart(ranks)]
        return np.arange(self.p) if ranks.size == self.p else ranks

    def _ends_ps(self, leaving: _Events, arriving: _Events) -> tuple[int, int]:
        """Return the ends of the window: by then messages not yet at hand may ask for out-ports, and for in-ports."""
        network, comes_ps = self.network, leaving.time_ps + leaving.latency_ps
        first_ps = min(_first(leaving.time_ps), _first(arriving.time_ps))
        give_up_if_past(first_ps)
        if not network.ports:
            return _NEVER, _NEVER
        # A rank that has a message may post a receive, which lets another leave, or send one; so may a rank whose own
        # message has left.
        has_ps = min(_first(arriving.time_ps + arriving.transfer_ps), _first(comes_ps + leaving.transfer_ps))
        left_ps = _first((leaving.time_ps + leaving.transfer_ps)[leaving.buffered == 0])
        out_end_ps = min(has_ps + (2 if self.all_buffered else 1) * self.overhead_ps, left_ps)
        in_end_ps = min(_first(comes_ps), out_end_ps + min(network.intra.latency_ps, network.inter.latency_ps))
        return max(out_end_ps, first_ps + 1), max(in_end_ps, first_ps + 1)

    def _leave(self, events: _Events) -> Array:
        """Let messages take their out-ports, in turn; return the ranks that may go on."""
        begin_ps = self._in_turn(self.out_free, events.source, events)
        np.subtract.at(self.backlog, events.source, _ONE)
        self._depart(events, begin_ps)
        waited = events.take(events.buffered == 0)
        source, left_ps = waited.source, (begin_ps + events.transfer_ps)[events.buffered == 0]
        if not self.rounds.waits:
            return np.arange(0)  # its receiver ends later than it leaves
        np.maximum.at(self.left_ps, source, left_ps)
        np.subtract.at(self.missing, source, _ONE)
        return source

    def _depart(self, events: _Events, begin_ps: Array) -> None:
        self.arriving.append(_Events.of(begin_ps + events.latency_ps, *events.table[1:]))

    def _arrive(self, events: _Events) -> Array:
        """Let messages take their in-ports, in turn; return the ranks that have waited for them."""
        arrival_ps = self._in_turn(self.in_free, events.dest, events) + events.transfer_ps
        dest: Array = events.dest[self.arrival_ps[events.ids] == _AWAITED]
        self.arrival_ps[events.ids] = arrival_ps
        np.subtract.at(self.missing, dest, _ONE)
        return dest

    def _in_turn(self, free: Array, end: Array, events: _Events) -> Array:
        """Return when messages begin to fill the ports of their `end`: first come first served, ties by source."""
        if not self.network.ports:
            return events.time_ps
        port = end
        if self.through_nodes:
            between = self.nodes[events.source] != self.nodes[events.dest]
            port = np.where(between, self.p + self.nodes[end], end)
        alone = self._apart(port)
        if alone.all():
            return serve_in_turn(free, port, events.time_ps, events.transfer_ps)
        self.mark[port[~alone]] = NOBODY
        alone = self.mark[port] != NOBODY
        lone, queue = np.flatnonzero(alone), np.flatnonzero(~alone)
        keys = (events.ids // self.p, events.source, events.time_ps, port)
        order = np.concatenate([lone, queue[np.lexsort([key[queue] for key in keys])]])
        begin_ps = np.empty_like(events.time_ps)
        begin_ps[order] = serve_in_turn(free, port[order], events.time_ps[order], events.transfer_ps[order])
        return begin_ps

    def _apart(self, numbers: Array) -> Array:
        """Return a mask that keeps each of the numbers, of ranks or ports, once."""
        places = np.arange(numbers.size)
        self.mark[numbers] = places
        kept: Array = self.mark[numbers] == places
        return kept


def _first(times_ps: Array) -> int:
    return int(times_ps.min(initial=_NEVER))
