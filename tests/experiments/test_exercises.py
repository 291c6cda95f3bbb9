"""The check of an exercise tells right from wrong, and does not work anything out before there is an answer."""

import pytest

from experiments.lab.exercises import check


@pytest.mark.parametrize(
    ("answer", "right"), [(6, 6), (0.333, 1 / 3), ([1, 2], (1, 2)), ("ring", "ring"), (True, True)]
)
def test_a_right_answer_is_called_right(capsys, answer, right):
    check(answer, lambda: right)
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(
    ("answer", "right"), [(5, 6), (0.34, 1 / 3), ([1], [1, 2]), ([1, 3], [1, 2]), ("ring", "tree")]
)
def test_a_wrong_answer_is_not_and_the_right_one_stays_hidden(capsys, answer, right):
    check(answer, lambda: right)
    assert capsys.readouterr().out == (
        f"Not yet: it is not {answer!r}. Change it and run the cell again; the notebook above has what it takes.\n"
    )


def test_without_an_answer_nothing_is_worked_out(capsys):
    check(..., lambda: pytest.fail("worked out"))
    assert capsys.readouterr().out.startswith("Not answered yet")
