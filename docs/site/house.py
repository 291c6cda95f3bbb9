"""The picture of the page "How it works": packages and rooms, read from the source tree."""

import ast
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# From the ground up: who stands on a floor imports only what is on the floors below, and training what is in parallel.
FLOORS = (
    ("ranks",),
    ("loggp",),
    ("collectives",),
    ("sorting", "mpi", "parallel", "training"),
    ("experiments",),
    ("notebooks",),
)
GROUNDS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")
WIDTH, FLOOR, ROOM, GAP = 760, 52, 44, 10
COLUMNS = 4  # rooms beside each other


def rooms() -> list[tuple[str, str]]:
    """Return the rooms of ranks, each with what it is for, from the table in the package's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / "ranks" / "__init__.py").read_text(encoding="utf-8"))) or ""
    lines = text.partition("table):")[2].splitlines()
    return [(name, what.strip()) for name, what in (line.split(None, 1) for line in lines if line.strip())]


def size_of(package: str) -> str:
    """Return how large a package is, in lines of Python, or in notebooks."""
    if package == "notebooks":
        return f"{len([*(ROOT / package).glob('*.ipynb')])} notebooks"
    files = [*(ROOT / package).rglob("*.py")]
    return f"{sum(len(path.read_text(encoding='utf-8').splitlines()) for path in files):,} lines"


def box(x: float, y: float, width: float, height: float, colour: str, strong: float) -> str:
    """Return a rectangle."""
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"'
    return f'<rect {shape} fill="{colour}" fill-opacity="{strong}" stroke="currentColor" stroke-opacity="0.4"/>'


def words(x: float, y: float, text: str, size: int, weight: str = "normal") -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}">{escape(text)}</text>'


def floor(packages: tuple[str, ...], y: float, height: float, colour: str) -> list[str]:
    """Return the packages of a floor, beside each other."""
    width = (WIDTH - GAP * (len(packages) - 1)) / len(packages)
    made = []
    for place, package in enumerate(packages):
        x = place * (width + GAP)
        made += [box(x, y, width, height, colour, 0.16), words(x + 12, y + 22, package, 16, "bold")]
        made.append(words(x + 12, y + 40, size_of(package), 12))
    return made


def picture() -> str:
    """Return the house as SVG: the ground floor is ranks, with its rooms."""
    known = rooms()
    lines = -(-len(known) // COLUMNS)
    ground = FLOOR + lines * (ROOM + GAP) + GAP
    height = ground + (len(FLOORS) - 1) * (FLOOR + GAP)
    made, y = [], 0.0
    for place, packages in reversed([*enumerate(FLOORS)]):
        tall = FLOOR if place else ground
        made += floor(packages, y, tall, GROUNDS[place])
        y += tall + GAP
    width = (WIDTH - GAP * (COLUMNS + 1)) / COLUMNS
    for place, (name, _) in enumerate(known):
        x = GAP + place % COLUMNS * (width + GAP)
        top = height - ground + FLOOR + place // COLUMNS * (ROOM + GAP)
        made += [box(x, top, width, ROOM, GROUNDS[0], 0.2), words(x + 10, top + 27, f"{place + 1} {name}", 14)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {WIDTH + 2} {height + 2:.0f}" fill="currentColor"'
    return f'{head} role="img" aria-label="The packages on their floors">{"".join(made)}</svg>'


def fill_in(app: Any, name: str, source: list[str]) -> None:
    """Write the picture and the table of rooms into the page."""
    if name == "docs/site/house":
        rows = [f"| {place} | `{room}` | {what} |" for place, (room, what) in enumerate(rooms(), 1)]
        table = "\n".join(["| | room | what it is for |", "|--|--|--|", *rows])
        source[0] = source[0].replace("{{house}}", picture()).replace("{{rooms}}", table)


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}
