"""Groups that are no power of two, folded to one.

Of p ranks, with q the largest power of two up to p, the first 2(p-q) form pairs of neighbours: in each one hands its
data to the other before, and may get the result after.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, spares, wire_view
from collectives.reduction import Reduce
from collectives.schedules import Step

_FOLD, _UNFOLD = 32_043, 32_044


class Fold(NamedTuple):
    """What a rank is in a group folded to a power of two, q.

    number: its number among the q that go on, None if it hands over its data and waits. mate: the other one of its
    pair, None if it has none.
    """

    q: int
    number: int | None
    mate: int | None

    @classmethod
    def of(cls, rank: int, p: int, chosen: int = 0) -> Fold:
        """Return what `rank` of p is. Of a pair the even one goes on, unless the odd one is `chosen`.

        Fold.of(1, 3)  # Fold(q=2, number=None, mate=0)
        """
        q = 1 << (p.bit_length() - 1)
        n_pairs = p - q
        if rank >= 2 * n_pairs:
            return cls(q, rank - n_pairs, None)
        goes_on = rank == chosen if rank // 2 == chosen // 2 else rank % 2 == 0
        return cls(q, rank // 2 if goes_on else None, rank ^ 1)

    def rank_of(self, number: int, p: int, chosen: int = 0) -> int:
        """Return the rank that has this number among those that go on."""
        n_pairs = p - self.q
        if number >= n_pairs:
            return number + n_pairs
        return chosen if chosen // 2 == number else 2 * number


def in_rank_order(reduce: Reduce, mine: Array, came: Array, out: Array, *, mine_first: bool) -> None:
    """Reduce `mine` and `came` into `out`, the lower ranks' share on the left."""
    if mine_first:
        reduce(mine, came, out=out)
    else:
        reduce(came, mine, out=out)


def fold_in(comm: Any, x: Array, whole: Array, reduce: Reduce, fold: Fold) -> Array:
    """Let one of each pair have both shares of `x`, in `whole`; return where this rank's is: there or still in `x`."""
    if fold.mate is None:
        return x
    wire = wire_view(x.dtype) or np.asarray
    if fold.number is None:
        comm.Send(wire(x), fold.mate, _FOLD)
        return x
    (came,) = spares(comm, 1, x.size, x.dtype)
    comm.Recv(wire(came), fold.mate, _FOLD)
    in_rank_order(reduce, x, came, whole, mine_first=fold.mate > comm.rank)
    return whole


def unfold(comm: Any, whole: Array, fold: Fold) -> None:
    """Let the other one of each pair have the result too."""
    if fold.mate is None:
        return
    wire = wire_view(whole.dtype) or np.asarray
    if fold.number is None:
        comm.Recv(wire(whole), fold.mate, _UNFOLD)
    else:
        comm.Send(wire(whole), fold.mate, _UNFOLD)


def folded_steps(fold: Fold, inner: list[Step], n_bytes: int, *, unfolds: bool) -> list[Step]:
    """Return the steps of a rank of `fold`: those of folding n_bytes in, `inner` if it goes on, and of unfolding."""
    if fold.mate is None:
        return inner
    if fold.number is None:
        return [Step(fold.mate, n_bytes, None)] + ([Step(None, 0, fold.mate)] if unfolds else [])
    back = [Step(fold.mate, n_bytes, None)] if unfolds else []
    return [Step(None, 0, fold.mate, n_bytes), *inner, *back]
