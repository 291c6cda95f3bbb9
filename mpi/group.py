"""Group: an ordered set of ranks of the world, from which communicators are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from mpi.constants import IDENT, PROC_NULL, SIMILAR, UNDEFINED, UNEQUAL
from mpi.errors import ERR_ARG, ERR_GROUP, ERR_RANK, wrong
from mpi.handles import Handle, Named, constant
from mpi.process import process
from mpi.simulated import whole


class Members(Named):
    """What a group's handle stands for: ranks of the world, in order."""

    def __init__(self, ranks: Iterable[int]) -> None:
        super().__init__()
        self.ranks = tuple(ranks)


class Group(Handle):
    """An ordered set of ranks."""

    __slots__ = ()
    error_class = ERR_GROUP
    null = "GROUP_NULL"

    @classmethod
    def _with(cls, ranks: Iterable[int]) -> Self:
        """Return a group of ranks of the world; the one without any is GROUP_EMPTY's."""
        chosen = tuple(ranks)
        return cls._of(Members(chosen) if chosen else GROUP_EMPTY._o)

    @property
    def _ranks(self) -> tuple[int, ...]:
        ranks: tuple[int, ...] = self._object().ranks
        return ranks

    def Get_size(self) -> int:
        """Return the number of ranks in the group."""
        return len(self._ranks)

    def Get_rank(self) -> int:
        """Return the calling rank's place in the group, UNDEFINED if it has none."""
        ranks = self._ranks
        me = process().state.rank if ranks else None
        return ranks.index(me) if me in ranks else UNDEFINED

    size = property(Get_size)
    rank = property(Get_rank)

    def Translate_ranks(self, ranks: Sequence[int] | None = None, group: Group | None = None) -> list[int]:
        """Return the ranks in `group` of these ranks of this one, UNDEFINED where there is none."""
        mine = self._ranks
        target = Group._of(process().world.group()) if group is None else group
        places = {rank: place for place, rank in enumerate(_ranks_of(target))}
        chosen = range(len(mine)) if ranks is None else [whole(rank) for rank in ranks]
        found = []
        for rank in chosen:
            if rank != PROC_NULL:
                self._check(rank)
            found.append(PROC_NULL if rank == PROC_NULL else places.get(mine[rank], UNDEFINED))
        return found

    def Compare(self, group: Group) -> int:
        """Return IDENT (same ranks, same order), SIMILAR (same ranks) or UNEQUAL."""
        mine, other = self._ranks, _ranks_of(group)
        if mine == other:
            return IDENT
        return SIMILAR if set(mine) == set(other) else UNEQUAL

    def Dup(self) -> Self:
        """Return a copy of the group."""
        return type(self)._with(self._ranks)

    @classmethod
    def Union(cls, group1: Group, group2: Group) -> Self:
        """Return the ranks of the first group, then those of the second that are not in it."""
        return cls._with(dict.fromkeys(_ranks_of(group1) + _ranks_of(group2)))

    @classmethod
    def Intersection(cls, group1: Group, group2: Group) -> Self:
        """Return the ranks of the first group that are in the second too."""
        other = set(_ranks_of(group2))
        return cls._with(rank for rank in _ranks_of(group1) if rank in other)

    Intersect = Intersection

    @classmethod
    def Difference(cls, group1: Group, group2: Group) -> Self:
        """Return the ranks of the first group that are not in the second."""
        other = set(_ranks_of(group2))
        return cls._with(rank for rank in _ranks_of(group1) if rank not in other)

    def Incl(self, ranks: Sequence[int]) -> Self:
        """Return the group of these ranks, in this order."""
        return type(self)._with(self._ranks[rank] for rank in self._chosen(ranks))

    def Excl(self, ranks: Sequence[int]) -> Self:
        """Return the group without these ranks."""
        out = set(self._chosen(ranks))
        return type(self)._with(member for rank, member in enumerate(self._ranks) if rank not in out)

    def Range_incl(self, ranks: Sequence[tuple[int, int, int]]) -> Self:
        """Return the group of the ranks in (first, last, stride) ranges, ends included."""
        return self.Incl(self._in_ranges(ranks))

    def Range_excl(self, ranks: Sequence[tuple[int, int, int]]) -> Self:
        """Return the group without the ranks in (first, last, stride) ranges, ends included."""
        return self.Excl(self._in_ranges(ranks))

    def Free(self) -> None:
        """Make the handle null."""
        self._object()
        self._o = None

    @classmethod
    def Create_from_session_pset(cls, session: Any, pset_name: str) -> Self:
        """Refuse: sessions are not simulated."""
        from mpi.errors import left_out

        left_out("a group from a session")

    def _check(self, rank: int) -> None:
        if not 0 <= rank < len(self._ranks):
            raise wrong(ERR_RANK, f"rank {rank}", f"0 to {len(self._ranks) - 1}", "take a rank of this group")

    def _in_ranges(self, ranges: Any) -> list[int]:
        found: list[int] = []
        for each in ranges:
            first, last, stride = (whole(number) for number in each)
            if not stride:
                raise wrong(ERR_ARG, f"range {tuple(each)}", "a stride that is not 0", "correct the range")
            found += range(first, last + (1 if stride > 0 else -1), stride)
        if not all(0 <= rank < len(self._ranks) for rank in found):
            raise wrong(ERR_ARG, f"ranges {ranges}", f"ranks 0 to {len(self._ranks) - 1}", "correct the ranges")
        return found

    def _chosen(self, ranks: Iterable[Any]) -> list[int]:
        chosen = [whole(rank) for rank in ranks]
        for rank in chosen:
            self._check(rank)
        return list(dict.fromkeys(chosen))


def _ranks_of(group: Any) -> tuple[int, ...]:
    ranks: tuple[int, ...] = Group._checked(group)._ranks
    return ranks


GROUP_NULL = constant("GROUP_NULL", Group())
GROUP_EMPTY = constant("GROUP_EMPTY", Group._of(Members(())))
