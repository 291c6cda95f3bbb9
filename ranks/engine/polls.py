"""Polls: what a rank sees at its own time, how time passes in a loop of them, and when such a loop can never end.

A failed poll takes `poll_ps`. A rank whose polls fail, and which comes to the same state again with nothing happening
in between (`fingerprint.py`), goes on in the same way until something happens. The loop is let pass in one step of
whole rounds until then, so it ends at the virtual time at which it would have ended anyway. If nothing can come any
more, it never ends. So it is with a loop that has no condition but its polls (`loops.py`). Any other may count its
polls, or look at something else: it makes all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ranks.engine.events import POLL
from ranks.engine.fingerprint import Fingerprint
from ranks.engine.loops import only_the_poll_ends_it
from ranks.engine.rank import current_rank
from ranks.engine.scheduler import Scheduler

T = TypeVar("T")

# After so many failed polls in a row a rank may be in a loop; a program may want to make a few polls only.
A_LOOP = 32
# The longest round that is recognised, in polls.
LONGEST_ROUND = 16
# If something is due within so many rounds, the loop polls until then and is not skipped.
_WORTH = 4
# An iterator's state cannot be seen, so a loop over one must come to the same state after so many rounds.
ITERATED_ROUNDS = 10_000
# A loop that may count its polls may make so many of them when nothing can come any more.
MOST_IN_VAIN = 50_000


class Streak:
    """The failed polls that a rank made with nothing in between.

    n:         How many there are.
    polls:     What was asked for in each of the latest, in order.
    n_idle:    How many there are since the rank has last let time pass otherwise, in work of its own.
    mark:      What the rank had sent and received by then; if that differs now, the streak is over.
    ended_ps:  When the latest one ended.
    due_ps:    When something other than a poll was to happen, as known at the latest; None if nothing was.
    in_vain:   How many of the polls failed when nothing could come any more.
    seen:      The state of the loop that is waited for to come again; None if none is.
    seen_at:   At which poll it was seen; `again_at` is the poll at which it should be there again.
    period:    How many polls a round had then.
    others:    The streaks of the other ranks that polled then.
    until_ps:  When something other than a poll was to happen then.
    is_same:   The loop has come to the same state again, or has no end but its polls: it stays in its rounds until
               `until_ps`.
    next_look: At which poll the state of the loop is to be looked at again.
    """

    __slots__ = (
        "again_at", "due_ps", "ended_ps", "in_vain", "is_same", "mark", "n", "n_idle", "next_look", "others",
        "period", "polls", "seen", "seen_at", "until_ps",
    )  # fmt: skip

    def __init__(self) -> None:
        self.polls: list[Hashable] = []
        self.mark: Any = None
        self.n = self.n_idle = self.in_vain = self.ended_ps = self.seen_at = self.again_at = self.period = 0
        self.next_look = A_LOOP
        self.seen: Fingerprint | None = None
        self.others: list[Streak | None] = []
        self.due_ps: int | None = 0
        self.until_ps: int | None = None
        self.is_same = False

    def note(self, poll: Hashable) -> int:
        """Enter a failed poll; return the length of a round if the latest two rounds were the same, otherwise 0."""
        polls = self.polls
        if len(polls) >= 4 * LONGEST_ROUND:
            del polls[: 2 * LONGEST_ROUND]
        polls.append(poll)
        self.n += 1
        self.n_idle += 1
        if self.n < A_LOOP:
            return 0
        for length in range(1, LONGEST_ROUND + 1):
            if len(polls) <= 2 * length:
                return 0
            if polls[-1] == polls[-1 - length] and polls[-length:] == polls[-2 * length : -length]:
                return length
        return 0


class Polls:
    """The polls of a run."""

    def __init__(self, scheduler: Scheduler, poll_ps: int) -> None:
        self.scheduler, self.poll_ps = scheduler, poll_ps

    def ask(self, state: Any, poll: Hashable, look: Callable[[], T]) -> T:
        """Return what `look()` sees once all that happens up to the rank's own time has happened.

        Seeing nothing (a false value) takes time, so that a loop of polls ends.
        """
        streak = state.streak
        if streak is not None and streak.mark != state.progress():
            streak = state.streak = None
        began_ps = state.now
        self.scheduler.catch_up(state)
        seen = look()
        if seen:
            state.streak = None
            return seen
        if streak is None:
            streak = state.streak = Streak()
        if streak.ended_ps != began_ps:
            streak.n_idle = 0
        round_ = streak.note(poll)
        state.now += self.poll_ps
        if round_:
            self._let_rounds_pass(state, streak, round_)
        streak.mark, streak.ended_ps = state.progress(), state.now
        return seen

    def _let_rounds_pass(self, state: Any, streak: Streak, round_: int) -> None:
        """Let whole rounds pass that must fail like the last one; end the run if all that is left is to poll."""
        failed_ps, took_ps = state.now - self.poll_ps, round_ * self.poll_ps
        others = self._polling()
        due_ps = streak.due_ps = self._due_ps(state, failed_ps)
        self._look(streak, round_, failed_ps, [other.streak for other in others])
        if due_ps is None and all(other.streak is not None and other.streak.due_ps is None for other in others):
            streak.in_vain += 1
            if all(each.streak.is_same or each.streak.in_vain >= MOST_IN_VAIN for each in (state, *others)):
                self.scheduler.livelock = True
                self.scheduler.hub.switch()
            return
        streak.in_vain = 0
        if streak.is_same and streak.period == round_ and streak.n_idle >= A_LOOP:
            until_ps = self._until_ps(failed_ps, others, due_ps)
            # The poll that just failed is repeated `took_ps` later; it too must come before the next event.
            state.now += max(0, (until_ps - 1 - failed_ps) // took_ps) * took_ps

    def _look(self, streak: Streak, round_: int, failed_ps: int, others: list[Streak | None]) -> None:
        """Find out whether the loop has come to the same state again, with nothing happening in between."""
        if streak.seen is not None or streak.is_same:
            if streak.others != others or (streak.until_ps is not None and streak.until_ps <= failed_ps):
                streak.seen, streak.is_same, streak.next_look = None, False, streak.n
            elif streak.seen is not None and streak.n >= streak.again_at:
                self._compare(streak, round_)
        is_worth_it = streak.due_ps is None or streak.due_ps > failed_ps + _WORTH * round_ * self.poll_ps
        if streak.seen is None and not streak.is_same and streak.n >= streak.next_look and is_worth_it:
            streak.seen = Fingerprint(sys._getframe(1), current_rank().generators())
            streak.seen_at, streak.again_at, streak.next_look = streak.n, streak.n + round_, 2 * streak.n
            streak.period, streak.others, streak.until_ps = round_, others, streak.due_ps

    def _compare(self, streak: Streak, round_: int) -> None:
        now, before = Fingerprint(sys._getframe(1), current_rank().generators()), streak.seen
        is_same = before is not None and now.is_same(before)
        if is_same and now.is_iterating and streak.again_at - streak.seen_at <= round_:
            streak.again_at = streak.seen_at + round_ * ITERATED_ROUNDS
        else:
            streak.seen = None
            streak.is_same = round_ == streak.period and (is_same or only_the_poll_ends_it(sys._getframe(1)))

    def _due_ps(self, state: Any, failed_ps: int) -> int | None:
        """Return the time of the next event that is known already and is no poll; None if there is none."""
        scheduler = self.scheduler
        if any(greenlet.state.streak is None for greenlet in scheduler.ready):
            return failed_ps
        times = [
            time_ps
            for time_ps, events in scheduler.events.items()
            if any(kind != POLL or subject.streak is None for kind, _, _, subject in events)
        ]
        mine: int | None = state.next_ps(failed_ps)
        return min(times if mine is None else [*times, mine], default=None)

    def _until_ps(self, failed_ps: int, others: list[Any], due_ps: int | None) -> int:
        """Return until when a poll is bound to fail: nothing is due before, and no other loop of polls can end."""
        times = [] if due_ps is None else [due_ps]
        for other in others:
            streak = other.streak
            if streak is None or not streak.is_same:
                times.append(max(other.now, failed_ps))
            elif streak.until_ps is not None:
                times.append(max(streak.until_ps, failed_ps))
        return min(times, default=failed_ps)

    def _polling(self) -> list[Any]:
        """Return the other ranks that poll."""
        waiting = [event[3] for events in self.scheduler.events.values() for event in events if event[0] == POLL]
        return sorted(waiting + [greenlet.state for greenlet in self.scheduler.ready], key=lambda each: each.rank)
