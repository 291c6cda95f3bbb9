"""Do all ranks of a communicator call the same collective with the same arguments?

Collectives announce themselves. The k-th announcements of all ranks of a communicator meet in one ledger; a
rank whose announcement differs from the first is held until all have announced or nothing moves any more,
since only then is it known who the majority is: the first to arrive may be the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ranks.calls import current_call
from ranks.errors import CollectiveMismatchError

if TYPE_CHECKING:
    from ranks.endpoint import Endpoint
    from ranks.world import RankState


class Ledger:
    """What the ranks of one communicator announced as their k-th collective, and what they brought to it."""

    __slots__ = ("latest_ps", "members", "parked", "ranks", "sites", "values")

    def __init__(self, members: list[int]) -> None:
        self.members = members
        self.ranks: dict[Any, list[int]] = {}
        self.sites: dict[Any, str] = {}
        self.values: dict[int, Any] = {}
        self.parked: list[RankState] = []
        self.latest_ps = 0

    def awaited(self) -> list[int]:
        """Return the world ranks that have announced nothing yet."""
        here = {rank for ranks in self.ranks.values() for rank in ranks}
        return [rank for rank in self.members if rank not in here]

    def note(self, state: RankState, signature: Any) -> None:
        """Enter one rank's announcement."""
        if signature not in self.ranks:
            self.ranks[signature] = []
            self.sites[signature] = current_call().where
        self.ranks[signature].append(state.rank)
        self.latest_ps = max(self.latest_ps, state.now)

    def is_full(self) -> bool:
        """Return whether all ranks of the communicator have announced."""
        return sum(map(len, self.ranks.values())) == len(self.members)

    def mismatch(self) -> CollectiveMismatchError:
        """Return the error that names the majority and the outliers."""
        calls = {text_of(*signature): ranks for signature, ranks in self.ranks.items()}
        sites = {text_of(*signature): site for signature, site in self.sites.items()}
        missing = self.awaited()
        return disagreement(
            calls, sites, f"{ranks_text(missing)}: called no collective here" if missing else "", missing
        )


def disagreement(
    calls: dict[str, list[int]], sites: dict[str, str], absent: str, missing: list[int]
) -> CollectiveMismatchError:
    """Return the error for ranks that made different `calls` at `sites`; `absent` says what the `missing` ranks did."""
    groups = sorted(calls.items(), key=lambda entry: (-len(entry[1]), entry[1]))
    largest = len(groups[0][1])
    tied = len(groups) > 1 and largest == len(groups[1][1])
    lines = ["CollectiveMismatchError: ranks of one communicator disagree on their collective"]
    for index, (text, ranks) in enumerate(groups):
        role = "one side" if tied and len(ranks) == largest else "outlier" if index else "majority"
        lines.append(f"  {role:<9} {ranks_text(ranks)}: {text} at {sites[text]}")
    if absent:
        lines.append(f"  missing   {absent}")
    lines.append("  remedy: let all ranks of the communicator make the same call with the same arguments")
    return CollectiveMismatchError("\n".join(lines), {text: sorted(ranks) for text, ranks in groups}, missing)


def text_of(name: str, arguments: Iterable[tuple[str, Any]]) -> str:
    """Return an announcement as people write it: "reduce(root=0)"."""
    return f"{name}({', '.join(f'{key}={value}' for key, value in arguments)})"


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


def announce(comm: Endpoint, name: str, arguments: dict[str, Any], number: Any = None) -> Ledger:
    """Enter the calling rank's next collective; hold it here if ranks disagree.

    number: which one it is, for collectives inside of another one; by default the next of the communicator.
    """
    state, world = comm._state, comm._world
    if number is None:
        number = comm._announced
        comm._announced += 1
    key = (comm._context.number, number)
    ledger = world.ledgers.get(key)
    if ledger is None:
        ledger = world.ledgers[key] = Ledger([box.owner.rank for box in comm._boxes])
    ledger.note(state, (name, tuple(arguments.items())))
    full = ledger.is_full()
    if full:
        del world.ledgers[key]
    if len(ledger.ranks) > 1:
        world.disagreement = ledger
        if full:
            world.fail(state, ledger.mismatch())
        state.awaits = ledger
        world.park(state)
    return ledger


def meet(comm: Endpoint, name: str, value: Any, arguments: dict[str, Any]) -> dict[int, Any]:
    """Return what all ranks brought, by rank, once all have come; all leave at the time of the latest.

    Making communicators is not charged on the clock beyond this wait.
    """
    state, world = comm._state, comm._world
    ledger = announce(comm, name, arguments)
    ledger.values[comm.rank] = value
    if len(ledger.values) == len(ledger.members):
        world.ready.extend(parked.greenlet for parked in ledger.parked)
    else:
        ledger.parked.append(state)
        state.awaits = ledger
        world.park(state)
        state.awaits = None
    state.now = ledger.latest_ps
    return ledger.values
