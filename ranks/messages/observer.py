"""What may watch a run or break it: the points at which the transport asks, each doing nothing by default."""

from __future__ import annotations

from typing import Any

from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState


class Observer:
    """Hears of what happens to messages, and may change it."""

    def before_call(self, state: RankState, *, sends: bool) -> None:
        """Hear that a rank is about to send, or to receive, or has come back from waiting."""

    def own_ps(self, state: RankState, time_ps: int) -> int:
        """Return how long this rank takes for work of time_ps."""
        return time_ps

    def computed(self, state: RankState, begin_ps: int) -> None:
        """Hear that a rank has worked on its own since begin_ps."""

    def returned(self, state: RankState) -> None:
        """Hear that the program of a rank has returned."""

    def copies(self, message: Message) -> int:
        """Return how many copies of a message arrive, 0 if it is lost; change its costs if they are to change."""
        return 1

    def twin(self, message: Message, copy: Message) -> None:
        """Hear which message is the second copy of one that comes twice."""

    def posted(self, operation: Operation) -> None:
        """Hear of a nonblocking operation that was posted."""

    def uses(self, state: RankState, buf: Any, *, writes: bool) -> None:
        """Hear that a blocking call is about to send from a buffer, or to receive into it."""

    def sent(self, message: Message) -> None:
        """Hear of a message that was sent, at the time of its rank."""

    def received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Hear that a receive from `source` with `tag`, which has waited since begin_ps, is complete."""

    def send_finished(self, operation: Operation, message: Message, begin_ps: int) -> None:
        """Hear that the buffer of a send is free again, for which its rank has waited since begin_ps."""

    def finishing(self, operation: Operation) -> None:
        """Hear that the rank is about to finish a complete operation, before data is written to its buffer."""

    def nobody(self, state: RankState, value: Any) -> None:
        """Hear that a rank gave `value`, which is PROC_NULL, as the other side of a message."""
