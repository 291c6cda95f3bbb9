"""The mean loss over all tokens of all ranks, however many of them each rank has."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives import ring_allreduce
from collectives.arrays import Array
from parallel.arguments import check_array, refuse


def mean_token_loss(comm: Any, logits: Array, labels: Array, *, ignored: int = -1) -> tuple[float, Array]:
    """Return the mean cross entropy over the tokens of all ranks of `comm`, and the gradient of this rank's logits.

        def program(comm):  # rank 0 has one token, rank 1 has three
            n = 1 + 2 * comm.rank
            return round(mean_token_loss(comm, np.zeros((1, n, 8)), np.zeros((1, n), int))[0], 4)
        ranks.run(program, 2).results  # [2.0794, 2.0794]

    It is the sum over all tokens divided by their number: a mean of the ranks' means would weigh the tokens of short
    shards more. comm: None if this rank has all tokens. ignored: tokens with this label do not count.

    Shape:   logits (batch, tokens, classes), labels (batch, tokens) of integers -> float, (batch, tokens, classes).
    Cost:    an all-reduce of two numbers.
    Raises:  TypeError, ValueError if arrays do not fit, labels are no classes, or no token of any rank counts.
    """
    who = "mean_token_loss"
    counted = _check(who, logits, labels, ignored)
    rows = np.where(counted, labels, 0)[..., None]
    # The largest of each token, not of the batch: a token whose logits are all far below would lose its softmax.
    shifted = logits - logits.max(-1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(-1, keepdims=True)
    losses = np.log(sums) - np.take_along_axis(shifted, rows, -1)
    total = np.array([losses[counted].sum(dtype=np.float64), counted.sum()])
    if comm is not None:
        total = ring_allreduce(comm, total)
    if not total[1]:
        refuse(ValueError, who, "no token that counts on any rank", "1 or more", f"give some a label but {ignored}")
    d_logits = exponentials / sums
    np.put_along_axis(d_logits, rows, np.take_along_axis(d_logits, rows, -1) - 1, -1)
    d_logits *= np.asarray(counted[..., None] / total[1], logits.dtype)
    return float(total[0] / total[1]), d_logits


def _check(who: str, logits: Any, labels: Any, ignored: int) -> Array:
    """Return which tokens count; raise unless the arrays fit together."""
    check_array(who, "logits", logits, 3)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != logits.shape[:2]:
        got = f"labels {labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else f"labels {labels!r:.40}"
        refuse(ValueError, who, got, f"integers of shape {logits.shape[:2]}", "pass the class of each token")
    counted = labels != ignored
    wrong = labels[counted & ((labels < 0) | (labels >= logits.shape[2]))]
    if wrong.size:
        expected = f"0 to {logits.shape[2] - 1}, or {ignored} for tokens that do not count"
        refuse(ValueError, who, f"label {wrong[0]}", expected, "pass the number of a class")
    return np.asarray(counted)
