"""Do all ranks of a communicator call the same collective with the same arguments?

Collectives announce themselves. The k-th announcements of all ranks of a communicator meet in one ledger; a
rank whose announcement differs from the first is held until all have announced or nothing moves any more,
since only then is it known who the majority is: the first to arrive may be the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ranks.messages.mailbox import Context
from ranks.messages.rank import RankState
from ranks.words.callsite import current_where
from ranks.words.errors import CollectiveMismatchError

Arguments = dict[str, Any]


class Ledger:
    """What the ranks of one communicator announced as their k-th collective, and what they brought to it.

    Nearly always all are alike, and to compare is quicker than to hash.

    boxes:           The mailboxes of the communicator's ranks.
    name, arguments: What was announced first.
    alike:           The world ranks that announced the same.
    others:          The world ranks that announced something else, by its text.
    sites:           Where the first rank of each of these groups did so.
    values:          What each rank of the communicator has brought.
    parked:          The ranks that wait for the others.
    latest_ps:       The time of the latest of them.
    """

    __slots__ = ("alike", "arguments", "boxes", "latest_ps", "name", "others", "parked", "sites", "values")

    def __init__(self, context: Context, name: str, arguments: Arguments) -> None:
        self.boxes, self.name, self.arguments = context.boxes, name, arguments
        self.alike: list[int] = []
        self.others: dict[str, list[int]] = {}
        self.sites = [current_where()]
        self.values: dict[int, Any] = {}
        self.parked: list[RankState] = []
        self.latest_ps = 0

    def missing(self) -> list[int]:
        """Return the world ranks that have announced nothing yet."""
        here = {rank for ranks in (self.alike, *self.others.values()) for rank in ranks}
        return [box.owner.rank for box in self.boxes if box.owner.rank not in here]

    def awaited(self) -> list[Any]:
        """Return what it waits for: itself."""
        return [self]

    def note(self, state: RankState, name: str, arguments: Arguments) -> None:
        """Enter one rank's announcement."""
        if name == self.name and _are_equal(arguments, self.arguments):
            self.alike.append(state.rank)
        else:
            text = text_of(name, arguments)
            if text not in self.others:
                self.others[text] = []
                self.sites.append(current_where())
            self.others[text].append(state.rank)
        if state.now > self.latest_ps:
            self.latest_ps = state.now

    def is_full(self) -> bool:
        """Return whether all ranks of the communicator have announced."""
        n_others = sum(map(len, self.others.values())) if self.others else 0
        return len(self.alike) + n_others == len(self.boxes)

    def meet(self, state: RankState, rank: int, value: Any) -> dict[int, Any]:
        """Return what all ranks brought, by rank, once all have come; all leave at the time of the latest.

        Making communicators is not charged on the clock beyond this wait.
        """
        self.values[rank] = value
        if len(self.values) == len(self.boxes):
            state.scheduler.ready.extend(parked.greenlet for parked in self.parked)
        else:
            self.parked.append(state)
            state.scheduler.park_for(state, (self,))
        state.now = self.latest_ps
        return self.values

    def mismatch(self) -> CollectiveMismatchError:
        """Return the error that names the majority and the outliers."""
        texts = [text_of(self.name, self.arguments), *self.others]
        calls = dict(zip(texts, [self.alike, *self.others.values()], strict=True))
        sites = dict(zip(texts, self.sites, strict=True))
        missing = self.missing()
        return disagreement(
            calls, sites, f"{ranks_text(missing)}: called no collective here" if missing else "", missing
        )


def _are_equal(one: Arguments, other: Arguments) -> bool:
    try:
        return one == other
    except ValueError:  # arrays among them
        return repr(one) == repr(other)


def disagreement(
    calls: dict[str, list[int]], sites: dict[str, str], absent: str, missing: list[int]
) -> CollectiveMismatchError:
    """Return the error for ranks that made different `calls` at `sites`; `absent` says what the `missing` ranks did."""
    groups = sorted(calls.items(), key=lambda entry: (-len(entry[1]), entry[1]))
    largest = len(groups[0][1])
    tied = len(groups) > 1 and largest == len(groups[1][1])
    lines = ["ranks of one communicator disagree on their collective"]
    for index, (text, ranks) in enumerate(groups):
        role = "one side" if tied and len(ranks) == largest else "outlier" if index else "majority"
        lines.append(f"  {role:<9} {ranks_text(ranks)}: {text} at {sites[text]}")
    if absent:
        lines.append(f"  missing   {absent}")
    lines.append("  remedy: let all ranks of the communicator make the same call with the same arguments")
    return CollectiveMismatchError("\n".join(lines), {text: sorted(ranks) for text, ranks in groups}, missing)


def text_of(name: str, arguments: Arguments) -> str:
    """Return an announcement as people write it: "reduce(root=0)"."""
    return f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def ranks_text(ranks: Iterable[int]) -> str:
    """Return ranks as people write them: "ranks 0-2, 5"."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"rank {text}" if len(runs) == 1 and runs[0][0] == runs[0][1] else f"ranks {text}"
