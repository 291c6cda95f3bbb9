"""Ports serve messages first come, first served; if several come at the same time, the lowest rank is served first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from loggp.rounds import NOBODY, Array


def serve_in_turn(free_ps: Array, port: Array, time_ps: Array, transfer_ps: Array) -> Array:
    """Return when messages begin to fill their ports. They are sorted by port, then by the time at which they come.

    free_ps: when each port is free again.
    """
    # A message begins when it is there, or when one before it was there and all from that one on have passed.
    passed_ps = np.cumsum(transfer_ps) - transfer_ps
    slack_ps, before = np.maximum(time_ps, free_ps[port]) - passed_ps, 1
    while (same := port[before:] == port[:-before]).any():
        known = slack_ps[before:]
        slack_ps[before:] = np.where(same, np.maximum(known, slack_ps[:-before]), known)
        before *= 2
    begin_ps: Array = slack_ps + passed_ps
    free_ps[port] = begin_ps + transfer_ps  # of several messages the last one counts
    return begin_ps


class OutOfStepError(Exception):
    """A message comes to a port before one that was served already, and delays that one."""


class Asking(NamedTuple):
    """Messages that ask for ports: for which, who sends them, when they come, and how long they fill the port."""

    port: Any
    source: Array
    time_ps: Array
    transfer_ps: Any

    def take(self, chosen: Array) -> Asking:
        """Return the chosen messages."""
        return Asking(*(column[chosen] for column in self))


class Ports:
    """Ports that serve one round after another, and at most `at_once` messages each in a round.

    free_ps:           When each port is free again.
    asked_ps, source:  When the last message asked for it, and who sent that message.
    begins_ps, ends_ps: By message and port, when the message filled the port. They are kept for n_rounds at ports that
                       receive for one rank, which has the messages of a round before it begins the next one. At other
                       ports no message may come before one of an earlier round.
    """

    def __init__(self, n_ports: int, at_once: int, n_rounds: int = 0) -> None:
        self.at_once = at_once
        self.free_ps, self.asked_ps, self.source = np.zeros(n_ports, np.int64), *np.full((2, n_ports), NOBODY)
        self.begins_ps, self.ends_ps = np.zeros((2, n_rounds * at_once, n_ports), np.int64)

    def serve(self, asking: Asking, number: int, slot: int = 0) -> Array:
        """Return when messages of a round begin to fill their ports; each message has a port of its own."""
        port, source, time_ps, transfer_ps = asking
        early = self._are_early(asking)
        if early is not None:
            numbers = np.arange(self.free_ps.size)[port]
            return self._serve_partly_early(asking._replace(port=numbers), early, number, slot)
        self.asked_ps[port], self.source[port] = time_ps, source
        begin_ps: Array = np.maximum(time_ps, self.free_ps[port])
        self.free_ps[port] = end_ps = begin_ps + transfer_ps
        self._note(number * self.at_once + slot, port, begin_ps, end_ps)
        return begin_ps

    def serve_in_turn(self, asking: Asking, number: int) -> Array:
        """Return when messages of a round begin to fill their ports; several may ask for the same port."""
        if self.at_once == 1:
            return self.serve(asking, number)
        early = self._are_early(asking)
        if early is not None:
            return self._serve_partly_early(asking, early, number, None)
        order = np.lexsort((asking.source, asking.time_ps, asking.port))
        port, source, time_ps, transfer_ps = asking.take(order)
        begin_ps = serve_in_turn(self.free_ps, port, time_ps, transfer_ps)
        self.asked_ps[port], self.source[port] = time_ps, source
        if self.begins_ps.size:
            place = np.arange(port.size) - np.searchsorted(port, port)
            self._note(number * self.at_once + place, port, begin_ps, begin_ps + transfer_ps)
        in_order = np.empty_like(begin_ps)
        in_order[order] = begin_ps
        return in_order

    def _note(self, message: Any, port: Any, begin_ps: Array, end_ps: Array) -> None:
        if self.begins_ps.size:
            self.begins_ps[message, port], self.ends_ps[message, port] = begin_ps, end_ps

    def _are_early(self, asking: Asking) -> Array | None:
        """Return which messages come before one of an earlier round; None if none does."""
        port, source, time_ps, _ = asking
        asked_ps = self.asked_ps[port]
        if (time_ps > asked_ps).all():
            return None
        early: Array = (time_ps < asked_ps) | (time_ps == asked_ps) & (source < self.source[port])
        return early if early.any() else None

    def _serve_partly_early(self, asking: Asking, early: Array, number: int, slot: int | None) -> Array:
        """Do what `serve` does when some messages come before one that was served already."""
        if not self.begins_ps.size:
            raise OutOfStepError
        asking = asking._replace(transfer_ps=np.broadcast_to(asking.transfer_ps, early.shape))
        begin_ps = asking.time_ps.copy()
        in_order = asking.take(~early)
        begin_ps[~early] = self.serve_in_turn(in_order, number) if slot is None else self.serve(in_order, number, slot)
        begin_ps[early] = self._serve_between(asking.take(early), number, slot)
        return begin_ps

    def _serve_between(self, asking: Asking, number: int, slot: int | None) -> Array:
        """Return when messages begin to fill their ports, if they leave these before any message that comes later."""
        port, _, time_ps, transfer_ps = asking
        if slot is None and np.unique(port).size < port.size:
            raise OutOfStepError
        so_far = (number + 1) * self.at_once
        begins_ps, ends_ps = self.begins_ps[:so_far, port], self.ends_ps[:so_far, port]
        is_before = begins_ps < time_ps
        begin_ps: Array = np.maximum(time_ps, np.where(is_before, ends_ps, 0).max(axis=0))
        end_ps = begin_ps + transfer_ps
        # If the next one begins later, the port was free: that one did not come before this message. A message without
        # bytes may really begin later, too, but its receiver has got the others by then, and does not wait for it.
        if not (is_before | (begins_ps >= end_ps)).all():
            raise OutOfStepError
        self._note(number * self.at_once + (self.at_once - 1 if slot is None else slot), port, begin_ps, end_ps)
        return begin_ps
