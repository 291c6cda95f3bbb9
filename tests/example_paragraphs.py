"""Paragraphs of docstrings, and which of them are code: for the tests of examples, and for the site that shows them."""

import ast
import re
from collections.abc import Iterable, Iterator
from textwrap import dedent

EXAMPLE = re.compile(r"(?:from|import) \w|[A-Za-z_]\w*[.(].*  # ")


def paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the paragraphs; indented ones that follow each other are one, with its empty lines."""
    found: list[str] = []
    gap = False
    for line in [*lines, "end"]:
        if not line.strip():
            gap = True
            continue
        if gap and found and not (found[0].startswith("    ") and line.startswith("    ")):
            yield found
            found = []
        found += ["", line] if gap and found else [line]
        gap = False
    if found[:-1]:
        yield found[:-1]


def code_of(paragraph: list[str]) -> str | None:
    """Return what a paragraph shows as code: it is indented, or each of its lines is an example with its answer."""
    is_code = paragraph[0].startswith("    ") or all(map(EXAMPLE.match, paragraph))
    return dedent("\n".join(paragraph)) if is_code else None


def is_python(code: str) -> bool:
    """Return whether this is Python."""
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True
