"""The mean loss over all tokens of all ranks, however many of them each rank has."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives import ring_allreduce
from collectives.arrays import Array
from parallel.arguments import refuse
from parallel.tensor.vocabulary import check_labels, vocabulary_loss


def mean_token_loss(comm: Any, logits: Array, labels: Array, *, ignored: int = -1) -> tuple[float, Array]:
    """Return the mean cross entropy over the tokens of all ranks of `comm`, and the gradient of this rank's logits.

        def program(comm):  # rank 0 has one token, rank 1 has three
            n = 1 + 2 * comm.rank
            return round(mean_token_loss(comm, np.zeros((1, n, 8)), np.zeros((1, n), int))[0], 4)
        ranks.run(program, 2).results  # [2.0794, 2.0794]

    It is the sum over all tokens divided by their number. A mean of the ranks' means would give more weight to tokens
    of short shards. comm: None if this rank has all tokens. ignored: tokens with this label do not count.

    Shape:   logits (batch, tokens, classes), labels (batch, tokens) of integers -> float, (batch, tokens, classes).
    Cost:    two all-reduces of one number.
    Raises:  TypeError, ValueError if arrays do not fit, labels are no classes, or no token of any rank counts.
    """
    who = "mean_token_loss"
    counted = check_labels(who, logits, labels, ignored)
    classes = logits.shape[2]
    wrong = labels[counted & ((labels < 0) | (labels >= classes))]
    if wrong.size:
        expected = f"0 to {classes - 1}, or {ignored} for tokens that do not count"
        refuse(ValueError, who, f"label {wrong[0]}", expected, "pass the number of a class")
    loss, d_logits = vocabulary_loss(None, logits, 0, labels, count_tokens(comm, labels, ignored), ignored=ignored)
    return (loss if comm is None else ring_allreduce(comm, np.array([loss])).item()), d_logits


def count_tokens(comm: Any, labels: Array, ignored: int = -1) -> int:
    """Return how many labels of all ranks of `comm` count: those that are not `ignored`. Call it once a step.

        ranks.run(lambda comm: count_tokens(comm, np.array([[7, -1, comm.rank - 1]])), 3).results  # [5, 5, 5]

    labels: of all microbatches of the step, in any shape. comm: None if this rank has all tokens.

    Cost:    an all-reduce of one number.
    Raises:  TypeError if labels are no integers; ValueError on each rank if no token of any rank counts.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        got = f"labels of {labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__}"
        refuse(TypeError, "count_tokens", got, "an array of integers", "pass the class of each token")
    total = np.array([np.count_nonzero(labels != ignored)])
    if comm is not None:
        total = ring_allreduce(comm, total)
    if not total[0]:
        got = "no token that counts on any rank"
        refuse(ValueError, "count_tokens", got, "1 or more", f"give some a label but {ignored}")
    return int(total[0])
