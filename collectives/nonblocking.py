"""All-reduce, broadcast and all-to-all that return at once: compute, then wait for the request that they return.

They run in the background (`ranks.start`). You can start any other algorithm of sends and receives in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from collectives.alltoallv import alltoall
from collectives.arguments import check_array
from collectives.arrays import Array
from collectives.catalogue import CATALOGUE
from collectives.choice import choose, machine_of
from collectives.operations import fastest
from collectives.reduction import Op, is_commutative
from ranks import Started, start


def iallreduce(comm: Any, x: Array, op: Op = np.add, *, algorithm: str = "auto", out: Array | None = None) -> Started:
    """Begin an all-reduce and return its request: see `allreduce`, whose arguments these are.

        ranks.run(lambda comm: iallreduce(comm, np.array([comm.rank + 1])).wait(), 3).results
        # [array([6]), array([6]), array([6])]

    x must stay as it is, and out be left alone, until the request is complete. Progress is made in its Wait and Test.
    """
    check_array("iallreduce", x)
    return start(_of_messages(comm, "allreduce", algorithm, x, op), comm, x, op, out=out)


def ibroadcast(comm: Any, x: Array, *, root: int = 0, algorithm: str = "auto", out: Array | None = None) -> Started:
    """Begin a broadcast and return its request: see `broadcast`, whose arguments these are.

        ranks.run(lambda comm: ibroadcast(comm, np.array([comm.rank]), root=2).wait(), 3).results
        # [array([2]), array([2]), array([2])]

    x must stay as it is, and out be left alone, until the request is complete. Progress is made in its Wait and Test.
    """
    check_array("ibroadcast", x)
    return start(_of_messages(comm, "broadcast", algorithm, x), comm, x, root=root, out=out)


def ialltoall(
    comm: Any,
    x: Array,
    split_axis: int = 0,
    concat_axis: int = 0,
    *,
    split_sizes: Sequence[int] | None = None,
    concat_sizes: Sequence[int] | None = None,
    algorithm: str = "pairwise",
    out: Array | None = None,
) -> Started:
    """Begin an all-to-all and return its request: see `alltoall`, whose arguments these are.

        ranks.run(lambda comm: ialltoall(comm, np.arange(3) + 10 * comm.rank).wait(), 3).results
        # [array([ 0, 10, 20]), array([ 1, 11, 21]), array([ 2, 12, 22])]

    x must stay as it is, and out be left alone, until the request is complete. Progress is made in its Wait and Test.
    """
    given = {"split_sizes": split_sizes, "concat_sizes": concat_sizes, "algorithm": algorithm, "out": out}
    return start(alltoall, comm, x, split_axis, concat_axis, **given)


def _of_messages(comm: Any, operation: str, algorithm: str, x: Array, op: Op = np.add) -> Callable[..., Any]:
    """Return the function of an algorithm, for "auto" of the fastest of those that share no memory."""
    if algorithm != "auto":
        return fastest(comm, operation, algorithm, x.size, x.itemsize, op)
    choice = choose(operation, machine_of(comm, operation), x.size, x.itemsize, any_op=not is_commutative(op))
    rows = CATALOGUE[operation]
    return next(rows[name].function for name, _ in choice.candidates if not rows[name].one_node)
