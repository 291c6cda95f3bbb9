"""Notebooks as they are read: imports and assertions are folded, and solutions stand folded below their exercises.

The notebooks themselves stay as they are. A cell is split where its imports end and where its last assertions begin;
what it has printed or drawn stays with the part in between.
"""

import ast
import json
from typing import Any

from notebook_answers import ANSWER, ANSWERS, filled_in

HIDDEN = ("hide-input", "hide-cell")  # tags of a cell whose code, or all of it, is folded


def parts(source: str) -> tuple[str, str, str]:
    """Return the imports that a cell begins with, the code, and the assertions that it ends with.

    parts("import numpy\\nprint(1)\\nassert True")  # ('import numpy', 'print(1)', 'assert True')
    """
    lines = source.splitlines()
    tree = ast.parse("\n".join("pass" if line.startswith("%") else line for line in lines)).body
    begin, end = 0, len(tree)
    while begin < end and isinstance(tree[begin], (ast.Import, ast.ImportFrom, ast.Pass)):
        begin += 1
    while end > begin and isinstance(tree[end - 1], ast.Assert):
        end -= 1
    first = tree[begin - 1].end_lineno if begin else 0
    last = len(lines) if end == len(tree) else tree[end - 1].end_lineno if end else 0
    assert first is not None
    assert last is not None
    pieces = lines[:first], lines[first:last], lines[last:]
    imports, code, assertions = ("\n".join(piece).strip("\n") for piece in pieces)
    return imports, code, assertions


def folded(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a code cell as cells, of which those that only import or only assert are folded."""
    source = "".join(cell["source"])
    for tag in HIDDEN:
        if tag in cell["metadata"].get("tags", []):
            return [fold(cell, "What is asserted" if "assert " in source else "Code", tag)]
    imports, code, assertions = parts(source)
    pieces = [("Imports", imports), ("", code), ("What is asserted", assertions)]
    pieces = [(name, source) for name, source in pieces if source]
    # What was printed stays with the code; a cell that has none keeps it at its end.
    owner = next((index for index, (name, _) in enumerate(pieces) if not name), len(pieces) - 1)
    made = []
    for index, (name, source) in enumerate(pieces):
        piece = cell | {"source": source, "id": f"{cell['id']}-{index}"}
        if index != owner:
            piece["outputs"] = []
        made.append(fold(piece, name) if name else piece)
    return made


def fold(cell: dict[str, Any], name: str, tag: str = HIDDEN[0]) -> dict[str, Any]:
    """Return a cell whose code is hidden behind a name to click on."""
    tags = [*cell["metadata"].get("tags", []), tag]
    prompt = {"code_prompt_show": name, "code_prompt_hide": name}
    return cell | {"metadata": cell["metadata"] | {"tags": sorted({*tags}), "mystnb": prompt}}


def solution(cell: dict[str, Any], answer: str) -> dict[str, Any]:
    """Return a folded cell with the answer to an exercise."""
    return fold(cell | {"source": filled_in(answer), "id": f"{cell['id']}-solved", "outputs": []}, "Solution")


def read_notebook(app: Any, name: str, source: list[str]) -> None:
    """Fold a notebook that Sphinx is about to read."""
    if not str(app.env.doc2path(name)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    answers = iter(ANSWERS[name.rpartition("/")[2]])
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        cells += folded(cell)
        if ANSWER.search("".join(cell["source"])):
            cells.append(solution(cell, next(answers)))
    source[0] = json.dumps(notebook | {"cells": cells})


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("source-read", read_notebook)
    return {"parallel_read_safe": True}
