"""Tables: the same cells for the terminal (rich) and for a README (Markdown)."""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _measure import Variant
from rich.console import Console
from rich.table import Table as RichTable


@dataclass
class Table:
    """A title, a header and rows of text: words begin at the left, and numbers end at the right."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def sides(self) -> list[bool]:
        """Return for each column whether it begins at the left: the first, unless it has whole numbers, and words."""
        columns = [[row[index] for row in self.rows if row[index]] for index in range(len(self.header))]
        first = not all(text.replace(",", "").isdigit() for text in columns[0])
        return [first, *(bool(texts) and not any(text[0].isdigit() for text in texts) for texts in columns[1:])]

    def show(self, console: Console) -> None:
        """Print the table to the terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for name, left in zip(self.header, self.sides(), strict=True):
            table.add_column(name, justify="left" if left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """Return the table in Markdown, its title in bold above it."""
        rule = [":--" if left else "--:" for left in self.sides()]
        lines = ["| " + " | ".join(row) + " |" for row in (self.header, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines, ""])


def report(parts: Iterable[Table | str], markdown: Path | None = None) -> None:
    """Print lines and tables as they come; write all of them to a file too, if one is named."""
    # Without a terminal rich cuts tables to 80 columns; these need more.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    text = []
    for part in parts:
        if isinstance(part, Table):
            console.print()
            part.show(console)
            text.append(part.markdown())
        else:
            console.print(part, highlight=False, markup=False)
            text.append(f"```\n{part}\n```\n")
    if markdown:
        markdown.write_text("\n".join(text), encoding="utf-8")
        console.print(f"written: {markdown}")


HEADER = ["variant", "p", "runs", "min s", "median s", "max s", "messages/s", "asked", "switches"]


def timing_row(variant: Variant, p: int, ours: Sequence[Variant]) -> list[str]:
    """Return the cells of one timed variant; the last ones are the rates of `ours` over this one's."""
    ratios = [f"{our.rate / variant.rate:.2f}" for our in ours]
    verdict = "yes" if variant.rate >= variant.asked else "NO"
    asked = f"≥ {rate(variant.asked)}: {verdict}" if variant.asked else ""
    times = (min(variant.seconds), statistics.median(variant.seconds), max(variant.seconds))
    return [
        variant.name,
        f"{p:,}",
        str(len(variant.seconds)),
        *(f"{t:.3g}" for t in times),
        rate(variant.rate),
        asked,
        f"{variant.switches:.1f}",
        *ratios,
    ]


def missing_row(name: str, p: int, install: str, columns: int) -> list[str]:
    """Return the cells that say that a peer is not installed, and how to install it."""
    cells = [name, f"{p:,}", "0", "", "", "", "not installed", install]
    return cells + [""] * (columns - len(cells))


def rate(per_s: float) -> str:
    """Return a rate in three digits: 1.05 M, 94.1 k."""
    return f"{per_s / 1e6:.2f} M" if per_s >= 999.5e3 else f"{per_s / 1e3:.3g} k"
