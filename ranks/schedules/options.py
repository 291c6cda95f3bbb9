"""What may happen next in a world without a clock, and which two of these things lead to the same in either order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Key = tuple[Any, ...]


class Asleep(Exception):  # noqa: N818  # no error: the search has seen all that follows
    """What a chooser, or a world that a search has limited, raises to end a run before its time."""


class Option:
    """One thing that may happen next.

    key: It is (rank, kind, what, which), and the same in every run that comes here.
    happen: This function lets it happen.
    subject: It is the operation or question that is served.
    answer: It is what the subject is served with.
    is_last_word: It tells whether the subject has all the options that it can ever have.
    """

    __slots__ = ("answer", "happen", "is_last_word", "key", "subject")
    # is_covered: a search leaves this option out because it leads to a known state; pledge: see `Hold`.
    is_covered = False
    pledge: Callable[[], None] | None = None

    def __init__(
        self, key: Key, happen: Callable[[], None], subject: Any, answer: Any, is_last_word: bool = False
    ) -> None:
        self.key, self.happen, self.subject, self.answer = key, happen, subject, answer
        self.is_last_word = is_last_word


class Hold(Option):
    """The choice not to buffer a send.

    pledge: A search that takes the option calls this function. From then on, the search leaves out where the message
        is received, since it has come there with the send buffered.
    """

    __slots__ = ("pledge",)

    def __init__(self, key: Key, happen: Callable[[], None], subject: Any, pledge: Callable[[], None]) -> None:
        super().__init__(key, happen, subject, "is not buffered")
        self.pledge = pledge


class Covered(Option):
    """A match that is left out because of a pledge."""

    __slots__ = ()
    is_covered = True


Chooser = Callable[[list[Option]], int]


def commute(one: Key, other: Key) -> bool:
    """Return whether two options, given by their keys, lead to the same in either order.

    So do those of different ranks, and matches at one rank: two that could both happen now have different receives, or
    only one of them will ever happen. A rank whose send is released goes on as after a match elsewhere, so a release
    commutes with what a match commutes with. To hold a send does nothing. A Cancel may take a message away from others.
    """
    kind, other_kind = one[1], other[1]
    if kind == "cancel" or other_kind == "cancel":
        return False
    if one[0] != other[0]:
        return True
    return kind == "hold" or other_kind == "hold" or (kind in _MATCHES and other_kind in _MATCHES)


_MATCHES = ("match", "release")
