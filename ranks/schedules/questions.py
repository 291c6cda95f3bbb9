"""What ranks ask in a world without a clock, and what they know from earlier answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import chain, combinations, islice
from types import CodeType, FrameType
from typing import Any

from ranks.engine.rank import ALL, FIRST
from ranks.messages.mailbox import Mailbox
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState


class Question:
    """A poll, a wait for the first of several requests, or a Cancel: a rank is parked on it until it has an answer.

    state: This is the rank that asks.
    kind: It is "poll", "wait" or "cancel".
    about: It is equal for two polls that ask for the same.
    operations: These are the requests that the answer depends on; a poll for a message has none.
    enough: It says how many of the operations must be complete: "all", "any" or "some".
    answers: This function returns all answers but no that could be given now.
    no: This answer says no; it is None if no is not possible.
    knows: This function returns whether the rank knows that the answer cannot be no.
    place: It says where in the program a poll is.
    answer: It is the answer, once there is one.
    """

    __slots__ = ("about", "answer", "answers", "enough", "kind", "knows", "no", "operations", "place", "state")

    def __init__(
        self, state: RankState, kind: str, answers: Callable[[], list[Any]], *, about: Any = None,
        operations: Sequence[Operation] = (), enough: str = "any", no: Any = None,
        knows: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.state, self.kind, self.answers, self.about, self.no, self.knows = state, kind, answers, about, no, knows
        self.operations, self.enough = operations, enough
        self.place = place_of_call() if kind == "poll" else ()
        self.answer: Any = None


def place_of_call() -> tuple[int, ...]:
    """Return where in the program the running rank is, in numbers: in which call, called from which call, and so on.

    A loop of polls comes to the same place again. Two polls that follow each other have two places, even in one line.
    """
    places = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        known = _PLACES.get((id(frame.f_code), frame.f_lasti))
        places.append(_number(frame) if known is None else known[1])
        frame = frame.f_back
    return tuple(places)


def _number(frame: FrameType) -> int:
    """Return a number for what a frame executes: not f_lasti, as Python compiles the condition of a loop twice."""
    code, at = frame.f_code, frame.f_lasti
    position = next(islice(code.co_positions(), at // 2, None), None)
    number = _NUMBERS.setdefault((code.co_filename, code.co_qualname, position), len(_NUMBERS))
    _PLACES[id(code), at] = code, number
    return number


# The code is kept, so that no other code gets its id.
_PLACES: dict[tuple[int, int], tuple[CodeType, int]] = {}
_NUMBERS: dict[Any, int] = {}
# A run that begins with so many places remembered forgets them.
_REMEMBERED = 4096


class ByChoice:
    """Answers to what ranks ask: any that a real machine could give.

    ask: This function parks a rank until a question is answered.
    known: These are messages that a probe has seen and requests that were found complete. They stay so.
    n_known: It counts by rank how often a rank learnt something.
    """

    def __init__(self, ask: Callable[[Question], Any], size: int) -> None:
        self.ask = ask
        self.known: set[Message | Operation] = set()
        self.n_known = [0] * size
        if len(_PLACES) > _REMEMBERED:
            _PLACES.clear()
            _NUMBERS.clear()

    def learn(self, state: RankState, what: Message | Operation) -> None:
        """Note that a rank knows of a message that is there, or of a request that is complete."""
        if what not in self.known:
            self.known.add(what)
            self.n_known[state.rank] += 1

    def saw(self, probe: Operation) -> None:
        """Note that a blocking probe has seen its message."""
        if probe.message is not None:
            self.learn(probe.state, probe.message)

    def look(self, probe: Operation) -> Message | None:
        """Return a message that a probe could see, or None."""
        box, state = probe.box, probe.state
        question = Question(
            state, "poll", lambda: box.on_offer(probe), about=(box.context.number, probe.peer, probe.tag),
            no=(), knows=lambda: self._has_seen(box, probe),
        )  # fmt: skip
        answer: Message | None = self.ask(question) or None
        if answer is not None:
            self.learn(state, answer)
        return answer

    def _has_seen(self, box: Mailbox, probe: Operation) -> bool:
        """Return whether an earlier probe has seen a message that is still there and fits this probe.

        An earlier receive may be about to have it; then that is matched before the probe is answered.
        """
        if not self.known:
            return False
        return any(m in self.known and probe.takes(m) for lane in box.lanes.values() for m in lane.queue)

    def test(self, operations: list[Operation], enough: str) -> list[int]:
        """Return the places of operations that a test could find complete, or none."""
        state = operations[0].state
        needed = all if enough == "all" else any
        question = Question(
            state, "poll", lambda: self._complete_sets(operations, enough), about=tuple(operations),
            operations=operations, enough=enough, no=[],
            knows=lambda: bool(self.known) and needed(operation in self.known for operation in operations),
        )  # fmt: skip
        places: list[int] = self.ask(question)
        for place in places:
            self.learn(state, operations[place])
        return places

    def wait_any(self, operations: list[Operation], enough: str) -> list[int]:
        """Return the places of operations that a wait could find complete."""
        state = operations[0].state
        state.awaits, state.enough = operations, FIRST
        question = Question(state, "wait", lambda: self._complete_sets(operations, enough), operations=operations)
        places: list[int] = self.ask(question)
        state.awaits, state.enough = (), ALL
        return places

    def _complete_sets(self, operations: list[Operation], enough: str) -> list[Any]:
        """Return the lists of places that a call which wants all, any or some of the operations could return.

        For "some", a list has any of the complete operations, and all that the rank knows to be complete.
        """
        places = [place for place, operation in enumerate(operations) if operation.ready_ps is not None]
        if enough == "all":
            return [places] if len(places) == len(operations) else []
        if enough == "any":
            return [[place] for place in places]
        known = [place for place in places if operations[place] in self.known]
        others = [place for place in places if operations[place] not in self.known]
        sizes = range(len(others), -1 if known else 0, -1)
        return [sorted([*known, *some]) for some in chain.from_iterable(combinations(others, n) for n in sizes)]
