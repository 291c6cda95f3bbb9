"""Groups that are no power of two, made one by pairs.

Of p ranks, with q the largest power of two up to p, the first 2(p-q) form pairs of neighbours: in each one hands its
data to the other before, and may get the result after.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from collectives.arrays import Array
from collectives.kit import Op, new_tag, scratch

_TAG = new_tag()


class Place(NamedTuple):
    """What a rank is in a group that pairs make a power of two, q.

    number: its number among the q that go on, None if it hands over its data and waits. mate: the other one of its
    pair, None if it has none.
    """

    q: int
    number: int | None
    mate: int | None

    @classmethod
    def of(cls, rank: int, p: int, chosen: int = 0) -> Place:
        """Return what `rank` of p is. Of a pair the even one goes on, unless the odd one is `chosen`.

        Place.of(1, 3)  # Place(q=2, number=None, mate=0)
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


def in_rank_order(op: Op, mine: Array, came: Array, out: Array, *, mine_first: bool) -> None:
    """Reduce `mine` and `came` into `out`, the lower ranks' share on the left."""
    if mine_first:
        op(mine, came, out=out)
    else:
        op(came, mine, out=out)


def pair_up(comm: Any, x: Array, out: Array, op: Op, place: Place) -> Array:
    """Let one of each pair have both shares of `x`, in `out`; return where this rank's is: there or still in `x`."""
    if place.mate is None:
        return x
    if place.number is None:
        comm.Send(x, place.mate, _TAG)
        return x
    (came,) = scratch(comm, 1, x.size, x.dtype)
    comm.Recv(came, place.mate, _TAG)
    in_rank_order(op, x, came, out, mine_first=place.mate > comm.rank)
    return out


def give_back(comm: Any, out: Array, place: Place) -> None:
    """Let the other one of each pair have the result too."""
    if place.mate is not None and place.number is None:
        comm.Recv(out, place.mate, _TAG)
    elif place.mate is not None:
        comm.Send(out, place.mate, _TAG)
