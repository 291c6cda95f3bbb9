"""Claims about a vocabulary in parts and its loss: those of one rank, the cost as documented, one error for all."""

from __future__ import annotations

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
