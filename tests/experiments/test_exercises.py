"""The check of an exercise tells right from wrong, and does not work anything out before there is an answer."""

import numpy as np
import pytest

from experiments.lab.exercises import check, verdict, yours
from experiments.lab.pages import table


@pytest.mark.parametrize(
    ("answer", "right"), [(6, 6), (0.333, 1 / 3), ([1, 2], (1, 2)), ("ring", "ring"), (True, True)]
)
def test_a_right_answer_is_called_right(capsys, answer, right):
    check(answer, lambda: right)
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (5, 6), (0.34, 1 / 3), ([1], [1, 2]), ([1, 3], [1, 2]), ("ring", "tree"), ("third", 1 / 3), (None, 1 / 3),
        (3, [1, 2]), (len, [1, 2]), ([1, "two"], [1, 2]), (np.ones(2), 1), ([1.0], 1.0), ("6", 6),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_not_and_the_right_one_stays_hidden(capsys, answer, right):
    check(answer, lambda: right)
    assert capsys.readouterr().out == (
        f"Not yet: it is not {answer!r}. Change it and run the cell again; the notebook above has what it takes.\n"
    )


def test_without_an_answer_nothing_is_worked_out(capsys):
    check(..., lambda: pytest.fail("worked out"))
    assert capsys.readouterr().out.startswith("Not answered yet")


def test_a_program_with_no_faults_is_right_and_the_worst_fault_is_said(capsys):
    assert verdict([], "3 messages")
    assert not verdict(iter(["rank 1 returned None", "too slow"]), "3 messages")
    assert capsys.readouterr().out == "Right: 3 messages.\nNot yet: rank 1 returned None.\n"


def test_what_a_program_raises_is_its_fault(capsys):
    assert not verdict((1 // rank for rank in (0,)), "3 messages")
    assert capsys.readouterr().out.startswith("Not yet: ZeroDivisionError: ")


@pytest.mark.parametrize(
    ("guess", "unit", "said"),
    [
        (..., "rounds", "you wrote down no guess"),
        (1000, "rounds", "you guessed 1,000 rounds"),
        (2.5, "", "you guessed 2.5"),
        ("ring", "", "you guessed ring"),
    ],
)
def test_a_guess_is_repeated_and_none_is_no_fault(guess, unit, said):
    assert yours(guess, unit) == said


def test_a_table_of_a_page_is_markdown():
    assert table(["ranks", "ring", "fastest"], [[2, "1 µs", "ring"], [3, "2 µs", "-"]]).data == (
        "| ranks | ring | fastest |\n| --: | --: | :-- |\n| 2 | 1 µs | ring |\n| 3 | 2 µs | - |"
    )
    assert table(["bytes", "none"], [["4 KiB", "2 µs"]]).data.splitlines()[1] == "| :-- | --: |"
    assert table(["case", "none"], []).data.count("|") == 6
