"""What is known about where output goes: its width, its characters, and text that is folded to fit."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import sys
import textwrap
import unicodedata

NARROWEST = 30  # columns; in fewer nothing can be laid out
# For a terminal that knows ASCII only. What is not in the table loses its accents, or becomes a question mark.
PLAIN = {
    "α": "alpha", "β": "beta", "γ": "gamma", "µ": "u", "μ": "u", "√": "sqrt", "≤": "<=", "≥": ">=", "×": "x",  # noqa: RUF001
    "·": "*", "−": "-", "–": "-", "—": "-", "─": "-", "━": "-", "→": "->", "←": "<-", "…": "...", "’": "'",  # noqa: RUF001
}  # fmt: skip


def is_shown() -> bool:
    """Return whether output goes to a terminal, directly or through mpiexec."""
    return sys.stdout.isatty() or os.environ.get("TTY_COMPATIBLE") == "1"


def width() -> int | None:
    """Return the columns of the terminal, None where output goes to a file or a pipe and may be as wide as it is."""
    return max(shutil.get_terminal_size((100, 24)).columns, NARROWEST) if is_shown() else None


def say(text: str = "") -> None:
    """Print text; on a terminal, lines that are too long are folded between words."""
    print(folded(text, width()), flush=True)


def tell(paragraph: str) -> None:
    """Print prose in lines that fit a page, however wide the output is."""
    print(folded(paragraph, min(width() or 100, 100)), flush=True)


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


def speak_plainly() -> None:
    """From now on print what the encoding of an output cannot say in other characters, and raise no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="plainly")


def plain(text: str) -> str:
    """Return text as standard output can say it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "plainly").decode(encoding)
    return text


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Say the first character that cannot be encoded in ASCII: by the table, or without its accents."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return PLAIN.get(character, bare or "?"), error.start + 1


codecs.register_error("plainly", _plainly)
