"""Front doors, as in `doors.py`, of the operations whose ranks have different blocks of one whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from collectives.arrays import Array, check_array
from collectives.doors import fastest
from collectives.reduction import Op


def reduce_scatter(
    comm: Any,
    x: Array,
    op: Op = np.add,
    *,
    counts: Sequence[int] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks of `comm`.

        ranks.run(lambda comm: reduce_scatter(comm, np.arange(4) * 10**comm.rank), 3).results
        # [array([  0, 111]), array([222]), array([333])]

    counts:    elements of each rank's block; None: as np.array_split cuts x.
    algorithm: "auto", or a name in CATALOGUE["reduce_scatter"].
    """
    check_array("reduce_scatter", x)
    function = fastest(comm, "reduce_scatter", algorithm, x.size, x.itemsize, op)
    found: Array = function(comm, x, op, counts=counts, out=out)
    return found


def allgather(
    comm: Any, x: Array, *, counts: Sequence[int] | None = None, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order: stacked, or with `counts` joined.

        ranks.run(lambda comm: allgather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    counts:    elements of each rank's block; None: as many on all.
    algorithm: "auto", or a name in CATALOGUE["allgather"].
    """
    check_array("allgather", x)
    function = fastest(comm, "allgather", algorithm, _whole(comm, x.size, counts), x.itemsize)
    found: Array = function(comm, x, counts=counts, out=out)
    return found


def gather(
    comm: Any,
    x: Array,
    *,
    root: int = 0,
    counts: Sequence[int] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array | None:
    """Return the blocks `x` of all ranks of `comm` on `root`, in rank order, None elsewhere.

        ranks.run(lambda comm: gather(comm, np.array([comm.rank])), 3).results[0]  # array([[0], [1], [2]])

    counts:    elements of each rank's block; None: as many on all.
    algorithm: "auto", or a name in CATALOGUE["gather"].
    """
    check_array("gather", x)
    function = fastest(comm, "gather", algorithm, _whole(comm, x.size, counts), x.itemsize)
    found: Array | None = function(comm, x, root=root, counts=counts, out=out)
    return found


def scatter(
    comm: Any,
    x: Array | None,
    *,
    root: int = 0,
    counts: Sequence[int] | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Return this rank's block of the `x` of `root`; the others pass `out`, the array for their block.

        ranks.run(lambda comm: scatter(comm, np.arange(3).reshape(3, 1), out=np.empty(1, int)), 3).results
        # [array([0]), array([1]), array([2])]

    counts:    elements of each rank's block; None: x is (p, ...).
    algorithm: "auto", or a name in CATALOGUE["scatter"].
    """
    known = x if comm.rank == root else out
    n_own = known.size // (comm.size if comm.rank == root else 1) if isinstance(known, np.ndarray) else 0
    itemsize = known.itemsize if isinstance(known, np.ndarray) else 1
    function = fastest(comm, "scatter", algorithm, _whole(comm, n_own, counts), itemsize)
    found: Array = function(comm, x, root=root, counts=counts, out=out)
    return found


def scan(comm: Any, x: Array, op: Op = np.add, *, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`.

        ranks.run(lambda comm: scan(comm, np.array([comm.rank + 1])), 3).results
        # [array([1]), array([3]), array([6])]

    algorithm: "auto", or a name in CATALOGUE["scan"].
    """
    check_array("scan", x)
    found: Array = fastest(comm, "scan", algorithm, x.size, x.itemsize, op)(comm, x, op, out=out)
    return found


def exscan(
    comm: Any, x: Array, op: Op = np.add, *, first: Any = None, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`; rank 0 gets `first`.

        ranks.run(lambda comm: exscan(comm, np.array([comm.rank + 1])), 3).results
        # [array([0]), array([1]), array([3])]

    first:     what there is over no ranks; None: the identity of the op.
    algorithm: "auto", or a name in CATALOGUE["exscan"].
    """
    check_array("exscan", x)
    function = fastest(comm, "exscan", algorithm, x.size, x.itemsize, op)
    found: Array = function(comm, x, op, first=first, out=out)
    return found


def _whole(comm: Any, n_own: int, counts: Sequence[int] | None) -> int:
    """Return the elements of all blocks; counts that are none are refused by the algorithm."""
    try:
        return n_own * comm.size if counts is None else int(sum(counts))
    except TypeError:
        return 0
