"""The two-level all-reduce on nodes of any size, unequal ones too, wherever their ranks are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from claims import CLAIMS, Case


@pytest.mark.parametrize("per_node", [1, 2, 3, 4, 5, 64])
def test_two_levels_work_on_nodes_of_any_and_of_unequal_sizes(per_node: int) -> None:
    network = ranks.Network(name="nodes", inter=ranks.Link.of(1e-6, 1e9), ranks_per_node=per_node)
    for p in range(1, 14):
        for n in (0, 1, 7, 100):
            case = Case((n,), "f8", "add", seed=n)
            ranks.run(CLAIMS["two_level_allreduce"], p, case, network=network)


def test_the_cost_is_exact_where_nodes_are_unequal_however_little() -> None:
    """Nodes of two and one were taken for equal ones: three ranks shared out among two nodes give two and one."""
    for per_node in (2, 3, 4, 8):
        network = replace(ranks.presets["dgx-a100-shared"], ranks_per_node=per_node)
        for p in range(2, 2 * per_node + 2):
            for n in (0, 7, 3000):
                run = ranks.run(
                    lambda comm, n=n: collectives.two_level_allreduce(comm, np.zeros(n)), p, network=network
                )
                cost = collectives.cost("two_level_allreduce", network, p, n, 8)
                assert (cost.time_ps, cost.sends, cost.bytes_sent) == (run.time_ps, run.sends, run.bytes_sent)


def test_two_levels_work_where_the_ranks_of_a_node_are_not_neighbours() -> None:
    def program(comm: Any) -> Any:
        shuffled = comm.Split(0, (comm.rank * 7) % 12)
        CLAIMS["two_level_allreduce"](shuffled, Case((50,), "f8", "add", seed=3))
        return ranks.nodes_of(shuffled)

    network = ranks.Network(name="nodes", inter=ranks.Link.of(1e-6, 1e9), ranks_per_node=5)
    assert ranks.run(program, 12, network=network).results[0] == (0, 1, 0, 1, 0, 2, 1, 0, 1, 0, 2, 1)
