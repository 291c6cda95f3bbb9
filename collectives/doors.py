"""One function for each operation, whichever the algorithm: "auto" picks the fastest by the network's cost model.

All pick from what all ranks know alike: sizes, dtype, whether the op is commutative, and the machine. So all ranks
pick the same. `explain` says what, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from collectives.arrays import Array, check_array
from collectives.catalogue import CATALOGUE
from collectives.choice import choose, machine_of
from collectives.reduction import Op, is_commutative
from collectives.shared import prepare, prepared, staged_allreduce
from ranks import kept


def allreduce(comm: Any, x: Array, op: Op = np.add, *, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`.

        ranks.run(lambda comm: allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    algorithm: "auto", or a name in CATALOGUE["allreduce"].
    """
    call = prepared(comm, allreduce, x, op) if algorithm == "auto" else None
    if call is not None:
        return call(x, out)
    check_array("allreduce", x)
    function = fastest(comm, "allreduce", algorithm, x.size, x.itemsize, op)
    found: Array = function(comm, x, op, out=out)
    if algorithm == "auto" and function is staged_allreduce:
        call = prepared(comm, staged_allreduce, x, op)
        if call is not None:
            prepare(comm, allreduce, x, op, call)
    return found


def reduce(
    comm: Any, x: Array, op: Op = np.add, *, root: int = 0, algorithm: str = "auto", out: Array | None = None
) -> Array | None:
    """Return the elementwise `op` of `x` over all ranks of `comm` on `root`, None elsewhere.

        ranks.run(lambda comm: reduce(comm, np.array([comm.rank + 1])), 3).results  # [array([6]), None, None]

    algorithm: "auto", or a name in CATALOGUE["reduce"].
    """
    check_array("reduce", x)
    found: Array | None = fastest(comm, "reduce", algorithm, x.size, x.itemsize, op)(comm, x, op, root=root, out=out)
    return found


def broadcast(comm: Any, x: Array, *, root: int = 0, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the root's `x` on every rank of `comm`; the others' x has its shape and dtype, and is not read.

        ranks.run(lambda comm: broadcast(comm, np.array([comm.rank]), root=2), 3).results
        # [array([2]), array([2]), array([2])]

    algorithm: "auto", or a name in CATALOGUE["broadcast"].
    """
    check_array("broadcast", x)
    found: Array = fastest(comm, "broadcast", algorithm, x.size, x.itemsize)(comm, x, root=root, out=out)
    return found


def barrier(comm: Any, *, algorithm: str = "auto") -> None:
    """Wait until all ranks of `comm` have entered.

        ranks.run(barrier, 16).sends[0]  # 4

    algorithm: "auto", or a name in CATALOGUE["barrier"].
    """
    fastest(comm, "barrier", algorithm, 0, 1)(comm)


def fastest(
    comm: Any, operation: str, algorithm: str, n_items: int, itemsize: int, op: Op = np.add
) -> Callable[..., Any]:
    """Return the function of an algorithm by its name, or of the one that is predicted to be the fastest."""
    rows = CATALOGUE[operation]
    if algorithm in rows:
        return rows[algorithm].function
    if algorithm != "auto":
        raise ValueError(
            f"{operation}: got algorithm {algorithm!r}, expected auto, {', '.join(rows)}; remedy: choose one of these"
        )
    # What was chosen before is found by a few numbers: a choice would hash the whole machine.
    chosen: dict[Any, Callable[..., Any]] = kept(comm, fastest, dict)
    key = operation, n_items, itemsize, is_commutative(op)
    if key not in chosen:
        choice = choose(operation, machine_of(comm, operation), n_items, itemsize, any_op=not key[3])
        chosen[key] = rows[choice.algorithm].function
    return chosen[key]
