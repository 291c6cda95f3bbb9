"""A world without a clock to decide: whatever may happen in one order or another is a choice.

Ranks run until nothing moves by itself: a receive that names its source has no choice. What is left are the
wildcards and probes, each of which may have the first message of any source; the calls that wait for the first of
several requests; and the polls, which may say yes, or no although they could say yes. They are put to a chooser as one
list, since which of them happens first may matter too. Virtual time passes, but nothing looks at it.

Source: the reduction to such choices is Vakkalanka et al., "Dynamic verification of MPI programs with reductions
in presence of split operations and relaxed orderings", CAV 2008.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

from ranks.asking import AnyOf
from ranks.constants import ANY_SOURCE
from ranks.matching import Mailbox
from ranks.messages import Message, Operation
from ranks.network import Network
from ranks.world import RankGreenlet, RankState, World

if TYPE_CHECKING:
    from ranks.trace import Trace

# After so many rounds in which all that could happen were polls that fail, they are taken to go on for ever.
IDLE_ROUNDS = 2000


class Asleep(Exception):  # noqa: N818  # no error: the chooser has seen all that follows
    """What a chooser raises to end a run before its time."""


class Option:
    """One thing that may happen next.

    key: (rank, kind, what, which), the same in every run that comes here. happen: lets it. subject: the operation or
    question that is served, answer: what it is served with.
    """

    __slots__ = ("answer", "happen", "key", "subject")

    def __init__(self, key: tuple[Any, ...], happen: Callable[[], None], subject: Any, answer: Any) -> None:
        self.key, self.happen, self.subject, self.answer = key, happen, subject, answer


Chooser = Callable[[list[Option]], int]


def commute(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether two options, given by their keys, lead to the same in either order.

    So do those of different ranks, and matches at one rank: two that could both happen now have different receives, or
    only one of them will ever happen. A Cancel may take a message away from others.
    """
    if "cancel" in (one[1], other[1]):
        return False
    return bool(one[0] != other[0] or one[1] == other[1] == "match")


class Question:
    """A poll or a Cancel that a rank is parked on, and its answer once it has one.

    answers: what it may be told but no. no: what no is (None: there is no no). target: what it asks about.
    """

    __slots__ = ("answer", "answers", "kind", "no", "state", "target")

    def __init__(self, state: RankState, kind: str, target: Any, answers: Callable[[], list[Any]], no: Any) -> None:
        self.state, self.kind, self.target, self.answers, self.no = state, kind, target, answers, no
        self.answer: Any = None


class ByChoice:
    """Answers to what ranks ask: any that a real machine could give."""

    def __init__(self, world: ChoosingWorld) -> None:
        self.world = world

    def look(self, probe: Operation) -> Message | None:
        """Return a message that a probe could see, or None."""
        target = (probe.box.context.number, probe.peer, probe.tag)
        answer: Message | None = self.world.ask(
            Question(probe.state, "poll", target, lambda: probe.box.on_offer(probe), no=())
        )
        return answer or None

    def test(self, operations: list[Operation], enough: str) -> list[int]:
        """Return the places of operations that a test could find complete, or none."""
        target = tuple(map(id, operations))
        answers: list[int] = self.world.ask(
            Question(operations[0].state, "poll", target, lambda: complete_sets(operations, enough), no=[])
        )
        return answers

    def wait_any(self, operations: list[Operation], enough: str) -> list[int]:
        """Return the places of operations that a wait could find complete."""
        state = operations[0].state
        state.awaits = AnyOf(operations)
        answers: list[int] = self.world.ask(
            Question(state, "wait", None, lambda: complete_sets(operations, enough), no=None)
        )
        state.awaits = None
        return answers


def complete_sets(operations: list[Operation], enough: str) -> list[Any]:
    """Return the lists of places that a call which wants all, any or some of the operations could return."""
    places = [place for place, operation in enumerate(operations) if operation.ready_ps is not None]
    if enough == "all":
        return [places] if len(places) == len(operations) else []
    if enough == "any":
        return [[place] for place in places]
    return [list(some) for some in chain.from_iterable(combinations(places, n) for n in range(len(places), 0, -1))]


