"""A caller's arguments, checked and laid out. Each error says who, got, expected, and the remedy."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from collectives.arrays import Array


def check_array(who: str, x: Any) -> None:
    """Raise TypeError unless the argument `x` is an array whose elements can be sent as they are."""
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{who}: got x of type {type(x).__name__}, expected a numpy.ndarray; remedy: {_remedy_for(x)}")
    if x.dtype.hasobject:
        raise TypeError(
            f"{who}: got x with dtype {x.dtype}, expected one of fixed size; remedy: convert it, since Python "
            "objects cannot be sent as a buffer"
        )


def _remedy_for(x: Any) -> str:
    """Return what to pass in the place of something that is no array."""
    if isinstance(x, np.ma.MaskedArray):
        return "pass np.asarray(x) or x.filled(...): a mask would be lost"
    if x is None:
        return "pass an array on every rank; one that only receives passes one of the same shape and dtype"
    if isinstance(x, (int, float, complex, list, tuple, np.generic)):
        return "pass np.asarray(x)"
    return "send objects with comm.send, or with comm.bcast, comm.allreduce, ... of mpi.run and of mpi4py"


def flat_input(who: str, x: Any) -> Array:
    """Return the elements of the argument `x` in C order, in one piece; a view of it where that is possible."""
    check_array(who, x)
    if type(x) is np.ndarray and x.ndim == 1 and in_order(x):
        return x  # the most common case, in which an all-reduce of 1 KiB may take 3 µs in all
    return flattened(x)


def flattened(x: Array) -> Array:
    """Return the elements of x in C order, in one piece; a view of it where that is possible."""
    flat: Array = np.require(np.asarray(x), requirements=("C", "ALIGNED")).reshape(-1)
    return flat


def in_order(x: Array) -> bool:
    """Return whether the elements of x lie in C order, in one piece, where the processor expects them.

    MPI does not take elements that are not aligned. And NumPy may round in another way when it loops over such
    elements, or over every second one, than over arrays in order.
    """
    flags = x.flags
    return bool(flags.c_contiguous and flags.aligned)


def output(who: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return the array for the result, and the flat array in one piece to compute it in.

    The second is a view of the first, unless `out` was given and is not in order: then `finish` copies.
    """
    if out is None:
        result = np.empty(shape, dtype)
        return result, result.reshape(-1)
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{who}: got out of type {type(out).__name__}, expected a numpy.ndarray; remedy: pass one")
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        state = "writable" if out.flags.writeable else "read-only"
        raise ValueError(
            f"{who}: got out with shape {out.shape}, dtype {out.dtype}, {state}, expected shape {shape}, "
            f"dtype {dtype}, writable; remedy: pass np.empty({shape}, {str(dtype)!r})"
        )
    return out, np.asarray(out).reshape(-1) if in_order(out) else np.empty(out.size, dtype)


def finish(result: Array, whole: Array, made: Array) -> Array:
    """Return the result, after copying what was made into it unless that is there, in its flat view `whole`."""
    if made is not whole or not in_order(result):
        result[...] = made.reshape(result.shape)
    return result


def apart(x: Array, out: Array, *, may_be_same: bool = True) -> Array:
    """Return `x`, a copy of it if writing to `out` could change it, or `out` itself if both are the same elements."""
    if not np.may_share_memory(x, out):
        return x
    return out if may_be_same and same_memory(x, out) else x.copy()


def same_memory(a: Array, b: Array) -> bool:
    """Return whether two flat arrays are the same elements."""
    return a.size == b.size and a.ctypes.data == b.ctypes.data


def check_root(who: str, root: Any, p: int) -> None:
    """Raise ValueError unless `root` is a rank."""
    if not isinstance(root, (int, np.integer)) or not 0 <= root < p:
        raise ValueError(f"{who}: got root={root!r}, expected 0 to {p - 1}; remedy: choose a rank of comm")


def check_positive(who: str, name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a whole number from 1 up."""
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{who}: got {name}={value!r}, expected a whole number from 1 up; remedy: choose one")


def sizes_of(who: str, name: str, sizes: Any, p: int, total: int | None = None) -> list[int]:
    """Return the argument `sizes`, one for each of p ranks, as a list; ValueError unless it is that.

    total: what they must add up to, if that is known.
    """
    try:
        found = [index(size) for size in sizes]
    except TypeError:
        found = []
    if len(found) != p or min(found) < 0 or (total is not None and sum(found) != total):
        adding_up = "" if total is None else f", adding up to {total}"
        raise ValueError(
            f"{who}: got {name} {sizes}, expected an integer from 0 up for each of {p} ranks{adding_up}; remedy: give "
            "the size of each rank's part, in rank order"
        )
    return found


def sizes_with_own(who: str, counts: Any, mine: int, comm: Any) -> list[int]:
    """Return the number of elements on each rank: all have as many as this one if `counts` is None."""
    if counts is None:
        return [mine] * comm.size
    sizes = sizes_of(who, "counts", counts, comm.size)
    if sizes[comm.rank] != mine:
        raise ValueError(
            f"{who}: got counts {counts} and, on rank {comm.rank}, {mine} elements, expected the count of this rank "
            "to be its number of elements; remedy: pass the same, true counts on all ranks"
        )
    return sizes
