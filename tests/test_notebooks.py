"""Each notebook runs from end to end, says again what is committed, and its exercises can be answered."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import notebook_runs
from notebook_answers import ANSWER, ANSWERS, filled_in
from notebook_runs import CellError, Notebooks
from processes import HANG_S

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = "measured"  # tag of a cell whose output depends on the machine and the hour
SMALLER = {  # what is measured at length on the page, in cells with the tag
    "experiment.climb(22)": "experiment.climb(12)",
    '"--log2-size", "20"': '"--log2-size", "16"',
    '"barriers", "turns": 9': '"barriers", "turns": 1',
    "for p in (2, 4):": "for p in (2,):",
    '"allreduces", "sizes": [1 << 10, 1 << 16, 1 << 20], "turns": 7': '"allreduces", "sizes": [1 << 10], "turns": 1',
    '"ablations", "sizes": [1 << 16, 1 << 20], "turns": 7': '"ablations", "sizes": [1 << 16], "turns": 1',
    '"--ranks",\n    "4",': '"--ranks",\n    "2",',
    "steps=20, seed=0": "steps=2, seed=0",
    "steps = 100\nbugs": "steps = 4\nbugs",
    "real.launch(4, argv": "real.launch(2, argv",
    '"--max",\n    "1MiB"': '"--max",\n    "4KiB"',
    "(3, 1, 256, 8, 32)": "(3, 1, 64, 8, 32)",
    "on_mpi(2**24, timeout_s=4)": "on_mpi(2**24, timeout_s=2)",
    "interleaved(claim, 9)": "interleaved(claim, 3)",
    "(OURS, *points)}), 9)": "(OURS, *points)}), 1)",
    "contenders(x)), 9)": "contenders(x)), 3)",
    "ranks.calibrate(ranks.real.world())": "ranks.calibrate(ranks.real.world(), repeats=1)",
    '"2", "--operations", "allreduce"]': '"2", "--operations", "broadcast"]',
}
TIME_OUT = re.compile(r"timeout_s=\d{3}\b")  # long enough for a reader's machine; this one may be slow and busy
SECTIONS = ["A guess", "What this cannot show", "Sources", "Exercises"]
LONGEST_FUNCTION = 12  # lines; longer ones belong into a module, where tests reach them
# Numbers in prose: none of a few, of a name like 2D or p2, of a heading, or in code; formulas are for the reader.
NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w-])")
FEW = {"0", "1", "2", "3"}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def with_answers(notebook: Any, given: list[str]) -> Any:
    """Return a copy in which each exercise stands twice, the second time answered; long measurements are short."""
    whole, rest = copy.deepcopy(notebook), iter(given)
    cells = []
    for cell in whole.cells:
        for long, short in SMALLER.items() if is_measured(cell) else ():
            cell.source = cell.source.replace(long, short)
        cell.source = TIME_OUT.sub(f"timeout_s={HANG_S}", cell.source)
        cells.append(cell)
        if cell.cell_type == "code" and ANSWER.search(cell.source):
            source = ANSWER.sub(lambda _: filled_in(next(rest)), cell.source)
            cells.append(nbformat.v4.new_code_cell(source, id=f"{cell.id}-answered"))  # type: ignore[no-untyped-call]
    assert next(rest, None) is None, "an answer without an exercise"
    whole.cells = cells
    return whole


def is_measured(cell: Any) -> bool:
    return MEASURED in cell.metadata.get("tags", [])


def text(cell: Any) -> str:
    """Return all that a cell has printed or shown as text."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        parts.append(output.get("text") or data.get("text/markdown") or data.get("text/plain") or "")
    return "".join(parts)


