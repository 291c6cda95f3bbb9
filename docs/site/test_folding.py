"""Claims about notebooks and docstrings on the site: nothing is lost, and what is to be folded is folded."""

import json
from pathlib import Path
from typing import Any

import pytest
from docstrings import as_rst
from folding import HIDDEN, folded, parts, read_notebook

from notebook_answers import ANSWER, ANSWERS, filled_in

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def shown(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook as the site shows them."""

    class App:
        class env:  # noqa: N801
            doc2path = staticmethod(lambda name: f"{name}.ipynb")

    source = [path.read_text(encoding="utf-8")]
    read_notebook(App, f"notebooks/{path.stem}", source)
    cells: list[dict[str, Any]] = json.loads(source[0])["cells"]
    return cells


def is_folded(cell: dict[str, Any]) -> bool:
    return not {*HIDDEN}.isdisjoint(cell["metadata"].get("tags", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_notebook_is_lost_and_answers_stand_below_their_exercises(path: Path) -> None:
    original = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = shown(path)
    solutions = [cell for cell in cells if cell["id"].endswith("-solved")]
    assert [cell["source"] for cell in solutions] == [*map(filled_in, ANSWERS[path.stem])]
    assert all(is_folded(cell) for cell in solutions)
    for solution in solutions:
        assert ANSWER.search("".join(cells[cells.index(solution) - 1]["source"]))
    rest = [cell for cell in cells if cell not in solutions]
    lines = [
        [line for cell in page for line in "".join(cell["source"]).split("\n") if line] for page in (original, rest)
    ]
    assert lines[0] == lines[1]
    outputs = [[output for cell in page for output in cell.get("outputs", [])] for page in (original, rest)]
    assert outputs[0] == outputs[1]
    assert sum(map(is_folded, rest)) > 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a\nfrom b import (\n    c,\n)\n\nprint(1)\nassert 1\nassert 2",
         ("import a\nfrom b import (\n    c,\n)", "print(1)", "assert 1\nassert 2")),
        ("%matplotlib inline\nimport a", ("%matplotlib inline\nimport a", "", "")),
        ("assert 1", ("", "", "assert 1")),
        ("assert 1\nprint(1)", ("", "assert 1\nprint(1)", "")),
        ("# why\nx = 1  # one\n# then\nassert x\n", ("", "# why\nx = 1  # one", "# then\nassert x")),
        ("x = 1\n# the end", ("", "x = 1\n# the end", "")),
        ("", ("", "", "")),
    ],
)  # fmt: skip
def test_a_cell_is_split_at_its_imports_and_last_assertions(source: str, expected: tuple[str, str, str]) -> None:
    assert parts(source) == expected


def test_what_was_printed_stays_with_the_code() -> None:
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["measured"]}, "outputs": ["one"]}
    made = folded(cell | {"source": "import a\nprint(1)\nassert a"})
    assert [(is_folded(each), each["outputs"], each["id"]) for each in made] == [
        (True, [], "a-0"), (False, ["one"], "a-1"), (True, [], "a-2"),
    ]  # fmt: skip
    assert folded(cell | {"source": ["assert True"]})[0]["outputs"] == ["one"]
    assert cell["metadata"]["tags"] == ["measured"]


@pytest.mark.parametrize(
    ("tag", "source", "name"),
    [("hide-input", "import a\nprint(1)", "Code"), ("hide-cell", "x = 1\nassert x", "What is asserted")],
)
def test_a_cell_that_is_tagged_is_folded_as_a_whole(tag: str, source: str, name: str) -> None:
    cell = {"id": "a", "metadata": {"tags": [tag]}, "outputs": [], "source": source}
    [made] = folded(cell)
    assert (made["source"], made["metadata"]["tags"]) == (source, [tag])
    assert made["metadata"]["mystnb"]["code_prompt_show"] == name


def test_a_docstring_has_its_example_its_labels_and_no_mark_up_by_accident() -> None:
    text = """Return `x*` of *all* ranks_, see `run`.

        run(1)

        # [1]

Cost:    p-1 sends,
         no more. dtype, n: what `x` has.

sorts(x)  # True"""
    assert as_rst(text.splitlines()) == [
        r"Return ``x*`` of \*all\* ranks\_, see :py:obj:`run`.", "",
        ".. code-block:: python", "", "   run(1)", "", "   # [1]", "",
        ".. rst-class:: labels", "", "Cost", "   p-1 sends,", "   no more.",
        "dtype, n", "   what :py:obj:`x` has.", "",
        ".. code-block:: python", "", "   sorts(x)  # True", "",
    ]  # fmt: skip
