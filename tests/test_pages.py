"""What the pages name is there: files that they link to, tests that prove their claims, commands of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/claims.md",
    "docs/experiments.md",
    "docs/guide.md",
    "docs/performance.md",
    "docs/running.md",
    "docs/testing.md",
    "docs/tutorial.md",
    "examples/README.md",
    "examples/mpi/README.md",
    "notebooks/README.md",
]


def missing_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead to no file, or to no heading of a page."""
    links = re.findall(r"\]\(([^):]+)\)", page.read_text())
    assert links or page.name == "CONTRIBUTING.md"
    return [link for link in links if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a link's file is there, and its heading, if the file is a page."""
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists() or not heading or target.suffix != ".md":
        return target.exists()
    titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert missing_links(ROOT / page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# It's *here*\n[a](README.md) ![b](nowhere.png) [c](#its-here) [d](README.md#there) [e](no.md#x)")
    assert missing_links(page) == ["nowhere.png", "README.md#there", "no.md#x"]


def test_figures_of_the_readme_are_cells_of_the_tables_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import together

    rows = together.front().splitlines()
    assert len(rows) == 2 + len(together.ROWS)
    assert together.between(ROOT / "README.md", "figures").splitlines() == rows
    session = together.between(ROOT / "README.md", "session")
    assert re.fullmatch(r"Measured in one session on .* at commit \w+\.", session)
    assert together.between(ROOT / "docs" / "performance.md", "session") == session


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page: str) -> None:
    files = {path.name: path.read_text() for room in ("tests", "examples") for path in (ROOT / room).rglob("test_*.py")}
    text = re.sub(
        r"```(?:python|console)\n.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL
    )  # code has tests of its own
    for name in re.findall(r"\b(test_\w+(?:\.py)?)", text):
        assert name in files or any(f"def {name}(" in text for text in files.values()), name


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in re.findall(r"(?:^(?:\$ )?|`)make ([a-z][a-z -]*)(?=`|  |$)", text, re.MULTILINE):
        assert set(line.split()) <= {*targets}, line
    for script in re.findall(r"\b((?:experiments|benchmarks|tests)/\w+\.py)", text):
        assert (ROOT / script).exists(), script


def test_microseconds_have_one_name_everywhere() -> None:
    """`look.in_us` alone says "us", where an output cannot show "µs"."""
    rooms = [path.parent for path in ROOT.glob("*/__init__.py")] + [ROOT / "benchmarks", ROOT / "examples"]
    code = [path for room in rooms for path in room.rglob("*.py") if room.name != "tests"]
    pages = [*map(ROOT.joinpath, PAGES), *(ROOT / "docs" / "site").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    found = {path.name for path in (*code, *pages) if re.search(r"[\d}] us\b", path.read_text())}
    assert found == set()
