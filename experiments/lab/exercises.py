"""Guesses and exercises of a notebook: the reader writes an answer or a program, and the machine judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def yours(guess: Any, unit: str = "") -> str:
    """Return what the reader guessed, as half a sentence; `...` stands for no guess.

    yours(12, "rounds")  # 'you guessed 12 rounds'
    """
    if guess is ...:
        return "you wrote down no guess"
    number = f"{guess:,}" if isinstance(guess, (int, float)) and not isinstance(guess, bool) else str(guess)
    return f"you guessed {number} {unit}".rstrip()


def check(answer: Any, work_out: Callable[[], Any]) -> None:
    """Print whether `answer` is what work_out() returns; `...` stands for no answer yet.

        check(6, lambda: ranks.run(ring_allreduce, 4, np.zeros(8)).sends[0])
        # Right: 6.

    Numbers, texts, and tuples or lists of them; floats may be off by a percent, since people round. An answer of
    another kind is wrong, too.
    """
    if answer is ...:
        print("Not answered yet: put your answer in place of the dots, and run the cell again.")
        return
    right = work_out()
    if _same(answer, right):
        print(f"Right: {right}.")
    else:
        print(f"Not yet: it is not {answer!r}. Change it and run the cell again; the notebook above has what it takes.")


def verdict(faults: Iterable[str], praise: str) -> bool:
    """Print whether a program that the reader wrote is right: that is, whether nothing is wrong with it; return it.

        verdict(["on 3 ranks rank 1 returned None, expected 6"], "equal sums")
        # Not yet: on 3 ranks rank 1 returned None, expected 6.

    faults: What is wrong, worst first; the first is printed, and the others are not even worked out. An error that the
            program raises while they are worked out is a fault.
    """
    try:
        fault = next(iter(faults), None)
    except Exception as error:
        fault = f"{type(error).__name__}: {error}".rstrip(".")
    print(f"Right: {praise}." if fault is None else f"Not yet: {fault}.")
    return fault is None


def _same(answer: Any, right: Any) -> bool:
    try:
        if isinstance(right, (list, tuple)):
            return len(answer) == len(right) and all(map(_same, answer, right))
        if isinstance(right, float):
            return bool(abs(answer - right) <= 0.01 * abs(right))
        return bool(answer == right)
    except (TypeError, ValueError):  # a word for a number, a number for a list, an array for a number
        return False
