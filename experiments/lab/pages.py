"""Tables of a notebook, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.lab.tables import begins_left


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Any:
    """Return a table for the last line of a cell: words begin at the left, and numbers end at the right."""
    from IPython.display import Markdown

    cells = [[str(cell) for cell in row] for row in rows]
    columns = [[row[index] for row in cells] for index in range(len(header))]
    rule = [":--" if begins_left(texts, names=not index) else "--:" for index, texts in enumerate(columns)]
    lines = [f"| {' | '.join(map(str, line))} |" for line in (header, rule, *cells)]
    return Markdown("\n".join(lines))  # type: ignore[no-untyped-call]
