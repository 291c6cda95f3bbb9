"""One function for each operation, whatever the algorithm: "auto" chooses the fastest by the network's cost model.

All ranks choose by values that are the same on all of them: sizes, dtype, whether the op is commutative, and the
machine. So all ranks make the same choice. `explain` shows the choice, and why.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from collectives.arguments import check_array
from collectives.arrays import Array
from collectives.catalogue import CATALOGUE
from collectives.choice import choose, machine_of
from collectives.reduction import Op, is_commutative
from collectives.shared import prepare, prepared, staged_allreduce
from ranks import kept

# Elements of each rank's block; None: as many on all, or as np.array_split cuts them.
Sizes = Sequence[int] | None


def allreduce(comm: Any, x: Array, op: Op = np.add, *, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`.

        ranks.run(lambda comm: allreduce(comm, np.array([comm.rank + 1])), 3).results
        # [array([6]), array([6]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

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

        ranks.run(lambda comm: reduce(comm, np.array([comm.rank + 1]), root=1), 3).results
        # [None, array([6]), None]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
             out counts on root only.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["reduce"].
    """
    check_array("reduce", x)
    return fastest(comm, "reduce", algorithm, x.size, x.itemsize, op)(comm, x, op, root=root, out=out)


def broadcast(comm: Any, x: Array, *, root: int = 0, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the root's `x` on every rank of `comm`.

        ranks.run(lambda comm: broadcast(comm, np.array([comm.rank]), root=2), 3).results
        # [array([2]), array([2]), array([2])]

    Shape:   x (...,), the same shape and dtype on all ranks -> the same. Only the root's x is read, and it is kept
             unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["broadcast"].
    """
    check_array("broadcast", x)
    return fastest(comm, "broadcast", algorithm, x.size, x.itemsize)(comm, x, root=root, out=out)


def reduce_scatter(
    comm: Any,
    x: Array,
    op: Op = np.add,
    *,
    counts: Sizes = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Return this rank's block of the elementwise `op` of `x` over all ranks of `comm`.

        ranks.run(lambda comm: reduce_scatter(comm, np.arange(4) * 10**comm.rank), 3).results
        # [array([  0, 111]), array([222]), array([333])]

    Shape:   x (...,) -> (n,): block `rank` of x.ravel(), cut as np.array_split does, or into counts[r] elements for
             rank r. Any size, also smaller than p. `x` is kept unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["reduce_scatter"].
    """
    check_array("reduce_scatter", x)
    return fastest(comm, "reduce_scatter", algorithm, x.size, x.itemsize, op)(comm, x, op, counts=counts, out=out)


def allgather(comm: Any, x: Array, *, counts: Sizes = None, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the blocks `x` of all ranks of `comm`, in rank order: stacked, or with `counts` joined.

        ranks.run(lambda comm: allgather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's block:
             x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["allgather"].
    """
    check_array("allgather", x)
    function = fastest(comm, "allgather", algorithm, _whole(comm, x.size, counts), x.itemsize)
    return function(comm, x, counts=counts, out=out)


def gather(
    comm: Any,
    x: Array,
    *,
    root: int = 0,
    counts: Sizes = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array | None:
    """Return the blocks `x` of all ranks of `comm` on `root`, in rank order, None elsewhere.

        ranks.run(lambda comm: gather(comm, np.array([comm.rank, -comm.rank])), 3).results[0]
        # array([[ 0,  0], [ 1, -1], [ 2, -2]])

    Shape:   x (...,), the same on all ranks -> (p, ...). With `counts`, the number of elements of each rank's block:
             x of counts[rank] elements -> (sum(counts),). `x` is kept unless out overlaps it. out counts on
             root only.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["gather"].
    """
    check_array("gather", x)
    function = fastest(comm, "gather", algorithm, _whole(comm, x.size, counts), x.itemsize)
    return function(comm, x, root=root, counts=counts, out=out)


def scatter(
    comm: Any,
    x: Array | None,
    *,
    root: int = 0,
    counts: Sizes = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Return this rank's block of the `x` of `root`.

        ranks.run(lambda comm: scatter(comm, np.arange(6).reshape(3, 2), out=np.empty(2, int)), 3).results
        # [array([0, 1]), array([2, 3]), array([4, 5])]

    Shape:   x (p, ...) -> (...,). With `counts`, the number of elements for each rank: x of sum(counts) elements ->
             (counts[rank],). Only root knows x: the others pass anything, such as None, and `out`, the array for
             their block. `x` is kept unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["scatter"].
    """
    known = x if comm.rank == root else out
    n_own = known.size // (comm.size if comm.rank == root else 1) if isinstance(known, np.ndarray) else 0
    itemsize = known.itemsize if isinstance(known, np.ndarray) else 1
    function = fastest(comm, "scatter", algorithm, _whole(comm, n_own, counts), itemsize)
    return function(comm, x, root=root, counts=counts, out=out)


def scan(comm: Any, x: Array, op: Op = np.add, *, algorithm: str = "auto", out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over ranks 0 to this one of `comm`.

        ranks.run(lambda comm: scan(comm, np.array([comm.rank + 1])), 3).results
        # [array([1]), array([3]), array([6])]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["scan"].
    """
    check_array("scan", x)
    return fastest(comm, "scan", algorithm, x.size, x.itemsize, op)(comm, x, op, out=out)


def exscan(
    comm: Any, x: Array, op: Op = np.add, *, first: Any = None, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """Return the elementwise `op` of `x` over the ranks below this one of `comm`; rank 0 gets `first`.

        ranks.run(lambda comm: exscan(comm, np.array([comm.rank + 1])), 3).results
        # [array([0]), array([1]), array([3])]

    Shape:   x (...,) -> same shape and dtype, any size, also smaller than p. `x` is kept unless out overlaps it.
    first:   what fills the result of rank 0, since no rank is below it. None: the identity of op, which NumPy has for
             add, multiply and some other ufuncs.
    Raises:  TypeError, ValueError if an argument does not fit; CollectiveMismatchError if simulated ranks differ.

    algorithm: "auto", or a name in CATALOGUE["exscan"].
    """
    check_array("exscan", x)
    return fastest(comm, "exscan", algorithm, x.size, x.itemsize, op)(comm, x, op, first=first, out=out)


def barrier(comm: Any, *, algorithm: str = "auto") -> None:
    """Wait until all ranks of `comm` have entered.

        ranks.run(barrier, 16).sends[0]  # 4

    algorithm: "auto", or a name in CATALOGUE["barrier"].
    """
    fastest(comm, "barrier", algorithm, 0, 1)(comm)


def fastest(
    comm: Any, operation: str, algorithm: str, n_items: int, itemsize: int, op: Op = np.add
) -> Callable[..., Array]:
    """Return the function of the named algorithm, or of the one that is predicted to be the fastest."""
    rows = CATALOGUE[operation]
    if algorithm in rows:
        return rows[algorithm].function
    if algorithm != "auto":
        raise ValueError(
            f"{operation}: got algorithm {algorithm!r}, expected auto, {', '.join(rows)}; remedy: choose one of these"
        )
    # What was chosen before is found by a few numbers: a choice would hash the whole machine.
    chosen: dict[Any, Callable[..., Array]] = kept(comm, fastest, dict)
    key = operation, n_items, itemsize, is_commutative(op)
    if key not in chosen:
        choice = choose(operation, machine_of(comm, operation), n_items, itemsize, any_op=not key[3])
        chosen[key] = rows[choice.algorithm].function
    return chosen[key]


def _whole(comm: Any, n_own: int, counts: Sizes) -> int:
    """Return the elements of all blocks; counts that are none are refused by the algorithm."""
    try:
        return n_own * comm.size if counts is None else int(sum(counts))
    except TypeError:
        return 0


def _share_docstrings(*operations: Callable[..., Any]) -> None:
    """Add to the docstring of each algorithm what its operation says for all of them: an example, shapes and errors."""
    for operation in operations:
        text = inspect.getdoc(operation)
        if text is None:
            return  # python -OO
        _, example, alike, _ = text.split("\n\n")
        for row in CATALOGUE[operation.__name__].values():
            summary, _, own = (inspect.getdoc(row.function) or "").partition("\n\n")
            shown = example.replace(f"{operation.__name__}(", f"{row.function.__name__}(", 1)
            parts = [summary, own] if own.startswith("    ") else [summary, shown, own]
            row.function.__doc__ = "\n\n".join([*parts, alike])


_share_docstrings(allreduce, reduce, broadcast, reduce_scatter, allgather, gather, scatter, scan, exscan)
