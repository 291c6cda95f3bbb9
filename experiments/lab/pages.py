"""Tables of a notebook, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Any:
    """Return a table for the last line of a cell; the first column starts at the left, the others end at the right."""
    from IPython.display import Markdown

    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))  # type: ignore[no-untyped-call]
