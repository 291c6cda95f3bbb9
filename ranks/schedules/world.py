"""A world without a clock to decide: whatever may happen in one order or another is a choice.

Ranks run until nothing moves by itself: a receive that names its source has no choice. What is left are the
wildcards and probes, each of which may have the first message of any source; the calls that wait for the first of
several requests; and the polls, which may say yes, or no although they could say yes. They are put to a chooser as one
list, since which of them happens first may matter too. Virtual time passes, but nothing looks at it.

With buffering "each", each standard send is buffered or not by itself. That is a choice when its rank cannot go on
otherwise: the send is released, as if it had been buffered from the start, or held. A schedule in which a held send is
received is also one in which it is buffered and its sender is slow. So a search only needs the schedules in which a
held send is never received.

Source: the reduction to such choices is Vakkalanka et al., "Dynamic verification of MPI programs with reductions
in presence of split operations and relaxed orderings", CAV 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ranks.engine.events import DECIDE
from ranks.engine.rank import Rank
from ranks.engine.scheduler import Scheduler
from ranks.messages.mailbox import Mailbox
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.messages.transfer import Transport
from ranks.messages.wildcards import Wildcards
from ranks.network.model import Network
from ranks.observers.buffers import BufferChecks
from ranks.schedules.idling import Idling
from ranks.schedules.options import Asleep, Chooser, Covered, Hold, Key, Option
from ranks.schedules.questions import ByChoice, Question
from ranks.schedules.search import differs, replay_text
from ranks.words.constants import ANY_SOURCE
from ranks.world import World

# A poll with the same answers to choose from may fail on purpose so many times, whatever its rank does in between.
NOES = 50


class ChoosingScheduler(Scheduler):
    """Ranks whose choices `choose(options)` makes; it returns an index, or raises Asleep.

    transport: What carries their messages; it is known once the scheduler is made.
    made: These are the choices between several options so far.
    polls: A poll may say no on purpose so many times while it stays the same poll: at the same place in the program,
        for the same, with the same answers to choose from, and its rank has neither sent, received nor learnt anything
        in between. Without such a limit, exploring a loop of polls would not end.
    is_limited: It tells whether a poll could not say no because of that limit.
    is_free: It tells whether nothing has been offered so far: all had to happen as it did.
    is_intricate: It tells whether there was a poll or a Cancel.
    decides_each: It tells whether each standard send is buffered or not by itself.
    held: These standard sends are not buffered. pledged: Nobody is to receive these messages of held sends.
    """

    transport: Transport

    def __init__(self, ranks: list[RankState], choose: Chooser, polls: int, poll_ps: int, decides_each: bool) -> None:
        super().__init__(ranks)
        self.choose, self.polls, self.poll_ps, self.decides_each = choose, polls, poll_ps, decides_each
        self.asking = ByChoice(self.ask, len(ranks))
        self.made: list[int] = []
        self.is_limited, self.is_free, self.is_intricate = False, True, False
        self.held: set[Operation] = set()
        self.pledged: set[Message | None] = set()
        self.is_covered = False
        self.questions: dict[int, Question] = {}
        self.noes: dict[Any, int] = {}
        self.idling = Idling()

    # -- running ---------------------------------------------------------------------------------------------

    def drive(self, body: Callable[[RankState], Any]) -> None:
        """Run `body(state)` on every rank until all have returned, one fails, or there is nothing to choose."""
        self.start(body)
        while self._settle():
            options = (self.decides_each and self._buffering_of_a_send()) or self.options()
            if options:
                self._take(options)
            elif not self._let_polls_fail():
                return

    def _settle(self) -> bool:
        """Let ranks run until none can; return whether none has failed."""
        while self.ready and self.failure is None:
            self.ready.popleft().switch()
        if self.is_covered:
            raise Asleep
        return self.failure is None

    def _take(self, options: list[Option]) -> None:
        self.is_free = False
        index = self.choose(options)
        if len(options) > 1:
            self.made.append(index)
        self.idling.begin_again()
        options[index].happen()

    def _let_polls_fail(self) -> bool:
        """Answer no to all ranks that poll, since nothing else can happen; return whether any rank polls."""
        polls = [self.questions[rank] for rank in sorted(self.questions) if self.questions[rank].no is not None]
        if polls and self.idling.is_for_ever(self.ranks, [question.state for question in polls]):
            self.livelock = True
            return False
        for question in polls:
            self._answer(question, question.no)
            self.is_free = False
        return bool(polls)

    def park(self, state: Rank) -> None:
        """Let others run until `state` is woken."""
        if self.closed:
            self._leave(state)
        self.hub.switch()
        if self.closed:
            self._leave(state)

    def let_others_run(self, state: Rank) -> None:
        """Do nothing: whoever runs first, the choices are the same."""

    def ask(self, question: Question) -> Any:
        """Park the rank that asks until it is answered; return the answer."""
        self.questions[question.state.rank] = question
        self.is_intricate = self.is_intricate or question.kind != "wait"
        self.park(question.state)
        return question.answer

    def catch_up(self, state: Any) -> None:
        """Let a Cancel happen now or later."""
        self.ask(Question(state, "cancel", lambda: [True], operations=tuple(state.open or ())))

    def schedule_next(self, time_ps: int, kind: int, rank: int, subject: Any) -> None:
        """Schedule nothing: no time makes a choice."""
        assert kind == DECIDE

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
        if self.questions:
            for rank in sorted(self.questions):
                self._answers(self.questions[rank], noes, options)
        for context in self.transport.all_contexts():
            for box in context.boxes:
                if box.wild is not None:
                    for wish in box.wild.posted:
                        options += self._matches(box, box.wild, wish)
                    probe = box.wild.probe
                    if probe is not None and probe.peer == ANY_SOURCE:
                        options += self._sights(box, box.wild, probe)
        return noes + options if noes else options

    def _answers(self, question: Question, noes: list[Option], options: list[Option]) -> None:
        rank, kind = question.state.rank, question.kind
        keys: list[Key] = []
        is_complete = all(operation.ready_ps is not None for operation in question.operations)
        is_last_word = kind == "wait" and is_complete and not self.beside
        for answer in question.answers():
            key = (rank, kind, "yes", _message_key(answer) if isinstance(answer, Message) else str(answer))
            keys.append(key)
            options.append(Option(key, partial(self._answer, question, answer), question, answer, is_last_word))
        if question.no is None or question.knows():
            return
        state = question.state
        always = (rank, question.about, *keys)
        done = (state.sends, state.receives, len(state.open or ()), self.asking.n_known[rank])
        now = (always, question.place, done)
        if self.noes.get(now, 0) >= self.polls or self.noes.get(always, 0) >= NOES:
            self.is_limited = True
            return

        def say_no() -> None:
            for situation in (now, always):
                self.noes[situation] = self.noes.get(situation, 0) + 1
            self._answer(question, question.no)

        noes.append(Option((rank, kind, "no", ""), say_no, question, question.no))

    def _answer(self, question: Question, answer: Any) -> None:
        state = question.state
        question.answer = answer
        if question.no is not None and answer is question.no:
            state.now += self.poll_ps
        del self.questions[state.rank]
        self.ready.append(state.greenlet)

    def _matches(self, box: Mailbox, wildcards: Wildcards, wild: Operation) -> list[Option]:
        """Return the messages that a wildcard may have; a rank's receives are numbered in posting order."""
        rank, number = box.owner.rank, wild.order
        return [
            (Covered if message in self.pledged else Option)(
                (rank, "match", number, _message_key(message)),
                lambda message=message: wildcards.match(wild, message),  # type: ignore[misc]
                wild,
                message,
            )
            for message in box.on_offer(wild)
        ]

    def _sights(self, box: Mailbox, wildcards: Wildcards, probe: Operation) -> list[Option]:
        return [
            Option(
                (box.owner.rank, "see", "", _message_key(message)),
                lambda message=message: wildcards.found(probe, message),  # type: ignore[misc]
                probe,
                message,
            )
            for message in box.on_offer(probe)
        ]

    # -- buffering of each send by itself --------------------------------------------------------------------

    def _buffering_of_a_send(self) -> list[Option]:
        """Return the two ways to go on with a send that its rank needs to be complete: buffered, or not."""
        for state in self.ranks:
            for send in self._needed(state):
                number = 0 if send.message is None else send.message.number
                return [
                    Option((state.rank, "release", number, ""), partial(self._release, send), send, "is buffered"),
                    Hold(
                        (state.rank, "hold", number, ""), partial(self.held.add, send), send,
                        pledge=partial(self.pledged.add, send.message),
                    ),
                ]  # fmt: skip
        return []

    def _needed(self, state: RankState) -> list[Operation]:
        """Return the standard sends that may decide how a parked rank goes on, and are neither received nor held."""
        question = self.questions.get(state.rank)
        if question is not None:
            operations, enough = question.operations, question.enough
        else:
            operations, enough = state.awaited(), "all"
        pending = [each for each in operations if isinstance(each, Operation) and each.ready_ps is None]
        sends = [each for each in pending if each.is_standard and each not in self.held]
        return sends if enough != "all" or len(sends) == len(pending) else []

    def _release(self, send: Operation) -> None:
        """Let a send be complete as if it had been buffered."""
        message = send.message
        assert message is not None
        message.keep_data()
        message.sender = None
        self.transport.wires.start(send.state.now, message)
        send.complete(send.state.now)


