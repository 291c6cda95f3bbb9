"""The two-level all-reduce on nodes of any size, unequal ones too, wherever their ranks are."""

from __future__ import annotations

from typing import Any

import pytest

import ranks
from claims import CLAIMS, Case


@pytest.mark.parametrize("per_node", [1, 2, 3, 4, 5, 64])
def test_two_levels_work_on_nodes_of_any_and_of_unequal_sizes(per_node: int) -> None:
    network = ranks.Network(name="nodes", inter=ranks.Link.of(1e-6, 1e9), ranks_per_node=per_node)
    for p in range(1, 14):
        for n in (0, 1, 7, 100):
            case = Case((n,), "f8", "add", seed=n)
            ranks.run(CLAIMS["two_level_allreduce"], p, case, network=network)


def test_two_levels_work_where_the_ranks_of_a_node_are_not_neighbours() -> None:
    def program(comm: Any) -> Any:
        shuffled = comm.Split(0, (comm.rank * 7) % 12)
        CLAIMS["two_level_allreduce"](shuffled, Case((50,), "f8", "add", seed=3))
        return ranks.nodes_of(shuffled)

    network = ranks.Network(name="nodes", inter=ranks.Link.of(1e-6, 1e9), ranks_per_node=5)
    assert ranks.run(program, 12, network=network).results[0] == (0, 1, 0, 1, 0, 2, 1, 0, 1, 0, 2, 1)
