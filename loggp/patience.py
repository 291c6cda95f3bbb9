"""Limits on what is played to find a cost. They are tighter under `giving_up_after`, where many costs are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Under `giving_up_after`, at most so many messages are played one after the other (`steps.py`), and so many rounds of
# all ranks (`player.py`); otherwise PATIENCE times as many, which takes about a second. Of a longer schedule, a part is
# played: enough to know the time of one more message.
MOST_MESSAGES = 4_000
MOST_ROUNDS = 128
PATIENCE = 12
MOST_IN_ROUNDS = 1 << 24  # messages of all these rounds together, whoever asks: a few seconds

_limit_ps: ContextVar[int | None] = ContextVar("_limit_ps", default=None)


class TakesLongerError(Exception):
    """A schedule takes longer than `giving_up_after` allows."""


@contextmanager
def giving_up_after(limit_ps: int) -> Iterator[None]:
    """Let what is played inside end with TakesLongerError as soon as its clocks pass limit_ps."""
    token = _limit_ps.set(limit_ps)
    try:
        yield
    finally:
        _limit_ps.reset(token)


def give_up_if_past(time_ps: float) -> None:
    """Raise TakesLongerError if a schedule that takes at least time_ps takes longer than allowed."""
    limit_ps = _limit_ps.get()
    if limit_ps is not None and time_ps > limit_ps:
        raise TakesLongerError


def can_be_played(*, n_rounds: int = 0, n_in_rounds: int = 0, n_messages: int = 0) -> bool:
    """Return whether so many rounds with n_in_rounds messages, or n_messages one after the other, are played."""
    patience = PATIENCE if _limit_ps.get() is None else 1
    is_short = n_rounds <= patience * MOST_ROUNDS and n_messages <= patience * MOST_MESSAGES
    return is_short and n_in_rounds <= MOST_IN_ROUNDS
