"""Dispatch and combine: each token's vector goes to the ranks of its experts, and what they make of it comes back."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives import alltoallv
from collectives.arrays import Array, block_bounds, block_sizes
from parallel.precision import wire


class Exchange:
    """The way of some tokens to their experts, and back.

    comm:     the ranks among which the experts are shared out, in blocks; None if this rank has all. The way is the
              same there and back.
    slots:    which of the (tokens, top_k) slots this rank sends, in a row, ordered by expert.
    received: how many tokens come to each of this rank's experts; their rows are in the order of the experts.

    Cost: an all-to-all of one count for each expert.
    """

    __slots__ = ("_by_expert", "_from", "_to", "received", "sent", "slots", "top_k")

    def __init__(self, comm: Any, experts: int, chosen: Array, kept: Array) -> None:
        self.top_k = chosen.shape[1]
        flat, left = chosen.reshape(-1), np.flatnonzero(kept)
        self.slots = left[np.argsort(flat[left], kind="stable")]
        self.sent = np.bincount(flat[left], minlength=experts)
        if comm is None:
            self.received = self._to = self._from = self._by_expert = self.sent
            return
        p, rank = comm.size, comm.rank
        here = block_sizes(experts, p)
        told = alltoallv(comm, self.sent, here, [here[rank]] * p).reshape(p, here[rank])
        self.received = told.sum(0)
        self._to = np.add.reduceat(self.sent, block_bounds(experts, p)[:-1])
        self._from = told.sum(1)
        # Rows come from rank after rank, from each in the order of the experts.
        self._by_expert = np.argsort(np.repeat(np.tile(np.arange(here[rank]), p), told.reshape(-1)), kind="stable")

    def rows(self, x: Array) -> Array:
        """Return the vectors of x (tokens, features) that this rank sends."""
        return np.asarray(x[self.slots // self.top_k])

    def go(self, comm: Any, rows: Array) -> Array:
        """Return what came to this rank's experts, given what this rank sends."""
        if comm is None:
            return rows
        return _move(comm, rows, self._to, self._from)[self._by_expert]

    def back(self, comm: Any, rows: Array) -> Array:
        """Return what the experts made of the rows that this rank has sent, given what this rank's experts made."""
        if comm is None:
            return rows
        in_turn = np.empty_like(rows)
        in_turn[self._by_expert] = rows
        return _move(comm, in_turn, self._from, self._to)

    def add(self, rows: Array, y: Array) -> None:
        """Add to each token's vector of y its rows, its best expert's first: in this order on whatever ranks."""
        place = np.full((len(y), self.top_k), -1)
        place.reshape(-1)[self.slots] = np.arange(len(self.slots))
        for of_choice in place.T:
            tokens = np.flatnonzero(of_choice >= 0)
            y[tokens] += rows[of_choice[tokens]]


def _move(comm: Any, rows: Array, to: Array, come: Array) -> Array:
    n = rows.shape[1]
    came = alltoallv(comm, wire(rows).reshape(-1), (to * n).tolist(), (come * n).tolist())
    return came.view(rows.dtype).reshape(-1, n)
