"""What is known about where output goes: its width, its characters, and text that is folded to fit."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import unicodedata

from ranks.words.folding import folded as folded

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
