"""The answers to the exercises of the notebooks, in order, as code: `test_notebooks.py` gives them to the checks."""

ANSWERS: dict[str, list[str]] = {}
