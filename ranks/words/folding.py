"""Text for a terminal: long lines are folded between words."""

from __future__ import annotations

import re
import textwrap


def folded(text: str, columns: int | None) -> str:
    """Return text whose lines have at most so many columns; what is folded is set in below its first line or label.

    folded("  ring   p-1 messages", 16)  # '  ring   p-1\n      messages'
    """
    return "\n".join(line for long in text.split("\n") for line in _fold(long, columns))


def _fold(line: str, columns: int | None) -> list[str]:
    if columns is None or len(line) <= columns:
        return [line]
    hanging = ""
    if label := re.match(r"\w+: +", line):
        hanging = " " * len(label[0])
    elif indent := re.match(" +", line):
        hanging = f"{indent[0]}    "
    return textwrap.wrap(line, columns, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
