"""Claims about communicators: messages stay in theirs, and all ways to make one put the ranks where they belong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
from ranks import Comm, Group


@given(st.lists(st.tuples(st.sampled_from([0, 1, 7, None]), st.integers(-2, 2)), min_size=1, max_size=9))
def test_split_puts_ranks_of_a_color_in_order_of_key_then_rank(asked: Any) -> None:
    def program(comm: Comm) -> Any:
        color, key = asked[comm.rank]
        part = comm.Split(ranks.UNDEFINED if color is None else color, key)
        return part.Get_group().members if part else part is ranks.COMM_NULL

    for rank, got in enumerate(ranks.run(program, len(asked)).results):
        color = asked[rank][0]
        mates = [r for r in range(len(asked)) if asked[r][0] == color]
        assert got == (True if color is None else tuple(sorted(mates, key=lambda r: (asked[r][1], r))))


def test_the_same_rank_and_tag_in_another_communicator_is_another_address() -> None:
    def program(comm: Comm) -> Any:
        others = [comm.Dup() for _ in range(3)] + [comm.Split(0, -comm.rank)]
        requests = [other.isend(n, 1 - other.rank) for n, other in enumerate(others)]
        got = [other.recv(source=1 - other.rank) for other in reversed(others)]
        ranks.Request.waitall(requests)
        return got

    assert ranks.run(program, 2).results == [[3, 2, 1, 0]] * 2


def test_a_communicator_of_a_communicator_counts_its_own_ranks() -> None:
    def program(comm: Comm) -> Any:
        half = comm.Split(comm.rank % 2)
        quarter = half.Split(half.rank // 2, -half.rank)
        got = quarter.sendrecv(comm.rank, (quarter.rank + 1) % quarter.size)
        status = ranks.Status()
        quarter.isend(None, quarter.rank).wait()
        quarter.recv(status=status)
        return quarter.rank, quarter.size, got, status.source

    assert ranks.run(program, 8).results == [
        (1, 2, 2, 1), (1, 2, 3, 1), (0, 2, 0, 0), (0, 2, 1, 0), (1, 2, 6, 1), (1, 2, 7, 1), (0, 2, 4, 0), (0, 2, 5, 0),
    ]  # fmt: skip


def test_split_type_gives_the_ranks_of_a_node() -> None:
    def program(comm: Comm) -> Any:
        node = comm.Split_type(ranks.COMM_TYPE_SHARED)
        return node.Get_group().members, bool(comm.Split_type(ranks.UNDEFINED))

    nodes = [(0, 1, 2), (0, 1, 2), (0, 1, 2), (3, 4), (3, 4)]
    network = ranks.Network(name="nodes", inter=ranks.Link(1, 1), ranks_per_node=3)
    assert ranks.run(program, 5, network=network).results == [(members, False) for members in nodes]


def test_create_gives_the_group_its_order_and_the_others_nothing() -> None:
    def program(comm: Comm) -> Any:
        sub = comm.Create(comm.group.Incl([3, 0, 2]))
        return (sub.rank, sub.Get_group().members) if sub else sub is ranks.COMM_NULL

    members = (3, 0, 2)
    assert ranks.run(program, 4).results == [(1, members), True, (2, members), (0, members)]


def test_ranks_that_create_from_different_groups_are_told() -> None:
    with pytest.raises(ranks.CollectiveMismatchError, match=r"Create\(group=\(0, 1\)\)"):
        ranks.run(lambda comm: comm.Create(comm.group.Incl([0, 1] if comm.rank else [0])), 3)


def test_ranks_that_make_different_communicators_are_told() -> None:
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(lambda comm: comm.Dup() if comm.rank == 1 else comm.Split(0), 4)
    assert caught.value.calls == {"Split()": [0, 2, 3], "Dup()": [1]}


def test_comparing_tells_the_same_congruent_similar_and_unequal() -> None:
    def program(comm: Comm) -> Any:
        twin, turned, part = comm.Dup(), comm.Split(0, -comm.rank), comm.Split(comm.rank // 2)
        found = [comm.Compare(other) for other in (comm, twin, turned, part)]
        groups = [comm.group.Compare(other.group) for other in (twin, turned, part)]
        return found, groups, Comm.Compare(twin, comm)

    expected = [ranks.IDENT, ranks.CONGRUENT, ranks.SIMILAR, ranks.UNEQUAL]
    assert ranks.run(program, 3).results[0] == (
        expected, [ranks.IDENT, ranks.SIMILAR, ranks.UNEQUAL], ranks.CONGRUENT,
    )  # fmt: skip


NAMED = st.lists(st.integers(0, 5), unique=True)


@given(NAMED, NAMED)
def test_group_operations_are_those_of_ordered_sets(one: list[int], two: list[int]) -> None:
    a, b = Group(one, 0), Group(two, 0)
    assert Group.Union(a, b).members == tuple(one + [r for r in two if r not in one])
    assert Group.Intersection(a, b).members == tuple(r for r in one if r in two)
    assert Group.Difference(a, b).members == tuple(r for r in one if r not in two)
    assert a.Translate_ranks(None, b) == [two.index(r) if r in two else ranks.UNDEFINED for r in one]
    assert a.rank == (one.index(0) if 0 in one else ranks.UNDEFINED)
    assert a.Incl(range(a.size)).Compare(a) == ranks.IDENT
    assert a.Excl(range(0, a.size, 2)).members == tuple(one[1::2])


def test_ranges_of_a_group_include_their_ends() -> None:
    group = Group(range(10), 0)
    assert group.Range_incl([(0, 4, 2), (9, 7, -1)]).members == (0, 2, 4, 9, 8, 7)
    assert group.Range_excl([(1, 8, 1)]).members == (0, 9)


def test_freeing_one_communicator_leaves_the_others_usable() -> None:
    def program(comm: Comm) -> Any:
        other = comm.Dup()
        other.send(1, comm.rank)
        other.recv()
        other.Free()
        return bool(other), bool(comm), comm.sendrecv(comm.rank, 1 - comm.rank)

    assert ranks.run(program, 2).results == [(False, True, 1), (False, True, 0)]
