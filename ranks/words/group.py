"""Groups: ordered sets of ranks, from which communicators are made; spelled as mpi4py's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ranks.words.constants import IDENT, SIMILAR, UNDEFINED, UNEQUAL
from ranks.words.errors import InvalidRankError


class Group:
    """An ordered set of ranks of the world, as the calling rank sees it."""

    __slots__ = ("_me", "members")

    def __init__(self, members: Iterable[int], me: int) -> None:
        self.members = tuple(members)
        self._me = me

    @property
    def size(self) -> int:
        """Number of ranks in the group."""
        return len(self.members)

    @property
    def rank(self) -> int:
        """The calling rank's place in the group, UNDEFINED if it has none."""
        return self.members.index(self._me) if self._me in self.members else UNDEFINED

    def Get_size(self) -> int:
        """Return the number of ranks in the group."""
        return self.size

    def Get_rank(self) -> int:
        """Return the calling rank's place in the group, UNDEFINED if it has none."""
        return self.rank

    def Incl(self, ranks: Sequence[int]) -> Group:
        """Return the group of these ranks, in this order."""
        return self._made(self.members[rank] for rank in self._checked("Incl", ranks))

    def Excl(self, ranks: Sequence[int]) -> Group:
        """Return the group without these ranks."""
        out = set(self._checked("Excl", ranks))
        return self._made(member for rank, member in enumerate(self.members) if rank not in out)

    def Range_incl(self, ranks: Sequence[tuple[int, int, int]]) -> Group:
        """Return the group of the ranks in (first, last, stride) ranges, ends included."""
        return self.Incl(_in_ranges(ranks))

    def Range_excl(self, ranks: Sequence[tuple[int, int, int]]) -> Group:
        """Return the group without the ranks in (first, last, stride) ranges, ends included."""
        return self.Excl(_in_ranges(ranks))

    @classmethod
    def Union(cls, group1: Group, group2: Group) -> Group:
        """Return the ranks of the first group, then those of the second that are not in it."""
        return group1._made(dict.fromkeys(group1.members + group2.members))

    @classmethod
    def Intersection(cls, group1: Group, group2: Group) -> Group:
        """Return the ranks of the first group that are in the second too."""
        return group1._made(member for member in group1.members if member in group2.members)

    @classmethod
    def Difference(cls, group1: Group, group2: Group) -> Group:
        """Return the ranks of the first group that are not in the second."""
        return group1._made(member for member in group1.members if member not in group2.members)

    def Compare(self, group: Group) -> int:
        """Return IDENT (same ranks, same order), SIMILAR (same ranks) or UNEQUAL."""
        if self.members == group.members:
            return IDENT
        return SIMILAR if set(self.members) == set(group.members) else UNEQUAL

    def Translate_ranks(self, ranks: Sequence[int] | None = None, group: Group | None = None) -> list[int]:
        """Return the ranks in `group` of these ranks of this one, UNDEFINED where there is none."""
        members = self.members if group is None else group.members
        places = {member: place for place, member in enumerate(members)}
        chosen = range(self.size) if ranks is None else self._checked("Translate_ranks", ranks)
        return [places.get(self.members[rank], UNDEFINED) for rank in chosen]

    def Free(self) -> None:
        """Do nothing: a group holds nothing that must be given back."""

    def _made(self, members: Iterable[int]) -> Group:
        return Group(members, self._me)

    def _checked(self, call: str, ranks: Iterable[int]) -> list[int]:
        chosen = list(ranks)
        wrong = [rank for rank in chosen if not 0 <= rank < self.size]
        if wrong or len(set(chosen)) < len(chosen):
            got = f"rank {wrong[0]}" if wrong else f"a rank twice in {chosen}"
            raise InvalidRankError(
                self._me, f"Group.{call}", got=got, expected=f"different ranks from 0 to {self.size - 1}",
                remedy="take ranks of this group, each once",
            )  # fmt: skip
        return chosen


def _in_ranges(ranges: Sequence[tuple[int, int, int]]) -> list[int]:
    return [rank for first, last, stride in ranges for rank in range(first, last + (1 if stride > 0 else -1), stride)]
