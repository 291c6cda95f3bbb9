"""Whether ranks that do nothing but poll, in vain, will go on so for ever."""

from __future__ import annotations

from collections.abc import Sequence

from ranks.engine.fingerprint import Fingerprint
from ranks.engine.loops import only_the_poll_ends_it
from ranks.engine.polls import A_LOOP, ITERATED_ROUNDS, LONGEST_ROUND, MOST_IN_VAIN
from ranks.messages.rank import RankState


class Idling:
    """The rounds in which nothing could happen but that the polls of all ranks fail.

    n: This is how many rounds there were in a row.
    n_moved: This is what the ranks had sent and received by then; with other counts the rounds begin anew.
    seen: These are the states of the ranks after round `seen_at`, a power of two.
    is_iterating: It tells whether a state came again, but in a loop over an iterator, which is out of sight.
    """

    def __init__(self) -> None:
        self.n, self.n_moved = 0, -1
        self.seen: list[Fingerprint] = []
        self.seen_at = 0
        self.is_iterating = False

    def begin_again(self) -> None:
        """Note that something else has happened."""
        self.n, self.seen, self.is_iterating = 0, [], False

    def is_for_ever(self, ranks: Sequence[RankState], polling: Sequence[RankState]) -> bool:
        """Enter a round; return whether it is known that all others will be like it.

        It is, if all ranks that poll come to the same states again, or have no other way out of their loops.
        """
        n_moved = sum(state.sent + state.received for state in ranks)
        if n_moved != self.n_moved:
            self.begin_again()
            self.n_moved = n_moved
        self.n += 1
        if self.n < A_LOOP:
            return False
        if self.n.bit_count() == 1:
            if all(only_the_poll_ends_it(state.greenlet.gr_frame) for state in polling):
                return True
            if not self.is_iterating:
                self.seen, self.seen_at = self._look(polling), self.n
        elif self.seen and (self.n <= self.seen_at + LONGEST_ROUND or self.is_iterating):
            return self._has_come_again(polling)
        return self.n >= MOST_IN_VAIN

    def _has_come_again(self, polling: Sequence[RankState]) -> bool:
        if self.is_iterating and self.n < self.seen_at + ITERATED_ROUNDS:
            return False
        now = self._look(polling)
        if len(now) != len(self.seen) or not all(a.is_same(b) for a, b in zip(now, self.seen, strict=True)):
            self.is_iterating = False
            return False
        was_iterating = self.is_iterating
        self.is_iterating = any(each.is_iterating for each in now)
        return was_iterating or not self.is_iterating

    @staticmethod
    def _look(polling: Sequence[RankState]) -> list[Fingerprint]:
        return [Fingerprint(state.greenlet.gr_frame, state.generators()) for state in polling]
