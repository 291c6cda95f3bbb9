"""The code before and after the algorithm of every collective, for each operation.

A call checks the arguments, compares them between all ranks, lays out the result, and marks a region of the trace. The
algorithm itself runs only on two ranks or more. It gets the arguments of its operation in this form:

    comm     sends and receives flat arrays of any dtype, out of reach of the program's messages and wildcards
    x        flat, in C order, in one piece; scatter: on the root only; broadcast: `out` itself elsewhere
    op       op(left, right, out=out), for flat arrays; it charges the virtual clock too
    counts   the size of each rank's block, as a list
    first    what rank 0 gets, in the dtype of x
    out      where to make the result, flat; allgather, and gather at the root: `x` is this rank's block of it
             It is x itself or apart from it. reduce_scatter, scatter: it may be part of x, so write to it last.

It returns the flat result, which is `out` or another array. On ranks that get no result, the returned value is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from collectives.arguments import (
    apart,
    check_positive,
    check_root,
    finish,
    flat_input,
    output,
    same_memory,
    sizes_of,
    sizes_with_own,
)
from collectives.arrays import Array, block_sizes
from collectives.messages import carrier
from collectives.reduction import first_of_scan, op_name, reducer, require_commutative
from ranks import Comm, announce, hidden, is_plain, kept, kept_by_handle, region

Function = Callable[..., Any]
# Arguments that a caller may leave out as None, but that an algorithm always gets.
Out = Array | Any
Counts = list[int] | Any
_NO_REGION = nullcontext()


def reduction(who: str, body: Function, own: dict[str, Any], *, commutative: bool, phases: bool) -> Function:
    """Return the call of an all-reduce, of a reduction to a root, or of a scan; phases: the body marks its regions."""
    to_root = who.endswith("_reduce")

    def call(comm: Any, x: Array, op: Any = np.add, *, out: Array | None = None, **given: Any) -> Array | None:
        options = said = _options(who, own, given, comm) if own or given else given
        if "first" in options:
            options = {"first": first_of_scan(who, options["first"], op, x)}
            said = {"first": repr(options["first"])}
        flat = flat_input(who, x)
        if commutative:
            require_commutative(who, op)
        combine = reducer(who, comm, op, flat.dtype)
        gets_result = not to_root or comm.rank == options["root"]
        result, whole = output(who, out if gets_result else None, x.shape, x.dtype)
        announce(comm, who, **said, op=op_name(op), shape=x.shape, dtype=x.dtype)
        if comm.size == 1:
            return finish(result, whole, np.broadcast_to(options.get("first", flat), flat.shape))
        mine = flat if out is None else apart(flat, whole)
        with _NO_REGION if phases else region(comm, who):
            if options:
                made = body(carrier(comm, flat.dtype), mine, combine, out=whole, **options)
            else:  # takes half the time and less of the stack, which ranks copy when they take turns
                made = body(carrier(comm, flat.dtype), mine, combine, out=whole)
        return finish(result, whole, made) if gets_result else None

    return call


def reduce_scatter(who: str, body: Function, own: dict[str, Any], *, commutative: bool, phases: bool) -> Function:
    """Return the call of a reduce-scatter."""

    def call(comm: Any, x: Array, op: Any = np.add, *, counts: Any = None, out: Array | None = None) -> Array:
        flat, p = flat_input(who, x), comm.size
        if commutative:
            require_commutative(who, op)
        combine = reducer(who, comm, op, flat.dtype)
        sizes = block_sizes(flat.size, p) if counts is None else sizes_of(who, "counts", counts, p, flat.size)
        result, mine = output(who, out, (sizes[comm.rank],), flat.dtype)
        alike = {} if counts is None else {"counts": tuple(sizes)}
        announce(comm, who, op=op_name(op), shape=x.shape, dtype=x.dtype, **alike)
        if p == 1:
            return finish(result, mine, flat)
        with _NO_REGION if phases else region(comm, who):
            made = body(carrier(comm, flat.dtype), flat, combine, counts=sizes, out=mine)
        return finish(result, mine, made)

    return call


def broadcast(who: str, body: Function, own: dict[str, Any]) -> Function:
    """Return the call of a broadcast."""

    def call(comm: Any, x: Array, *, out: Array | None = None, **given: Any) -> Array:
        flat = flat_input(who, x)
        options = _options(who, own, given, comm)
        result, whole = output(who, out, x.shape, x.dtype)
        announce(comm, who, shape=x.shape, dtype=x.dtype, **options)
        if comm.size == 1:
            return finish(result, whole, flat)
        mine = apart(flat, whole) if comm.rank == options["root"] else whole
        with region(comm, who):
            made = body(carrier(comm, flat.dtype), mine, out=whole, **options)
        return finish(result, whole, made)

    return call


def gather(who: str, body: Function, own: dict[str, Any]) -> Function:
    """Return the call of a gather or an all-gather."""

    def call(comm: Any, x: Array, *, counts: Any = None, out: Array | None = None, **given: Any) -> Array | None:
        flat, p, rank = flat_input(who, x), comm.size, comm.rank
        options = _options(who, own, given, comm) if own or given else given
        sizes = sizes_with_own(who, counts, flat.size, comm)
        result: Any = None
        whole: Any = None
        if options.get("root", rank) == rank:
            shape = (p, *x.shape) if counts is None else (sum(sizes),)
            result, whole = output(who, out, shape, flat.dtype)
            begin = sum(sizes[:rank])
            mine = whole[begin : begin + flat.size]
            if not same_memory(mine, flat):
                mine[...] = flat
            flat = mine  # what was given may lie where another block comes
        alike = {"shape": x.shape} if counts is None else {"counts": tuple(sizes)}
        announce(comm, who, dtype=x.dtype, **options, **alike)
        made = whole
        if p > 1:
            with region(comm, who):
                if options:
                    made = body(carrier(comm, flat.dtype), flat, counts=sizes, out=whole, **options)
                else:
                    made = body(carrier(comm, flat.dtype), flat, counts=sizes, out=whole)
        return None if result is None else finish(result, whole, made)

    return call


def scatter(who: str, body: Function, own: dict[str, Any]) -> Function:
    """Return the call of a scatter."""

    def call(comm: Any, x: Array | None, *, root: int = 0, counts: Any = None, out: Array | None = None) -> Array:
        p, rank = comm.size, comm.rank
        check_root(who, root, p)
        given = x if rank == root else out
        if given is None and rank != root:
            raise ValueError(
                f"{who}: got out=None on rank {rank}, expected the array for this rank's block, since only root {root} "
                "knows x; remedy: pass np.empty(shape, dtype) of the block"
            )
        flat = flat_input(who, given)
        sizes, shape = _parts(who, comm, np.asarray(given), root, counts)
        result, mine = output(who, out, shape, flat.dtype)
        alike = {"shape": shape} if counts is None else {"counts": tuple(sizes)}
        announce(comm, who, root=root, dtype=flat.dtype, **alike)
        if p == 1:
            return finish(result, mine, flat)
        with region(comm, who):
            made = body(carrier(comm, flat.dtype), flat, root=root, counts=sizes, out=mine)
        return finish(result, mine, made)

    return call


def _parts(who: str, comm: Any, given: Array, root: int, counts: Any) -> tuple[list[int], tuple[int, ...]]:
    """Return the size of each rank's block and the shape of this rank's; given: x on the root, elsewhere the block."""
    p, rank = comm.size, comm.rank
    if counts is not None:
        sizes = sizes_of(who, "counts", counts, p, given.size if rank == root else None)
        return sizes, (sizes[rank],)
    if rank != root:
        return [given.size] * p, given.shape
    _check_blocks(who, "root", comm, given, "give the sizes of blocks as counts on all ranks")
    return [given.size // p] * p, given.shape[1:]


def alltoall(who: str, body: Function, own: dict[str, Any]) -> Function:
    """Return the call of an all-to-all of blocks of one size."""

    def call(comm: Any, x: Array, *, out: Array | None = None) -> Array:
        flat = flat_input(who, x)
        _check_blocks(who, "rank", comm, x, "call alltoall for other axes and alltoallv for blocks of different sizes")
        result, whole = output(who, out, x.shape, x.dtype)
        announce(comm, who, shape=x.shape, dtype=x.dtype)
        if comm.size == 1:
            return finish(result, whole, flat)
        with region(comm, who):
            made = body(carrier(comm, flat.dtype), apart(flat, whole, may_be_same=False), out=whole)
        return finish(result, whole, made)

    return call


def _check_blocks(who: str, place: str, comm: Any, x: Array, otherwise: str) -> None:
    """Raise ValueError unless the first axis of x has an entry for each rank."""
    if not x.ndim or x.shape[0] != comm.size:
        raise ValueError(
            f"{who}: got x of shape {x.shape} on {place} {comm.rank}, expected ({comm.size}, ...), a block for each of "
            f"{comm.size} ranks; remedy: reshape it, or {otherwise}"
        )


def barrier(who: str, body: Function, own: dict[str, Any]) -> Function:
    """Return the call of a barrier."""

    def call(comm: Any, *positional: Any, **given: Any) -> None:
        if own or positional or given:
            given = _options(who, own, dict(zip(own, positional, strict=False)) | given, comm)
        announce(comm, who, **given)
        if comm.size > 1 and given:
            body(hidden(comm), **given)
        elif comm.size > 1:
            body(hidden(comm))

    return call


def prepared_barrier(who: str, body: Function, prepare: Callable[[Any], Callable[[], None]]) -> Function:
    """Return the call of a barrier that on real MPI is what prepare(comm) returns.

    Microseconds count there, so arguments are checked only once.
    """

    def call(comm: Any) -> None:
        if type(comm) is not Comm:  # a microsecond does not matter on simulated ranks
            try:
                play = kept_by_handle[comm.handle][call][type(comm)]
            except (AttributeError, KeyError):
                pass
            else:
                play()
                return
        announce(comm, who)
        if comm.size == 1:
            return
        if is_plain(comm):
            plays: dict[type, Callable[[], None]] = kept(comm, call, dict)
            plays[type(comm)] = play = prepare(comm)
            play()
        else:
            body(hidden(comm))

    return call


def _options(who: str, own: dict[str, Any], given: dict[str, Any], comm: Any) -> dict[str, Any]:
    """Return the arguments that not all algorithms of an operation have: `own` are their defaults."""
    options = own | given
    for name, value in options.items():
        if name not in own:
            raise TypeError(f"{who}() got an unexpected keyword argument {name!r}")
        if name == "root":
            check_root(who, value, comm.size)
        elif name != "first":
            check_positive(who, name, value)
    return options


CALLS: dict[str, Callable[..., Function]] = {
    "allreduce": reduction,
    "broadcast": broadcast,
    "reduce": reduction,
    "reduce_scatter": reduce_scatter,
    "allgather": gather,
    "gather": gather,
    "scatter": scatter,
    "alltoall": alltoall,
    "scan": reduction,
    "exscan": reduction,
    "barrier": barrier,
}
