"""The transport of a run: what messages cost, how they leave, and how a receive gets its data.

What differs between runs is bound here once. On a network without ports that nobody watches, a message leaves by an
addition; ports, jitter, and observers each take their step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ranks.engine.events import ARRIVE, INJECT
from ranks.engine.scheduler import Scheduler
from ranks.messages.answers import ByTheClock
from ranks.messages.lane import Lane
from ranks.messages.ledger import Ledger
from ranks.messages.mailbox import Context
from ranks.messages.message import TRAFFIC_SHIFT, Kind, Message
from ranks.messages.observer import Observer
from ranks.messages.operation import Operation
from ranks.messages.ports import Ports, Wires
from ranks.messages.rank import RankState
from ranks.network.model import Network

# The cache of message kinds is cleared at this size, because a program may use ever new tags.
_REMEMBERED = 4096
# A rank sends at most so many messages before it lets their receiver run, while they are still in cache.
AHEAD = 16
LIMITS = {"none": -1, "infinite": 1 << 62}


class Transport:
    """What carries the messages of a run.

    network:      What messages cost.
    buffering:    How standard sends are buffered: "none", "eager" or "infinite"; `eager_limit` says it in bytes.
    observers:    What watches or breaks the run.
    contexts:     All communicators so far.
    disagreement: What ranks have announced that do not agree on their collective; None while all do.
    asking:       What answers the questions of ranks that depend on when things happen.
    depart:       What lets a message leave, unless an addition does: it returns whether that was all there is to do.
    kept:         What is made once in a run and kept to its end, by names of the layers that keep it.
    ahead:        How many messages a rank may send ahead of their receiver before it lets others run.
    """

    def __init__(
        self, scheduler: Scheduler, ranks: Sequence[RankState], network: Network, buffering: str, seed: int,
        observers: Sequence[Observer],
    ) -> None:  # fmt: skip
        self.scheduler, self.ranks, self.network, self.seed = scheduler, ranks, network, seed
        self.buffering, self.observers = buffering, tuple(observers)
        self.eager_limit = LIMITS.get(buffering, network.eager_limit)
        self.overhead_ps, self.ahead = network.overhead_ps, AHEAD
        self.contexts: list[Context] = []
        self.disagreement: Ledger | None = None
        self.kept: dict[Hashable, Any] = {}
        self.kinds: dict[Any, Kind] = {}
        self.asking: Any = ByTheClock(scheduler, network.poll_ps)
        self.wires = Wires()
        self.depart: Callable[[Message, int], bool] | None = None
        if network.ports:
            self.wires = ports = Ports(scheduler, ranks, shared=network.shared_node_port)
            scheduler.handlers[INJECT], scheduler.handlers[ARRIVE] = ports.inject, ports.arrive
            self.depart = ports.depart
        if observers or network.jitter_ps or network.shared_node_port:
            self.depart = self._depart_watched
        self.recycles = not observers and not network.jitter_ps

    def new_context(self, owners: Sequence[RankState]) -> Context:
        """Return a new communicator of these ranks."""
        self.contexts.append(Context(len(self.contexts), owners, self.join))
        return self.contexts[-1]

    def hidden_context(self, context: Context) -> Context:
        """Return the context of the same ranks for what collectives send."""
        if context.hidden is None:
            context.hidden = Context(context.number, [box.owner for box in context.boxes], self.join)
            context.hidden.hidden = context.hidden
        return context.hidden

    def all_contexts(self) -> list[Context]:
        """Return all communicators so far, hidden ones too."""
        hidden = [context.hidden for context in self.contexts if context.hidden is not None]
        return [*self.contexts, *hidden]

    def kind_of(self, lane: Lane, dtype: np.dtype[Any], n_bytes: int, tag: int, is_object: bool) -> Kind:
        """Return the kind of messages of `n_bytes` on a lane."""
        network = self.network
        link = network.link(lane.sender.rank, lane.box.owner.rank)
        key = (link.latency_ps, link.fs_per_byte, dtype, n_bytes, tag, is_object)
        kind = self.kinds.get(key)
        if kind is None:
            if len(self.kinds) >= _REMEMBERED:
                self.kinds.clear()
            kind = self.kinds[key] = Kind(
                dtype, n_bytes, tag, is_object=is_object, is_buffered=n_bytes <= self.eager_limit,
                latency_ps=link.latency_ps, transfer_ps=n_bytes * link.fs_per_byte // 1000, recycles=self.recycles,
            )  # fmt: skip
        return kind

    # -- messages that leave -----------------------------------------------------------------------------------

    def _depart_watched(self, message: Message, now: int) -> bool:
        """Let a message leave as observers want it; return True: it is queued, unless it is lost."""
        lane = message.lane
        message.number, message.ready_ps, message.arrival = lane.sender.sends, now, None
        if self.network.jitter_ps:
            draw = random.Random(f"{self.seed}/{lane.sender.rank}/{message.number}")
            message.latency_ps += draw.randrange(self.network.jitter_ps + 1)
        n_copies = 1
        for observer in self.observers:
            n_copies *= observer.copies(message)
        if n_copies:
            self._begin(message, now)
        for observer in self.observers:
            observer.sent(message)
        if n_copies:
            lane.box.put(lane, message)
        if n_copies > 1:
            self._send_twin(message, now)
        return True

    def _begin(self, message: Message, now: int) -> None:
        if message.sender is not None:
            self.wires.offer(message.lane.sender)
        else:
            self.wires.start(now, message)

    def _send_twin(self, message: Message, now: int) -> None:
        """Send a second copy of a message, which is buffered."""
        lane = message.lane
        lane.sender.sent += 1 << TRAFFIC_SHIFT  # its bytes are the first one's
        twin = Message(message.kind)
        twin.stage.write(message.as_bytes())
        twin.lane, twin.number, twin.ready_ps = lane, lane.sender.sends, message.ready_ps
        twin.latency_ps, twin.transfer_ps = message.latency_ps, message.transfer_ps
        for observer in self.observers:
            observer.twin(message, twin)
        self._begin(twin, now)
        for observer in self.observers:
            observer.sent(twin)
        lane.box.put(lane, twin)

    def join(self, receive: Operation, message: Message) -> None:
        """Start the transfer of a matched message, if that has waited for its receive; complete the receive."""
        if message.sender is not None:
            self.wires.start(max(message.ready_ps, receive.posted_ps, self.scheduler.time_ps), message)
        if message.arrival is None:
            message.receive = receive
        elif receive.waiting or receive.detached:
            receive.complete(message.arrival)
        else:  # as `complete` does, without the call
            receive.ready_ps = message.arrival

    # -- collectives -------------------------------------------------------------------------------------------

    def announce(self, state: RankState, context: Context, number: Any, name: str, arguments: dict[str, Any]) -> Ledger:
        """Enter a rank's collective of this number in a communicator; hold the rank here if ranks disagree."""
        ledgers = context.ledgers
        ledger: Ledger | None = ledgers.get(number)
        if ledger is None:
            ledger = ledgers[number] = Ledger(context, name, arguments)
        ledger.note(state, name, arguments)
        full = ledger.is_full()
        if full:
            del ledgers[number]
        if ledger.others:
            self.disagreement = ledger
            if full:
                self.scheduler.fail(state, ledger.mismatch())
            self.scheduler.park_for(state, (ledger,))
        return ledger
