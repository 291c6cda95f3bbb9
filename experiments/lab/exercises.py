"""Exercises at the end of a notebook: the reader answers, the machine works the answer out and compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check(answer: Any, work_out: Callable[[], Any]) -> None:
    """Print whether `answer` is what work_out() returns; `...` stands for no answer yet.

        check(6, lambda: ranks.run(ring_allreduce, 4, np.zeros(8)).sends[0])
        # Right: 6.

    Numbers, texts, and tuples or lists of them; floats may be off by a percent, since people round.
    """
    if answer is ...:
        print("Not answered yet: put your answer in place of the dots, and run the cell again.")
        return
    right = work_out()
    if _same(answer, right):
        print(f"Right: {right}.")
    else:
        print(f"Not yet: it is not {answer!r}. Change it and run the cell again; the notebook above has what it takes.")


def _same(answer: Any, right: Any) -> bool:
    if isinstance(right, (list, tuple)):
        return len(answer) == len(right) and all(map(_same, answer, right))
    if isinstance(right, float):
        return abs(answer - right) <= 0.01 * abs(right)
    return bool(answer == right)
