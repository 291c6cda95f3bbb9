"""Tables: for a reader as wide as the terminal is, and the same values as they are for --csv and --json."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from experiments.lab import terminal
from experiments.lab.units import nice_time
from experiments.lab.worlds import Trial, World

Row = Sequence[Any]
AGREED = "as expected"
NUMBER = re.compile(r"[≤≥~<>=+-]* ?\d\S*( \S+)?( \(.*\))?")  # with a unit, and with another number in brackets


def plainly(value: Any) -> str:
    """Return a value as text, whole numbers with commas."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Column:
    """A column: what its values are, under which heading it stands with its neighbours, and how a value is written.

    unit: of the values as they are kept, such as "ps"; what is shown has its unit with it.
    names: This column, like the first, says of what a row is.
    called: in --csv and --json, if the name is of one table only: "algorithm" for Column("8 ranks").
    """

    name: str
    heading: str = ""
    show: Callable[[Any], str] = plainly
    unit: str = ""
    names: bool = False
    called: str = ""

    @property
    def key(self) -> str:
        """The name in --csv and --json: Column("measured", "time", nice_time, "ps") is "time_measured_ps"."""
        return self.called or "_".join(re.findall(r"[a-z0-9]+", f"{self.heading} {self.name} {self.unit}".lower()))

    def text(self, value: Any) -> str:
        """Return how a value is written; "-" where there is none."""
        if isinstance(value, Bound):
            return f"{value.sign} {self.text(value.value)}"
        return terminal.plain("-" if value is None else value if isinstance(value, str) else self.show(value))


@dataclass(frozen=True)
class Bound:
    """A value that another is expected not to pass: Bound("≤", 2700)."""

    sign: str
    value: Any

    def __str__(self) -> str:
        return f"{ {'≤': '<=', '≥': '>='}[self.sign] }{self.value}"


def pair(heading: str, show: Callable[[Any], str] = plainly, unit: str = "") -> list[Column]:
    """Return two columns: what was expected, and what was measured."""
    return [Column(name, heading, show, unit) for name in ("expected", "measured")]


def time_column(name: str, heading: str = "") -> Column:
    """Return a column of picoseconds."""
    return Column(name, heading, nice_time, "ps")


def begins_left(texts: Sequence[str], *, names: bool = False) -> bool:
    """Return whether a column is of words, which begin at the left; numbers end at the right.

        begins_left(["ring", "-", "1f1b"])  # True
        begins_left(["≥ 12", "1.5 GiB", "85 (2.18)", "never"])  # False

    names: It says of what a row is, as "4 KiB" does, so it begins at the left unless all of it are whole numbers.
    """
    said = [text for text in texts if text not in ("", "-")]
    n_words = sum(NUMBER.fullmatch(text) is None for text in said)
    return 2 * n_words >= len(said) > 0 or (names and not all(text.replace(",", "").isdigit() for text in texts))


# -- printing ------------------------------------------------------------------------------------------------


def table(columns: Sequence[Column | str], rows: Iterable[Row], name: str = "") -> None:
    """Print a table whose first column names the row; keep its values if `kept` asks for them.

    It is never cut: where it is too wide for the terminal, its columns move together, then what was measured is left
    out where it is what was expected, and at last each row becomes a paragraph. A column may be a text for a notebook:
    "time\\nmeasured" has a heading.
    name: what --json and --csv call it, if there are several.
    """
    made = [each if isinstance(each, Column) else _column(each) for each in columns]
    values = [list(row) for row in rows]
    for keep in _KEEPERS:
        keep.append(Kept(name or made[0].key, made, values))
    cells = [[column.text(value) for column, value in zip(made, row, strict=True)] for row in values]
    width = terminal.width()
    for columns_, cells_ in ((made, cells), _agreeing(made, cells)):
        for gap in (3, 1):
            text = _grid(columns_, cells_, gap)
            if width is None or max(map(len, text.splitlines())) <= width:
                print(text, flush=True)
                return
    print(_paragraphs(*_agreeing(made, cells), width or 0), flush=True)


def _column(text: str) -> Column:
    heading, _, name = text.rpartition("\n")
    return Column(name, heading)


def _grid(columns: Sequence[Column], cells: list[list[str]], gap: int) -> str:
    """Return the table as lines: headings, which may be as wide as all columns below them, names, a rule, the rows."""
    is_left = [
        begins_left([row[index] for row in cells], names=column.names or not index)
        for index, column in enumerate(columns)
    ]
    names = [terminal.plain(column.name) for column in columns]
    widths = [max(map(len, texts)) for texts in zip(names, *cells, strict=True)]
    above = ""
    for heading, group in groupby(range(len(columns)), lambda index: terminal.plain(columns[index].heading)):
        first, *others = group
        rest = sum(gap + widths[index] for index in others)
        widths[first] = max(widths[first], len(heading) - rest)
        placed = heading if is_left[first] else heading.rjust(widths[first])
        above += placed.ljust(widths[first] + rest) + " " * gap

    def line(row: Sequence[str]) -> str:
        placed = zip(row, is_left, widths, strict=True)
        aligned = [text.ljust(width) if left else text.rjust(width) for text, left, width in placed]
        return f" {(' ' * gap).join(aligned)}".rstrip()

    rule = terminal.plain("─" * (sum(widths) + gap * (len(widths) - 1)))
    head = [f" {above}".rstrip()] if above.strip() else []
    return "\n".join(["", *head, line(names), f" {rule}", *map(line, cells), ""])