def faults(notebook: Any) -> list[str]:
    """Return what is wrong with a notebook as it is committed."""
    cells = notebook.cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    headings = [line.lstrip("# ") for source in prose for line in source.splitlines() if line.startswith("#")]
    found = []
    if not headings[0].endswith("?"):
        found.append(f"the title {headings[0]!r} is no question")
    found += [f"no section {name!r}" for name in SECTIONS if name not in headings]
    found += [f"not run: {cell.source!r}" for cell in code if cell.execution_count is None]
    found += unasserted_figures(code)
    produced = set(re.findall(NUMBER, "\n".join(text(cell) + "\n" + cell.source for cell in code)))
    for source in prose:
        found += [f"no cell has the number {number} of {line!r}" for number, line in numbers(source, produced)]
    found += [
        f"a long function in {cell.source!r}" for cell in code if longest_function(cell.source) > LONGEST_FUNCTION
    ]
    return found


def unasserted_figures(code: list[Any]) -> list[str]:
    """Return the cells with a picture that neither they nor the next one asserts anything about."""
    found = []
    for cell, following in zip(code, [*code[1:], None], strict=True):
        drawn = any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        drawn = drawn and not ANSWER.search(cell.source)  # what the reader makes of it is judged
        if drawn and "assert" not in cell.source + (following.source if following else ""):
            found.append(f"a figure without an assertion: {cell.source!r}")
    return found


def numbers(source: str, produced: set[str]) -> list[tuple[str, str]]:
    """Return the numbers, each with its line, that stand in prose and not among those produced."""
    if source.lstrip("# ").startswith("Sources"):
        return []
    source = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", "", source, flags=re.DOTALL)
    lines = [line for line in source.splitlines() if not line.startswith("#")]
    return [
        (number, line)
        for line in lines
        for number in NUMBER.findall(re.sub(r"^\d+\. ", "", line))
        if number not in produced | FEW
    ]


def longest_function(source: str) -> int:
    """Return how many lines the longest function of a cell has."""
    lengths = [
        len(body.rstrip().splitlines()) + 1 for body in re.findall(r"^def .*\n((?:[ \t].*\n|\n)*)", source + "\n", re.M)
    ]
    return max(lengths, default=0)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_whole(path):
    assert faults(read(path)) == []


@pytest.fixture(scope="module")
def notebooks() -> Iterator[Notebooks]:
    with notebook_runs.imported() as started:
        yield started


def compare(committed: Any, fresh: Any) -> None:
    """Assert that a run says what is committed, but where the machine has its say."""
    by_id = {cell.id: cell for cell in fresh.cells}
    for cell in committed.cells:
        if cell.cell_type == "code" and not is_measured(cell):
            assert text(by_id[cell.id]) == text(cell), cell.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_is_committed(path, notebooks):
    committed = read(path)
    fresh = notebooks.run(with_answers(committed, ANSWERS[path.stem]))
    compare(committed, fresh)
    replies = [text(cell) for cell in fresh.cells if cell.id.endswith("-answered")]
    assert replies
    assert [reply for reply in replies if not reply.startswith("Right")] == []


def test_every_notebook_is_in_the_table_of_contents():
    contents = (ROOT / "notebooks" / "README.md").read_text()
    assert re.findall(r"\]\((\w+\.ipynb)\)", contents) == [path.name for path in PATHS]


@pytest.mark.parametrize("long", SMALLER)
def test_what_is_measured_for_less_long_here_is_on_some_page(long):
    assert sum(long in cell.source for path in PATHS for cell in read(path).cells if is_measured(cell)) == 1


def test_every_notebook_has_answers_and_all_answers_have_one():
    assert [path.stem for path in PATHS] == list(ANSWERS)


def small_notebook(**changes: str) -> Any:
    """Return a notebook of two cells of prose and one of code, in which nothing is wrong, with parts replaced."""
    parts = {
        "title": "# Why 7?",
        "prose": "It takes 7 rounds, `x[5]` and $2^9$ aside.",
        "code": "print(7)\nassert True",
        "printed": "7\n",
        "sections": "\n\n".join(f"## {name}" for name in SECTIONS),
    } | changes
    figure = nbformat.v4.new_output("display_data", {"image/png": ""})
    printed = nbformat.v4.new_output("stream", name="stdout", text=parts["printed"])
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(f"{parts['title']}\n\n{parts['prose']}\n\n{parts['sections']}"),
            nbformat.v4.new_code_cell(parts["code"], execution_count=1, outputs=[printed, figure]),
        ]
    )


