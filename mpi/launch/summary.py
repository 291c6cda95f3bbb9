"""Where the messages, the bytes and the waiting of a run were: by rank, by line of the program, by algorithm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ranks.draw.look import in_us
from ranks.messages.message import Message
from ranks.messages.observer import Observer
from ranks.messages.operation import Operation
from ranks.messages.rank import RankState
from ranks.observers.trace import Trace
from ranks.words.callsite import current_where

_SHOWN = 16


class Account:
    """Messages and bytes that were sent, and picoseconds that were waited."""

    __slots__ = ("messages", "n_bytes", "waited_ps")

    def __init__(self) -> None:
        self.messages = self.n_bytes = self.waited_ps = 0


class Sites(Observer):
    """The accounts of each line of the program, and of each rank; and the time of the last thing that happened."""

    def __init__(self) -> None:
        self.by_site: dict[str, Account] = {}
        self.by_rank: dict[int, Account] = {}
        self.time_ps = 0

    def _accounts(self, rank: int) -> tuple[Account, Account]:
        return self.by_site.setdefault(current_where(), Account()), self.by_rank.setdefault(rank, Account())

    def sent(self, message: Message) -> None:
        """Count a message for the line that sends it."""
        self.time_ps = max(self.time_ps, message.lane.sender.now)
        for account in self._accounts(message.lane.sender.rank):
            account.messages += 1
            account.n_bytes += message.n_bytes

    def received(self, message: Message, source: int, tag: int, begin_ps: int) -> None:
        """Count the time that the line has waited for a message."""
        self._wait(message.owner, begin_ps)

    def send_finished(self, operation: Operation, message: Message, begin_ps: int) -> None:
        """Count the time that the line has waited for the buffer of a send."""
        self._wait(operation.state, begin_ps)

    def _wait(self, state: RankState, begin_ps: int) -> None:
        self.time_ps = max(self.time_ps, state.now)
        for account in self._accounts(state.rank):
            account.waited_ps += state.now - begin_ps


def summary(n_ranks: int, sites: Sites, trace: Trace | None, time_ps: int) -> str:
    """Return the tables of a run, or of one that has failed, as far as it came."""
    header = ("messages", "bytes sent", "waited", "")
    ranks = [(f"rank {rank}", sites.by_rank.get(rank, Account())) for rank in range(n_ranks)]
    busiest = sorted(ranks, key=lambda row: -row[1].waited_ps)[:_SHOWN] if n_ranks > _SHOWN else ranks
    messages, n_bytes = (sum(getattr(each, name) for _, each in ranks) for name in ("messages", "n_bytes"))
    lines = [f"{n_ranks} ranks, {messages:,} messages, {n_bytes:,} bytes, {_time(time_ps)}"]
    lines += _table(("rank" if n_ranks <= _SHOWN else f"the {_SHOWN} that waited most", *header), _rows(busiest))
    by_site = sorted(sites.by_site.items(), key=lambda row: -row[1].waited_ps)
    lines += _table(("line", *header), _rows(by_site))
    visits: dict[str, list[int]] = {}
    for name, _, start_ps, end_ps in trace.visits() if trace else ():
        visits.setdefault(name, []).append(end_ps - start_ps)
    if visits:
        rows = ((name, f"{len(times):,}", _time(max(times))) for name, times in visits.items())
        lines += _table(("algorithm", "calls of ranks", "longest"), rows)
    return "\n".join(lines)


def _rows(accounts: Sequence[tuple[str, Account]]) -> Iterator[tuple[str, ...]]:
    most = max((account.waited_ps for _, account in accounts), default=0)
    for name, account in accounts:
        bar = "#" * round(20 * account.waited_ps / most) if most else ""
        yield name, f"{account.messages:,}", f"{account.n_bytes:,}", _time(account.waited_ps), bar


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table after an empty one; the first column and bars stand on the left."""
    texts = [tuple(header), *rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    yield ""
    for row in texts:
        cells = [
            f"{cell:<{width}}" if index == 0 or cell.startswith("#") else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _time(time_ps: int) -> str:
    unit, ps = next(((unit, ps) for unit, ps in (("s", 1e12), ("ms", 1e9)) if time_ps >= ps), ("", 0))
    if not time_ps:
        return "0"
    return f"{time_ps / ps:#.4g} {unit}" if ps else in_us(time_ps, "#.4g")
