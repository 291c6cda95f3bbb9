"""A vocabulary in p parts: the table of token vectors, which is also the last matrix, and the loss over its rows.

    tokens -> embed -> leave (sum over ranks) -> blocks -> enter -> @ table.T -> vocabulary_loss

Each rank has some rows of the table, and so it has the logits of these tokens only. No rank ever has all logits.

Source: Shoeybi et al., arXiv 1909.08053.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives import ring_allreduce
from collectives.arrays import Array, block_bounds
from parallel.arguments import check_array, refuse


def vocabulary_rows(vocab: int, p: int, rank: int) -> tuple[int, int]:
    """Return the first row of the table that `rank` of p has, and the first row after its last one.

    vocabulary_rows(65, 4, 3)  # (49, 65)
    """
    bounds = block_bounds(vocab, p)
    return bounds[rank], bounds[rank + 1]


def embed(table: Array, lo: int, tokens: Array) -> Array:
    """Return the rows of the table for the tokens whose rows this rank has, from row `lo` on, and zeros for others.

    The sum over ranks (`leave` of a strategy) has every token's row. A token whose row no rank has is zeros there too.

        embed(np.array([[1.0], [2.0]]), 3, np.array([[4, 2]])).tolist()  # [[[2.0], [0.0]]]

    Shape: table (rows, hidden), tokens (batch, tokens) of integers -> (batch, tokens, hidden).
    """
    here, rows = _rows_here(len(table), lo, tokens)
    vectors = np.zeros((tokens.size, table.shape[1]), table.dtype)
    vectors[np.flatnonzero(here)] = table.take(rows, 0)
    return vectors.reshape(*tokens.shape, table.shape[1])


def embed_backward(n_rows: int, lo: int, tokens: Array, d_x: Array) -> Array:
    """Return the gradient of this rank's table of `n_rows`: for each row the sum over its tokens."""
    here, rows = _rows_here(n_rows, lo, tokens)
    d_table = np.zeros((n_rows, d_x.shape[2]), d_x.dtype)
    if rows.size:
        order = np.argsort(rows, kind="stable")
        begins = np.flatnonzero(np.diff(rows[order], prepend=-1))
        by_row = d_x.reshape(tokens.size, -1).take(np.flatnonzero(here)[order], 0)  # faster than with a mask
        d_table[rows[order[begins]]] = np.add.reduceat(by_row, begins, 0)
    return d_table


def _rows_here(n_rows: int, lo: int, tokens: Array) -> tuple[Array, Array]:
    """Return which tokens have their row among n_rows from `lo` on, and these rows, counted from there."""
    here = np.asarray((tokens >= lo) & (tokens < lo + n_rows))
    return here, tokens[here].astype(np.intp) - lo


def vocabulary_loss(
    comm: Any, logits: Array, lo: int, labels: Array, total: int, *, ignored: int = -1, smoothing: float = 0.0
) -> tuple[float, Array]:
    """Return the cross entropies of these tokens over `total`, summed, and the gradient of this rank's logits.

        logits, labels = np.zeros((1, 3, 4)), np.array([[3, 0, -1]])
        round(vocabulary_loss(None, logits, 0, labels, 2)[0], 4)  # 1.3863

    comm: the ranks that share the vocabulary, with the same tokens each; None if this rank has all of it. lo: the first
    row of this rank. total: how many tokens count (`count_tokens`) in the whole step, over all ranks and microbatches:
    their shares add up to the mean. ignored: tokens with this label do not count. smoothing: how much of each token's
    target goes to all classes of the whole vocabulary alike, and is taken from its label.

    Shape:   logits (batch, tokens, rows), labels (batch, tokens) of integers -> float, (batch, tokens, rows).
    Cost:    all-reduces of 2 * tokens and of tokens numbers, with smoothing 2 * tokens + 1; backward sends nothing.
    Raises:  TypeError, ValueError if arrays do not fit, total is too small, smoothing is not from 0 up and below 1, or
             no rank has the row of a label: the same on all ranks of comm.
    Source:  Shoeybi et al., arXiv 1909.08053, with two of its three all-reduces in one; label smoothing: Szegedy et
             al., arXiv 1512.00567.
    """
    counted = check_labels("vocabulary_loss", logits, labels, ignored)
    fewest = max(1, int(np.count_nonzero(counted)))
    if total < fewest:
        remedy = "pass count_tokens of all labels of the step"
        refuse(ValueError, "vocabulary_loss", f"total={total}", f"{fewest} or more", remedy)
    if not 0 <= smoothing < 1:
        refuse(ValueError, "vocabulary_loss", f"smoothing={smoothing}", "a number from 0 up, below 1", "change it")
    here, rows = _rows_here(logits.shape[2], lo, labels)
    label_places = (*np.nonzero(here), rows)
    largest, of_label = _over_ranks(comm, logits, here, label_places)
    missing = counted & np.isneginf(of_label)
    if missing.any():
        got = f"label {labels[missing][0]}, for which no rank has a logit above -inf"
        refuse(
            ValueError, "vocabulary_loss", got, f"a row of some rank, or {ignored}", "check labels, and each rank's lo"
        )
    d_logits = logits - largest[..., None]
    all_logits = d_logits.sum(-1) if smoothing else None
    np.exp(d_logits, out=d_logits)
    sums, mean, classes = _sums_over_ranks(comm, d_logits.sum(-1), all_logits, logits.shape[2])
    aim = np.where(counted, of_label - largest, 0)
    weight = np.asarray(counted / total, logits.dtype)
    d_logits *= (weight / sums)[..., None]
    if smoothing:
        aim += smoothing * (mean - aim)
        d_logits -= (smoothing / classes * weight)[..., None]
    d_logits[label_places] -= (1 - smoothing) * weight[here]  # 0 where a label is ignored
    losses = np.log(sums) - aim
    return float(losses[counted].sum(dtype=np.float64) / total), d_logits


def _sums_over_ranks(comm: Any, sums: Array, all_logits: Array | None, classes: int) -> tuple[Array, Any, int]:
    """Return, over all ranks, sums of exponentials, means of logits if asked for, and the number of classes.

    That is one all-reduce. The number of classes goes with it, since ranks have unequal numbers of rows.
    """
    if all_logits is None:
        return sums if comm is None else ring_allreduce(comm, sums), 0, classes
    flat = np.concatenate([sums.reshape(-1), all_logits.reshape(-1), np.array([classes], sums.dtype)])
    if comm is not None:
        flat = ring_allreduce(comm, flat)
    whole = int(flat[-1])
    exponentials, logits = flat[:-1].reshape(2, *sums.shape)
    return exponentials, logits / whole, whole


def _over_ranks(comm: Any, logits: Array, here: Array, label_places: tuple[Array, ...]) -> Array:
    """Return the largest logit of each token over all ranks, and that of its label: -inf if no rank has it."""
    both = np.full((2, *here.shape), -np.inf, logits.dtype)
    np.max(logits, -1, out=both[0], initial=-np.inf)  # of each token, and over all ranks: others would lose theirs
    both[1][here] = logits[label_places]
    return both if comm is None else np.asarray(ring_allreduce(comm, both, np.maximum))


def check_labels(who: str, logits: Any, labels: Any, ignored: int) -> Array:
    """Return which tokens count; raise unless the arrays fit together."""
    check_array(who, "logits", logits, 3)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != logits.shape[:2]:
        got = f"labels {labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else f"labels {labels!r:.40}"
        refuse(ValueError, who, got, f"integers of shape {logits.shape[:2]}", "pass the class of each token")
    return np.asarray(labels != ignored)
