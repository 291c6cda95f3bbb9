"""Claims about a vocabulary in parts and its loss: those of one rank, the cost as documented, one error for all."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from vocabulary_claims import Words, claim_vocabulary_of_one_rank, words


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_vectors_loss_and_gradients_are_those_of_one_rank(p: int) -> None:
    for case in words():
        ranks.run(claim_vocabulary_of_one_rank, p, case, buffering="none")


def test_a_label_that_is_a_class_may_be_ignored() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((1, 5, 4)), np.array([[2, 0, 3, 2, 1]])
    got = parallel.vocabulary_loss(None, logits, 0, labels, 3, ignored=2)
    expected = parallel.vocabulary_loss(None, logits, 0, np.where(labels == 2, -1, labels), 3)
    assert got[0] == expected[0]
    np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("vocab", [0, 1, 4, 9])
@pytest.mark.parametrize("p", [1, 3, 4, 7])
def test_rows_are_cut_without_gap_or_overlap(vocab: int, p: int) -> None:
    held = [row for rank in range(p) for row in range(*parallel.vocabulary_rows(vocab, p, rank))]
    assert held == list(range(vocab))


@pytest.mark.parametrize(("p", "n"), [(1, 4), (2, 4), (3, 4), (4, 1), (5, 7)])
def test_the_loss_sends_two_all_reduces_of_three_numbers_a_token_and_nothing_backward(p: int, n: int) -> None:
    case = Words(2, n, batch=1)

    def program(comm: Any) -> None:
        _, tokens, logits, labels = case.make(p)
        lo, hi = parallel.vocabulary_rows(case.vocab, p, comm.rank)
        parallel.vocabulary_loss(comm, logits[:, :, lo:hi], lo, labels, n)
        parallel.embed_backward(hi - lo, lo, tokens, np.ones((1, n, 3)))

    run = ranks.run(program, p)
    assert run.sends == [4 * (p - 1)] * p
    in_all = 2 * (p - 1) * (2 * n + n) * 8  # 2(p-1)/p of each array from each of p ranks
    assert sum(run.bytes_sent) == in_all
    if n % p == 0:
        assert run.bytes_sent == [in_all // p] * p


def test_smoothing_sends_one_number_a_token_and_one_more() -> None:
    case, p = Words(5, 4, batch=1), 3

    def program(comm: Any) -> None:
        _, _, logits, labels = case.make(p)
        lo, hi = parallel.vocabulary_rows(case.vocab, p, comm.rank)
        parallel.vocabulary_loss(comm, logits[:, :, lo:hi], lo, labels, 4, smoothing=0.1)

    run = ranks.run(program, p)
    assert run.sends == [4 * (p - 1)] * p
    assert sum(run.bytes_sent) == 2 * (p - 1) * (2 * 4 + 2 * 4 + 1) * 8


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, np.nan])
def test_smoothing_that_makes_no_sense_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"vocabulary_loss: got smoothing=.* expected .* remedy"):
        parallel.vocabulary_loss(None, np.zeros((1, 1, 2)), 0, np.zeros((1, 1), int), 1, smoothing=smoothing)


def told(program: Any, p: int) -> set[str]:
    """Return what ranks are told when each of them calls the program."""

    def caught(comm: Any) -> str:
        try:
            program(comm)
        except (TypeError, ValueError) as problem:
            return f"{type(problem).__name__}: {problem}"
        return "nothing"

    return set(ranks.run(caught, p).results)


@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize(
    ("labels", "total", "error"),
    [
        ([[5, 1]], 2, "ValueError: vocabulary_loss: got label 5, for which no rank has a logit above -inf, expected"),
        ([[0, -2]], 2, "ValueError: vocabulary_loss: got label -2, for which no rank"),
        ([[0, 1]], 1, "ValueError: vocabulary_loss: got total=1, expected 2 or more"),
        ([[-1, -1]], 0, "ValueError: vocabulary_loss: got total=0, expected 1 or more"),
        ([0, 1], 2, r"ValueError: vocabulary_loss: got labels int64 \(2,\), expected integers of shape \(1, 2\)"),
        ([[0.0, 1]], 2, r"ValueError: vocabulary_loss: got labels float64 \(1, 2\), expected integers"),
    ],
)
def test_labels_and_totals_that_cannot_be_are_told_to_every_rank_alike(
    labels: list[Any], total: int, error: str, p: int
) -> None:
    def program(comm: Any) -> None:
        lo, hi = parallel.vocabulary_rows(5, p, comm.rank)
        parallel.vocabulary_loss(comm, np.zeros((1, 2, hi - lo)), lo, np.array(labels), total)

    (message,) = told(program, p)
    assert re.match(f"{error}.*remedy: ", message), message


def test_tokens_are_counted_over_all_ranks_in_any_shape() -> None:
    def program(comm: Any) -> int:
        return parallel.count_tokens(comm, np.full((comm.rank, 2, 2), 3, np.uint8))  # none at all on rank 0

    run = ranks.run(program, 4)
    assert run.results == [4 * (0 + 1 + 2 + 3)] * 4
    assert run.sends == [2 * 3] * 4


def test_a_step_without_a_token_that_counts_is_one_error_on_every_rank() -> None:
    for p in (1, 4):
        (message,) = told(lambda comm: parallel.count_tokens(comm, np.full((2, comm.rank), 7), 7), p)
        assert message == (
            "ValueError: count_tokens: got no token that counts on any rank, expected 1 or more; "
            "remedy: give some a label but 7"
        )
    (message,) = told(lambda comm: parallel.count_tokens(comm, [1, 2]), 2)
    assert message.startswith("TypeError: count_tokens: got labels of list, expected an array of integers; remedy: ")