def _agreeing(columns: Sequence[Column], cells: list[list[str]]) -> tuple[list[Column], list[list[str]]]:
    """Return the table in which a measured column that is everywhere what was expected is one with that."""
    kept = list(range(len(columns)))
    made = list(columns)
    for left, right in zip(range(len(columns)), range(1, len(columns)), strict=False):
        is_pair = columns[left].name == "expected" and columns[right].name == "measured"
        if is_pair and all(row[left] == row[right] for row in cells):
            kept.remove(right)
            made[left] = Column(AGREED, columns[left].heading)
    return [made[index] for index in kept], [[row[index] for index in kept] for row in cells]


def _paragraphs(columns: Sequence[Column], cells: list[list[str]], width: int) -> str:
    """Return a paragraph for each row, and in it a line for each heading; a name that is alone stands with its own."""
    first = 1 + sum(column.names for column in columns[1:])
    under = Counter(column.heading for column in columns[first:] if column.heading)
    is_shared = [under[column.heading] > 1 or column.name == AGREED for column in columns[first:]]
    labels = [
        terminal.plain(column.heading if shared else f"{column.heading} {column.name}".strip())
        for column, shared in zip(columns[first:], is_shared, strict=True)
    ]
    indent = max(map(len, labels), default=0) + 4
    indent = indent if indent <= width // 2 else 4  # and then the label has a line of its own
    head = " / ".join(f"{column.heading} {column.name}".strip() for column in columns[:first])
    lines = ["", f"{terminal.folded(head, width - 1)}:"]
    for row in cells:
        by_label: dict[str, list[str]] = {}
        for column, shared, label, text in zip(columns[first:], is_shared, labels, row[first:], strict=True):
            if text:
                words = (text, f", {AGREED}") if column.name == AGREED else (f"{column.name} ", text)
                by_label.setdefault(label, []).append("".join(words) if shared else text)
        lines += ["", " / ".join(row[:first])]
        for label, texts in by_label.items():
            begin = f"  {label}"
            if indent == 4:
                lines.append(begin)
                begin = ""
            text = f"{begin.ljust(indent)}{', '.join(texts)}"
            lines += textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False)
    return "\n".join([*lines, ""])


# -- for programs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A table as it was printed, with its values as they are."""

    name: str
    columns: Sequence[Column]
    rows: list[list[Any]]

    def records(self) -> list[dict[str, Any]]:
        """Return a dict for each row."""
        return [{c.key: _value(v) for c, v in zip(self.columns, row, strict=True)} for row in self.rows]


_KEEPERS: list[list[Kept]] = []


@contextmanager
def kept() -> Iterator[list[Kept]]:
    """Give a list to which every table is added that is printed meanwhile."""
    found: list[Kept] = []
    _KEEPERS.append(found)
    try:
        yield found
    finally:
        _KEEPERS.remove(found)


def as_csv(tables: Sequence[Kept]) -> str:
    """Return the tables as one CSV; if there are several, the first column says of which a row is."""
    columns = list(dict.fromkeys(column.key for each in tables for column in each.columns))
    out = io.StringIO()
    writer = csv.DictWriter(out, ["table", *columns] if len(tables) > 1 else columns, extrasaction="ignore")
    writer.writeheader()
    for each in tables:
        writer.writerows({"table": each.name, **record} for record in each.records())
    return out.getvalue()


def as_json(tables: Sequence[Kept], about: dict[str, Any]) -> str:
    """Return the tables as JSON, after what is said about them."""
    found = [{"name": each.name, "rows": each.records()} for each in tables]
    return json.dumps({**about, "tables": found}, indent=1, default=str) + "\n"


def _value(value: Any) -> Any:
    """Return a value as CSV and JSON know it: numbers as numbers."""
    if isinstance(value, Bound):
        return str(value)
    return value.item() if hasattr(value, "item") else value


# -- expected beside measured --------------------------------------------------------------------------------


def compare(world: World, counted: str, trials: Sequence[Trial]) -> None:
    """Print what was expected of each trial beside what was measured; assert that they agree and results are right.

    counted: "sends" or "bytes sent", what to show of the busiest rank.
    """
    rows = []
    for trial in trials:
        expected, measured = trial.expected, trial.measured
        assert measured.right, f"{trial.name}: a result is wrong"
        row: list[Any] = [trial.name, None, None, None, None]
        if expected:
            pairs = {
                "rounds": ([expected.rounds], [trial.rounds]),
                "sends": (expected.sends, measured.sends),
                "bytes sent": (expected.bytes_sent, measured.bytes_sent),
            }  # by rank but for the first
            for what, (wanted, got) in pairs.items():
                assert got == wanted, f"{trial.name}: {what} {got}, expected {wanted}"
            row[1:] = [max(numbers) for what in ("rounds", counted) for numbers in pairs[what]]
        rows.append([*([trial.p] if trial.p else []), *row, _expected_time(world, trial), measured.time_ps])
    if world.first:
        names = [Column("ranks")] if trials[0].p else []
        columns = [*pair("rounds"), *pair(f"most {counted}"), *pair("time", nice_time, "ps")]
        table([*names, Column("algorithm", names=True), *columns], rows, "algorithms")


def _expected_time(world: World, trial: Trial) -> Any:
    """Return the expected time, or its bound; assert that it was met on simulated ranks."""
    expected, time_ps = trial.expected, trial.measured.time_ps
    if world.real or expected is None or expected.at_most_ps is None:
        return None
    if expected.time_ps is None:
        assert time_ps <= expected.at_most_ps, f"{trial.name}: {time_ps} ps, at most {expected.at_most_ps} expected"
        return Bound("≤", expected.at_most_ps)
    assert time_ps == expected.time_ps, f"{trial.name}: {time_ps} ps, {expected.time_ps} expected"
    return expected.time_ps
