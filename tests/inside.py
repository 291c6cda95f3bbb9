"""What tests see of the inside of `ranks`, in one place: whoever moves things there changes this file only."""

from __future__ import annotations

from typing import Any

import ranks
from ranks import exploring
from ranks.both import background, kept
from ranks.both.calibrate import _table as calibrate_table
from ranks.draw.chrome import chrome_events
from ranks.draw.events import Events
from ranks.draw.page import facts, page
from ranks.engine import scheduler
from ranks.hangs.cores import deadlock_cores
from ranks.network.measured import MeasuredLink, MeasuredNetwork, Times
from ranks.real import checked as checking
from ranks.real import guard
from ranks.running import BUFFERINGS, carry_out
from ranks.schedules import world as choosing
from ranks.schedules.search import Search, last_good, read_replay
from ranks.schedules.world import ChoosingWorld
from ranks.words import constants, progress
from ranks.words.datatypes import DATATYPES, NotABufferError, as_flat

__all__ = [
    "BUFFERINGS", "DATATYPES", "ChoosingWorld", "Events", "MeasuredLink", "MeasuredNetwork", "NotABufferError",
    "Search", "Times", "abandoned", "as_flat", "background", "backlog", "calibrate_table", "carry_out", "checking",
    "choosing", "chrome_events", "constants", "deadlock_cores", "exploring", "facts", "guard", "kept", "last_good",
    "now_ps", "page", "progress", "read_replay",
]  # fmt: skip


def now_ps(comm: ranks.Comm) -> int:
    """Return the virtual time of a rank in picoseconds."""
    now: int = comm._state.now
    return now


def backlog(comm: ranks.Comm) -> int:
    """Return how many messages of a rank have yet to take their turn at its out-port."""
    return comm._state.backlog


def abandoned() -> list[Any]:
    """Return the ranks that would not end when their run was over."""
    return scheduler.ABANDONED
