"""The CPU time that ranks take, charged to their virtual clocks."""

from __future__ import annotations

from time import thread_time_ns
from typing import Any

from ranks.messages.message import Message
from ranks.messages.observer import Observer
from ranks.messages.rank import RankState

_PS_PER_NS = 1000


class MeasuredCompute(Observer):
    """Charges what a rank computes between its calls of MPI, times a factor.

    since_ns:  Since this CPU time the rank that runs computes for itself.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.since_ns = thread_time_ns()

    def charge(self, state: Any) -> None:
        """Charge what the rank that runs has computed so far."""
        now_ns = thread_time_ns()
        state.now += round((now_ns - self.since_ns) * _PS_PER_NS * self.factor)
        self.since_ns = now_ns

    def goes_on(self) -> None:
        """Note that a rank computes from now on."""
        self.since_ns = thread_time_ns()

    def before_call(self, state: RankState, *, sends: bool) -> None:
        """Charge the rank that is about to communicate."""
        self.charge(state)

    def sent(self, message: Message) -> None:
        """Leave out what sending took here."""
        self.goes_on()

    def received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Leave out what receiving took here."""
        self.goes_on()
