"""What happens at a virtual time: the kinds of events, in the order in which those of one time happen."""

from __future__ import annotations

from typing import Any

# Messages come first, so that a decision or a poll at that time sees them.
INJECT, ARRIVE, DECIDE, POLL = range(4)
# Kind, rank, number, and the message, mailbox or rank that it happens to; events of one time happen in this order.
Event = tuple[int, int, int, Any]