class ChoosingWorld(World):
    """All ranks of one run whose choices `choose(options)` makes; it returns an index, or raises Asleep.

    made: the choices between several options so far. polls: so many polls in a row may say no on purpose while
    nothing changes for them; without such a limit, exploring a loop of polls would not end.
    """

    def __init__(
        self, size: int, network: Network, buffering: str, choose: Chooser, *, polls: int = 1,
        trace: Trace | None = None, check: bool = False,
    ) -> None:  # fmt: skip
        timeless = replace(network, ports=False, shared_node_port=False, jitter_ps=0)
        super().__init__(size, timeless, buffering, 0, trace=trace, check=check)
        self.network = network
        self.is_quick = False
        self.asking: ByChoice = ByChoice(self)  # type: ignore[assignment]  # the same questions
        self.choose, self.polls = choose, polls
        self.made: list[int] = []
        self.questions: dict[int, Question] = {}
        self.noes: Counter[Any] = Counter()
        self.numbers: dict[Operation, int] = {}
        self.n_numbered: Counter[int] = Counter()
        self.idle_rounds, self.n_moved = 0, -1

    def made_text(self) -> str:
        """Return the buffering mode and the choices made, as text."""
        return f"{self.buffering}:{','.join(map(str, self.made))}"

    def replay(self) -> str:
        """Return the arguments of `ranks.run` that make this world's choices again."""
        return f"replay={self.made_text()!r}"

    # -- running ---------------------------------------------------------------------------------------------

    def drive(self, body: Callable[[RankState], Any]) -> None:
        """Run `body(state)` on every rank until all have returned, one fails, or there is nothing to choose."""
        guarded = self._guarded(body)
        for state in self.ranks:
            state.greenlet = RankGreenlet(guarded)
            state.greenlet.state = state
            state.greenlet.switch(state)
            if self.failure is not None:
                return
        while self._settle():
            options = self.options()
            if options:
                self._take(options)
            elif not self._let_polls_fail():
                return

    def _settle(self) -> bool:
        """Let ranks run until none can; return whether none has failed."""
        while self.ready and self.failure is None:
            self.ready.popleft().switch()
        return self.failure is None

    def _take(self, options: list[Option]) -> None:
        index = self.choose(options)
        if len(options) > 1:
            self.made.append(index)
        self.idle_rounds = 0
        options[index].happen()

    def _let_polls_fail(self) -> bool:
        """Tell all ranks that poll no, as there is nothing else to happen; return whether there are any."""
        n_moved = sum(state.sends + state.receives for state in self.ranks)
        self.idle_rounds = self.idle_rounds + 1 if n_moved == self.n_moved else 0
        self.n_moved = n_moved
        polls = [question for question in self.questions.values() if question.no is not None]
        if polls and self.idle_rounds > IDLE_ROUNDS:
            self.livelock = True
            return False
        for question in polls:
            self._answer(question, question.no)
        return bool(polls)

    def park(self, state: RankState) -> None:
        """Let others run until `state` is woken."""
        if self.closed:
            self._leave(state)
        self.hub.switch()
        if self.closed:
            self._leave(state)

    def ask(self, question: Question) -> Any:
        """Park the rank that asks until it is answered; return the answer."""
        self.questions[question.state.rank] = question
        self.park(question.state)
        return question.answer

    def catch_up(self, state: RankState) -> None:
        """Let a Cancel happen now or later."""
        self.ask(Question(state, "cancel", None, lambda: [True], no=None))

    def decide_at(self, time_ps: int, chooser: Mailbox | RankState) -> None:
        """Do nothing: no time makes a choice."""

    def is_past(self, time_ps: int) -> bool:
        """Return False: no time makes a choice."""
        return False

    # -- what may happen -------------------------------------------------------------------------------------

    def options(self) -> list[Option]:
        """Return all that may happen next.

        Noes come first: a search that has tried them before the rest need not try them again in other orders.
        """
        noes: list[Option] = []
        options: list[Option] = []
        for rank in sorted(self.questions):
            self._answers(self.questions[rank], noes, options)
        for context in self.contexts:
            for box in context.boxes:
                for wild in box.receives:
                    if wild.peer == ANY_SOURCE:
                        options += self._matches(box, wild)
                if box.probe is not None and box.probe.peer == ANY_SOURCE:
                    options += self._sights(box, box.probe)
        return noes + options

    def _answers(self, question: Question, noes: list[Option], options: list[Option]) -> None:
        rank, kind = question.state.rank, question.kind
        keys = []
        for answer in question.answers():
            key = (rank, kind, "yes", _message_key(answer) if isinstance(answer, Message) else str(answer))
            keys.append(key)
            options.append(Option(key, partial(self._answer, question, answer), question, answer))
        if question.no is not None:
            state = question.state
            situation = (rank, question.target, *keys, state.sends, state.receives, len(state.open or ()))
            if self.noes[situation] < self.polls:

                def say_no() -> None:
                    self.noes[situation] += 1
                    self._answer(question, question.no)

                noes.append(Option((rank, kind, "no", ""), say_no, question, question.no))

    def _answer(self, question: Question, answer: Any) -> None:
        state = question.state
        question.answer = answer
        if question.no is not None and answer is question.no:
            state.now += self.network.poll_ps
        del self.questions[state.rank]
        self.ready.append(state.greenlet)

    def _matches(self, box: Mailbox, wild: Operation) -> list[Option]:
        """Return the messages that a wildcard may have; a rank's wildcards are numbered in posting order."""
        rank = box.owner.rank
        if wild not in self.numbers:
            self.n_numbered[rank] += 1
            self.numbers[wild] = self.n_numbered[rank]
        return [
            Option(
                (rank, "match", self.numbers[wild], _message_key(message)),
                lambda message=message: box.match(wild, message),  # type: ignore[misc]
                wild,
                message,
            )
            for message in box.on_offer(wild)
        ]

    def _sights(self, box: Mailbox, probe: Operation) -> list[Option]:
        return [
            Option(
                (box.owner.rank, "see", "", _message_key(message)),
                lambda message=message: box.found(probe, message),  # type: ignore[misc]
                probe,
                message,
            )
            for message in box.on_offer(probe)
        ]


def _message_key(message: Message) -> tuple[int, int]:
    return message.origin.rank, message.number