def test_a_good_notebook_has_no_faults():
    assert faults(small_notebook()) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"title": "# Because"}, "is no question"),
        ({"sections": "## A guess"}, "no section 'Sources'"),
        ({"prose": "It takes 8 rounds."}, "no cell has the number 8"),
        ({"prose": "1. It takes 7.5 rounds."}, "no cell has the number 7.5"),
        ({"code": "print(7)"}, "a figure without an assertion"),
        ({"code": "assert 7\ndef f():\n" + "    x = 1\n" * 12}, "a long function"),
    ],
)
def test_a_fault_of_a_notebook_is_found(change, found):
    assert [found in fault for fault in faults(small_notebook(**change))].count(True) == 1


@pytest.mark.parametrize(
    ("source", "answer", "answered"),
    [
        ("answer = ...  # a number\ncheck(answer, two)", "2", "answer = 2  # a number\ncheck(answer, two)"),
        (
            "def answer(comm):\n    x = 1\n\n    return x\n\n\njudge(answer)",
            "def answer(comm):\n    return 2\n",
            "def answer(comm):\n    return 2\n\n\njudge(answer)",
        ),
    ],
)
def test_an_answer_takes_the_place_of_what_the_reader_fills_in(source, answer, answered):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    assert [cell.source for cell in with_answers(notebook, [answer]).cells] == [source, answered]
    with pytest.raises(AssertionError, match="without an exercise"):
        with_answers(notebook, [answer, answer])


def test_what_is_committed_is_compared_with_what_a_run_prints(notebooks):
    notebook = small_notebook(code="assert print(8) is None")
    with pytest.raises(AssertionError, match="assert print"):
        compare(notebook, notebooks.run(notebook))
    notebook.cells[1].metadata["tags"] = [MEASURED]
    compare(notebook, notebooks.run(notebook))


def outputs(notebook: Any) -> list[list[tuple[str, set[str]]]]:
    """Return what each cell of code has printed and shown: text, and the kinds of data beside it."""
    return [
        [(text({"outputs": [each]}), {*each.get("data", {})} - {"text/plain"}) for each in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_a_run_here_gives_what_a_kernel_gives(notebooks):
    sources = [
        "%matplotlib inline\nimport sys, warnings\nimport matplotlib.pyplot as plt",
        "from IPython.display import Markdown\nprint(1)\ndisplay(Markdown('**2**'))\nprint('3')",
        "print('4', file=sys.stderr)\nwarnings.warn_explicit('5', UserWarning, 'x.py', 5)\n'6'",
        "figure, axes = plt.subplots()\nfigure",
        "plt.plot([7])\nNone",
        "print(__name__, sys.path, sys._getframe().f_code.co_filename.split('/')[-1])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    fresh = notebooks.run(notebook)
    where = {"metadata": {"path": str(ROOT / "notebooks")}}
    assert outputs(fresh) == outputs(NotebookClient(notebook, kernel_name="python3", resources=where).execute())
    assert "image/png" in str(outputs(fresh)[3])


def test_a_notebook_fails_if_a_cell_does_or_its_process_ends(notebooks):
    with pytest.raises(CellError, match="ZeroDivisionError"):
        notebooks.run(small_notebook(code="1 / 0"))
    with pytest.raises(CellError, match="ended with 3"):
        notebooks.run(small_notebook(code="import os\nos._exit(3)"))


def test_what_a_notebook_changes_is_unchanged_in_the_next_one(notebooks):
    notebooks.run(small_notebook(code="import math, os\nmath.pi = 3\nos.chdir('..')\nname = 1"))
    notebooks.run(
        small_notebook(code="import math\nassert math.pi > 3\nassert 'name' not in globals()\nopen('README.md')")
    )
    notebooks.run(small_notebook(code="import sys\nassert 'ranks' not in sys.modules"))