class ChoosingTransport(Transport):
    """What carries the messages of a run whose choices are made for it."""

    scheduler: ChoosingScheduler

    def depart_numbered(self, message: Message, now: int) -> bool:
        """Let a message leave that is known by its number; return False: it is queued too."""
        message.number, message.ready_ps = message.lane.sender.sends, now
        message.arrival = now + message.kind.wire_ps if message.sender is None else None
        return False

    def join(self, receive: Operation, message: Message) -> None:
        """Start the transfer of a matched message; the run is over if nobody was to receive it."""
        if message.sender is not None and message in self.scheduler.pledged:
            self.scheduler.is_covered = True
        super().join(receive, message)


class ChoosingWorld(World):
    """All ranks of one run whose choices `choose(options)` makes.

    mode: How standard sends are buffered: as `ranks.run` takes it, or "each".
    polls: How often a poll may say no on purpose, see `ChoosingScheduler`.
    """

    scheduler: ChoosingScheduler

    def __init__(
        self, size: int, network: Network, mode: str, choose: Chooser, *, polls: int = 1, trace: bool = False,
        checks: BufferChecks | None = None,
    ) -> None:  # fmt: skip
        self.choose, self.polls, self.mode = choose, polls, mode
        super().__init__(size, network, "none" if mode == "each" else mode, trace=trace, checks=checks)
        self.transport.buffering = mode

    def _new_scheduler(self) -> Scheduler:
        return ChoosingScheduler(self.ranks, self.choose, self.polls, self.network.poll_ps, self.mode == "each")

    def _new_transport(self) -> Transport:
        network = without_choices(self.network)
        transport = ChoosingTransport(self.scheduler, self.ranks, network, self.buffering, self.seed, self.observers)
        transport.asking, transport.ahead, transport.recycles = self.scheduler.asking, 1 << 62, False
        if transport.depart is None:
            transport.depart = transport.depart_numbered
        self.scheduler.transport = transport
        return transport

    def made_text(self) -> str:
        """Return all that is needed to make these choices again, as text."""
        return replay_text(self.mode, self.polls, self.scheduler.made)

    def check_made(self, choices: Sequence[int]) -> None:
        """Raise unless the run has come to all of these choices."""
        n_made = len(self.scheduler.made)
        if n_made < len(choices):
            raise differs(f"an end after {n_made} of the {len(choices)} choices of the replay")

    def choices(self) -> str:
        """Return the arguments of `ranks.run` that make this world's choices again."""
        return f"replay={self.made_text()!r}"


def without_choices(network: Network) -> Network:
    """Return a network on which nothing depends on who comes first."""
    has_some = network.ports or network.shared_node_port or network.jitter_ps
    return replace(network, ports=False, shared_node_port=False, jitter_ps=0) if has_some else network


def _message_key(message: Message) -> tuple[int, int]:
    return message.source, message.number
