"""The front page is README.md; in the site the table of contents hangs on it."""

from pathlib import Path
from typing import Any

CONTENTS = Path(__file__).with_suffix(".md").read_text()


def add_contents(app: Any, name: str, source: list[str]) -> None:
    """Append the table of contents to the front page."""
    if name == app.config.root_doc:
        source[0] += CONTENTS


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True}
