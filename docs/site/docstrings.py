"""Docstrings in the project's style as reStructuredText: indented examples, and labelled lines such as "Cost: ..."."""

import re
from textwrap import indent
from typing import Any

from example_paragraphs import code_of, is_python, paragraphs

NAMES = r"\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}\w+)*"
LABEL = re.compile(rf"({NAMES}):\s+(\S.*)")


def literal(code: str) -> list[str]:
    """Return a block of code."""
    return [f".. code-block:: {'python' if is_python(code) else 'none'}", "", *indent(code, "   ").splitlines(), ""]


def text(line: str) -> str:
    """Return a line of prose: what stands in backticks is code, and a name of the page a link; no mark-up else."""

    def marked(found: re.Match[str]) -> str:
        code = found[1]
        return f":py:obj:`{code}`" if re.fullmatch(r"[A-Za-z_][\w.]*", code) else f"``{code}``"

    pieces = re.split(r"(`[^`]+`)", line)
    return "".join(re.sub("`([^`]+)`", marked, p) if p[:1] == "`" else re.sub(r"([\\*_|])", r"\\\1", p) for p in pieces)


def labelled(lines: list[str]) -> list[str]:
    """Return labelled lines as a list of terms, each with what belongs to it."""
    made = [".. rst-class:: labels", ""]
    for line in lines:
        for piece in re.split(rf"(?<=\.) (?=[a-z*])(?={NAMES}: )", line.strip()):
            label = LABEL.match(piece)
            made += [text(label[1]), f"   {text(label[2])}"] if label else [f"   {text(piece)}"]
    return [*made, ""]


def as_rst(lines: list[str]) -> list[str]:
    """Return a docstring as reStructuredText."""
    made = []
    for block in paragraphs(lines):
        if (code := code_of(block)) is not None:
            made += literal(code)
        elif LABEL.match(block[0]):
            made += labelled(block)
        else:
            made += [*map(text, block), ""]
    return made


def rewrite(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring that autodoc has read."""
    lines[:] = as_rst(lines)


def is_left_out(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Return True for the fields of a named tuple, which its docstring describes; None lets autodoc decide."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", is_left_out)
    return {"parallel_read_safe": True}
