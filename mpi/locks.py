"""The locks of a window's memory: one rank alone, or several together, in the order in which they ask."""

from __future__ import annotations

from collections import deque
from typing import Any

from mpi.errors import ERR_RMA_SYNC, wrong
from ranks.messages.operation import Work


class Locks:
    """Who holds the locks of one rank's memory, and who waits for them.

    holders:  The states of the ranks that hold one; `alone` says whether it is only one.
    waiting:  The ranks that wait: their work, and whether they want to be alone.
    """

    def __init__(self) -> None:
        self.holders: list[Any] = []
        self.alone = False
        self.waiting: deque[tuple[Work, bool]] = deque()

    def acquires(self, c: Any, alone: bool, *, blocking: bool) -> bool:
        """Return whether the calling rank holds a lock now; if it may block, it waits for it."""
        state = c._state
        if state in self.holders:
            raise wrong(ERR_RMA_SYNC, "a second Lock of the same memory", "one at a time", "Unlock it first")
        if self.waiting or not self._fits(alone):
            if not blocking:
                return False
            work = Work("Lock", state, c._box, None)
            work.holders = self.holders
            self.waiting.append((work, alone))
            work.waiting = 1
            state.scheduler.park_for(state, (work,))
            state.now = max(state.now, work.ready_ps or 0)
        else:
            self._hold(state, alone)
        return True

    def release(self, c: Any) -> None:
        """Let go of the calling rank's lock, and give it to those that wait."""
        state = c._state
        if not self.is_held(c):
            raise wrong(ERR_RMA_SYNC, "an Unlock without a Lock", "the end of an epoch", "Lock the memory first")
        self.holders.remove(state)
        while self.waiting and self._fits(self.waiting[0][1]):
            work, alone = self.waiting.popleft()
            self._hold(work.state, alone)
            work.complete(max(state.now, work.state.now))

    def is_held(self, c: Any) -> bool:
        """Return whether the calling rank holds a lock."""
        return c._state in self.holders

    def _fits(self, alone: bool) -> bool:
        return not self.holders or not (alone or self.alone)

    def _hold(self, state: Any, alone: bool) -> None:
        self.holders.append(state)
        self.alone = alone
