"""One call of each operation of the catalogue: what goes in, what must come out, how bandwidth is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

CHOICE_S = 1e-4  # that a choice takes over p at most: it plays algorithms round by round
DTYPE = np.dtype(np.float32)


def all_of_it(p: int) -> Fraction:
    """Return 1: all bytes pass the busiest link."""
    return Fraction(1)


def all_but_own(p: int) -> Fraction:
    """Return (p-1)/p: a rank's own part stays where it is."""
    return Fraction(p - 1, p)


# Bus bandwidth is algorithm bandwidth (bytes / time) times this. Source: nccl-tests, doc/PERFORMANCE.md.
BUS_FACTORS: dict[str, Callable[[int], Fraction]] = {
    "allreduce": lambda p: 2 * all_but_own(p),
    "reduce_scatter": all_but_own,
    "allgather": all_but_own,
    "alltoall": all_but_own,
    "broadcast": all_of_it,
    "reduce": all_of_it,
}


@dataclass(frozen=True)
class Call:
    """A call of `operation` on p ranks with n elements, counted as the catalogue counts them.

    Values are small whole numbers, so that sums are exact in any order.
    """

    operation: str
    p: int
    n: int

    @classmethod
    def of_bytes(cls, operation: str, p: int, n_bytes: int, *, equal_blocks: bool = False) -> Call:
        """Return the call of at most `n_bytes`, but of an element at least.

        equal_blocks: Whether p must divide n; an all-gather and an all-to-all are always of equal blocks.
        """
        n = n_bytes // DTYPE.itemsize
        if equal_blocks or operation in ("allgather", "alltoall"):
            return cls(operation, p, max(n // p, 1) * p)
        return cls(operation, p, max(n, 1))

    @property
    def n_bytes(self) -> int:
        """The bytes that the catalogue's sizes count."""
        return self.n * DTYPE.itemsize

    def program(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        """Return the program that calls function(comm, x, out=out), always with the same arrays of its rank."""
        arrays: dict[int, tuple[Any, Any]] = {}

        def program(comm: Any) -> Any:
            if comm.rank not in arrays:
                arrays[comm.rank] = self._brought(comm.rank), self._place(comm.rank)
            x, out = arrays[comm.rank]
            return function(comm, x, out=out)

        return program

    def _base(self) -> Any:
        return (np.arange(self.n) % 61).astype(DTYPE)

    def _brought(self, rank: int) -> Any:
        whole = self._base() + DTYPE.type(rank)
        if self.operation == "allgather":
            return whole.reshape(self.p, -1)[rank]
        return whole.reshape(self.p, -1) if self.operation == "alltoall" else whole

    def _place(self, rank: int) -> Any:
        expected = self._expected(rank)
        return None if expected is None else np.zeros_like(expected)

    def is_right(self, rank: int, result: Any) -> bool:
        """Return whether a rank's result is what it must be."""
        expected = self._expected(rank)
        return result is None if expected is None else bool(np.array_equal(result, expected))

    def _expected(self, rank: int) -> Any:
        base, p = self._base(), self.p
        if self.operation == "broadcast":
            return base
        if self.operation in ("allgather", "alltoall"):
            blocks = base.reshape(p, -1)
            own = blocks if self.operation == "allgather" else np.broadcast_to(blocks[rank], blocks.shape)
            return own + np.arange(p, dtype=DTYPE)[:, None]
        total = base * p + DTYPE.type(p * (p - 1) // 2)
        if self.operation == "reduce_scatter":
            return np.array_split(total, p)[rank]
        return total if self.operation == "allreduce" or rank == 0 else None
