"""The two sides of a message: posted sends, receives and probes."""

from __future__ import annotations

from typing import Any

from ranks.engine.events import DECIDE
from ranks.engine.rank import ALL, FIRST
from ranks.messages.message import Message
from ranks.words.callsite import Mark
from ranks.words.constants import ANY_SOURCE, ANY_TAG


class Operation:
    """A posted send, receive or probe: one side of a message.

    what:      "send", "receive" or "probe".
    state:     The rank that posted it.
    box:       The mailbox where both sides meet.
    peer:      The rank of the other side in the communicator, ANY_SOURCE or PROC_NULL.
    buf:       The buffer; None for a pickled object to be received, and for a probe.
    posted_ps: When it was posted.
    order:     Which of the rank's receives it is that had to wait for their message.
    ready_ps:  When it is complete; None until that is known.
    waiting:   How its rank is parked for it: for ALL of several, for the FIRST, or not (0).
    due_ps:    When a wildcard's next decision is due.
    message:   The message that it has, or sends; None before it is matched, and for PROC_NULL.
    cancelled: Whether it was withdrawn.
    is_standard: Whether it is a standard send that was not buffered at once.
    detached:  Whether its request was freed: it completes by itself.
    site:      Where a nonblocking one was posted.
    kept:      What the buffer of a nonblocking one held then, if the run is checked.
    """

    __slots__ = (
        "box", "buf", "cancelled", "detached", "due_ps", "is_standard", "kept", "message", "order", "peer",
        "posted_ps", "ready_ps", "site", "state", "tag", "waiting", "what",
    )  # fmt: skip

    def __init__(self, what: str, state: Any, box: Any, peer: int, tag: int, buf: Any) -> None:
        self.what, self.state = what, state
        self.site: Mark | None = None
        self.kept: Any = None
        self.cancelled = self.detached = self.is_standard = False
        self.order = 0
        self.begin(box, peer, tag, buf)

    def begin(self, box: Any, peer: int, tag: int, buf: Any) -> None:
        """Be posted now, for this side of a message; a rank uses the same one for all its blocking receives."""
        self.box, self.peer, self.tag, self.buf = box, peer, tag, buf
        self.posted_ps = self.state.now
        self.waiting = 0
        self.ready_ps: int | None = None
        self.due_ps: int | None = None
        self.message: Message | None = None

    def name(self) -> str:
        """Return what reports call a nonblocking one."""
        way = "send to" if self.what == "send" else "receive from"
        peer = "any rank" if self.peer == ANY_SOURCE else f"rank {self.peer}"
        return f"nonblocking {way} {peer}, {'any tag' if self.tag == ANY_TAG else f'tag {self.tag}'}"

    def awaited(self) -> list[Operation]:
        """Return what it waits for: itself, until it is complete."""
        return [] if self.ready_ps is not None else [self]

    def takes(self, message: Message) -> bool:
        """Return whether this receive or probe fits the message by source and tag."""
        return self.peer in (ANY_SOURCE, message.source) and self.tag in (ANY_TAG, message.tag)

    def complete(self, ready_ps: int) -> None:
        """Note when the operation is complete, and wake its rank if it waits for that."""
        self.ready_ps = ready_ps
        state = self.state
        if self.waiting == ALL:
            self.waiting = 0
            state.scheduler.ready.append(state.greenlet)
        elif self.waiting == FIRST:
            state.scheduler.schedule_next(max(ready_ps, state.now), DECIDE, state.rank, state)
        elif self.detached:
            self.deliver()

    def deliver(self) -> None:
        """Write the message of a receive that nobody waits for to its buffer, if it fits."""
        message, buf = self.message, self.buf
        if self.what != "receive" or message is None or buf is None:
            return
        if buf.dtype == message.kind.dtype and buf.nbytes >= message.n_bytes:
            message.copy_into(buf)


class Work(Operation):
    """Work of a rank beside its program, such as a nonblocking collective; `what` is the call that began it.

    beside: Who does it: a rank's state of its own, with a clock of its own; None if nobody has to do anything.
    found:  The source, the tag and the bytes of the message that it has received, if it has one.
    holders: The ranks that have what it waits for, if it waits for a lock.
    """

    __slots__ = ("beside", "found", "holders")

    def __init__(self, what: str, state: Any, box: Any, beside: Any) -> None:
        super().__init__(what, state, box, ANY_SOURCE, ANY_TAG, None)
        self.beside = beside
        self.found: tuple[int, int, int] | None = None
        self.holders: list[Any] = []

    def name(self) -> str:
        """Return what reports call it."""
        return self.what

    def awaited(self) -> list[Operation]:
        """Return what it waits for: what its worker does."""
        if self.ready_ps is not None or self.beside is None:
            return []
        return [each for awaited in self.beside.awaited() for each in awaited.awaited()]
