"""What a vocabulary in parts must do, as programs for simulated ranks and real MPI: what one rank makes of it whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import parallel
from collectives import ring_allreduce

HIDDEN = 3


@dataclass(frozen=True)
class Words:
    """A vocabulary and tokens in it; apart: how far the logits of each rank lie above those of the rank before.

    smoothing: of labels.
    """

    vocab: int
    n: int
    batch: int = 2
    apart: float = 0.0
    dtype: str = "f8"
    labels: str = "i8"
    smoothing: float = 0.0

    def make(self, p: int) -> tuple[np.ndarray, ...]:
        """Return table, tokens, logits, labels: the first and last row of each rank, ignored ones, and at random."""
        rng = np.random.default_rng(self.vocab)
        table = rng.standard_normal((self.vocab, HIDDEN)).astype(self.dtype)
        tokens = rng.integers(0, self.vocab, (self.batch, self.n))
        logits = rng.standard_normal((self.batch, self.n, self.vocab)).astype(self.dtype)
        labels = rng.integers(-1, self.vocab, (self.batch, self.n))
        edges = [row for rank in range(p) for row in parallel.vocabulary_rows(self.vocab, p, rank)]
        for place, row in zip(np.ndindex(labels.shape), edges, strict=False):
            labels[place] = tokens[place] = min(row, self.vocab - 1)
        for rank in range(p):
            logits[:, :, slice(*parallel.vocabulary_rows(self.vocab, p, rank))] += (rank + 1) * self.apart
        return table, tokens.astype(self.labels), logits, labels.astype(self.labels)


def words() -> Iterator[Words]:
    """Yield vocabularies that p does not divide, also smaller than p, and tokens that it does not either, or none."""
    for vocab, n in product((1, 3, 7, 13), (0, 1, 5)):
        yield Words(vocab, n)
    yield Words(11, 6, apart=1e4)
    yield Words(11, 6, apart=-1e4)
    yield Words(9, 4, dtype="f4", labels="i2")
    yield Words(7, 5, smoothing=0.25)
    yield Words(2, 5, smoothing=0.9, apart=10.0)


def reference(logits: np.ndarray, labels: np.ndarray, total: int, smoothing: float) -> tuple[float, np.ndarray]:
    """Return the loss and the gradient of all logits by the definition, in extended precision."""
    wide, counted = logits.astype(np.longdouble), labels >= 0
    chances = np.exp(wide - wide.max(-1, keepdims=True, initial=-np.inf))
    chances /= chances.sum(-1, keepdims=True)
    target = (np.arange(logits.shape[2]) == labels[..., None]) * (1 - smoothing) + smoothing / logits.shape[2]
    shifted = wide - wide.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - (shifted * target).sum(-1)
    return float(losses[counted].sum() / total), ((chances - target) * counted[..., None] / total).astype(float)


def claim_vocabulary_of_one_rank(
    comm: Any, case: Words, loss: Callable[..., Any] = parallel.vocabulary_loss, embed: Any = parallel.embed,
    embed_backward: Any = parallel.embed_backward,
) -> None:  # fmt: skip
    """Vectors, loss and gradients are those that one rank gets from the whole vocabulary; arguments are kept."""
    table, tokens, logits, labels = case.make(comm.size)
    lo, hi = parallel.vocabulary_rows(case.vocab, comm.size, comm.rank)
    part, mine = table[lo:hi], logits[:, :, lo:hi]
    for array in (tokens, labels, part, mine):
        array.flags.writeable = False
    vectors = ring_allreduce(comm, embed(part, lo, tokens))
    np.testing.assert_array_equal(vectors, table[tokens])

    total = int((labels >= 0).sum()) + 3  # three more in other microbatches
    smoothing = {"smoothing": case.smoothing} if case.smoothing else {}
    value, d_logits = loss(comm, mine, lo, labels, total, **smoothing)
    expected, d_expected = reference(logits, labels, total, case.smoothing)
    # A difference of two logits is exact to an eps of the larger; the sum of exponentials to vocab of them.
    allowed = 4 * float(np.finfo(case.dtype).eps) * (case.vocab + abs(case.apart) * (comm.size + 1))
    assert abs(value - expected) <= allowed * max(1, case.batch * case.n), f"off by {value - expected}: {allowed}"
    assert d_logits.dtype == mine.dtype
    np.testing.assert_allclose(d_logits, d_expected[:, :, lo:hi], atol=allowed, rtol=0, err_msg="off by")

    d_vectors = np.random.default_rng(1).integers(-9, 9, vectors.shape).astype(case.dtype)  # whose sums are exact
    whole = np.zeros_like(table)
    np.add.at(whole, tokens, d_vectors)
    np.testing.assert_array_equal(embed_backward(hi - lo, lo, tokens, d_vectors), whole[lo:hi])
