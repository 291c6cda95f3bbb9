"""Arrays as collectives need them: flat, in blocks, as bytes for dtypes that MPI does not know, and checked."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranks import is_plain, kept

Array = NDArray[Any]

PAGE, ASIDE = 4096, 2048  # where in its page memory for what comes begins (`spares`)
_SPARED_FROM, _SPARED_UP_TO = 16 << 10, 64 << 20  # bytes: of one spare, for it to be kept, and of all that are
_MPI_DTYPES = frozenset(np.dtype(code) for code in "?bBhHiIlLqQefdgFDG")


def block_bounds(n: int, p: int) -> list[int]:
    """Return where the p blocks of n elements begin and end; the first n % p blocks are one element longer.

    block_bounds(8, 3)  # [0, 3, 6, 8]
    """
    size, longer = divmod(n, p)
    return [block * size + min(block, longer) for block in range(p + 1)]


def block_sizes(n: int, p: int) -> list[int]:
    """Return the sizes of the p blocks of n elements, as np.array_split cuts them.

    block_sizes(8, 3)  # [3, 3, 2]
    """
    size, longer = divmod(n, p)
    return [size + (block < longer) for block in range(p)]


class Uneven:
    """The blocks of a flat array, as items: views, made when asked for; item -1 is the last."""

    __slots__ = ("bounds", "x")

    def __init__(self, x: Array, bounds: list[int]) -> None:
        self.x, self.bounds = x, bounds

    def __getitem__(self, block: int) -> Array:
        block %= len(self.bounds) - 1
        return self.x[self.bounds[block] : self.bounds[block + 1]]


def cut(x: Array, bounds: list[int]) -> Array | Uneven:
    """Return what has the blocks of a flat array as its items; item -1 is the last.

    cut(np.arange(6), [0, 2, 4, 6])[-1]  # array([4, 5])
    """
    p, size = len(bounds) - 1, bounds[1]
    # Blocks of one size are the rows of a matrix, which NumPy looks up in half the time of a slice.
    return x.reshape(p, size) if bounds == list(range(0, p * size + 1, size or 1)) else Uneven(x, bounds)


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


def check_array(who: str, x: Any) -> None:
    """Raise TypeError unless the argument `x` is an array whose elements can be sent as they are."""
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{who}: got x of type {type(x).__name__}, expected a numpy.ndarray; remedy: pass np.asarray(x)"
            + (" or x.filled(...): a mask would be lost" if isinstance(x, np.ma.MaskedArray) else "")
        )
    if x.dtype.hasobject:
        raise TypeError(
            f"{who}: got x with dtype {x.dtype}, expected one of fixed size; remedy: convert it, since Python "
            "objects cannot be sent as a buffer"
        )


def flat_input(who: str, x: Any) -> Array:
    """Return the elements of the argument `x` in C order, in one piece; a view of it where that is possible."""
    check_array(who, x)
    if type(x) is np.ndarray and x.ndim == 1 and in_order(x):
        return x  # the most common case, in which an all-reduce of 1 KiB may take 3 us in all
    return flattened(x)


def flattened(x: Array) -> Array:
    """Return the elements of x in C order, in one piece; a view of it where that is possible."""
    flat: Array = np.require(np.asarray(x), requirements=("C", "ALIGNED")).reshape(-1)
    return flat


def in_order(x: Array) -> bool:
    """Return whether the elements of x lie in C order, in one piece, where the processor expects them.

    MPI does not take elements that are not aligned; and NumPy's loops over them, or over every second one, may round
    in another way than those over arrays in order.
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


def spares(comm: Any, n_spares: int, n: int, dtype: np.dtype[Any]) -> list[Array]:
    """Return flat arrays of n elements to receive into, which are the caller's until anybody asks for spares of `comm`.

    On real MPI those of 16 KiB and more are one memory, which stays with the communicator, grows, and is given back
    with it; what would take more than 64 MiB is new each time. Memory that is new costs a third of what it takes to
    receive into it. And they begin in the middle of a page: some processors copy three to five times as slowly to
    where addresses end in little more than those they copy from, as modulo a page; large arrays begin at a page, or 16
    bytes into one, which malloc keeps to itself.
    """
    n_bytes = n * dtype.itemsize
    if n_bytes < _SPARED_FROM or not is_plain(comm):
        return [np.empty(n, dtype) for _ in range(n_spares)]
    step = -(-n_bytes // PAGE) * PAGE
    holder: list[Array] = kept(comm, spares, lambda: [np.empty(0, np.uint8)])
    memory = holder[0]
    if memory.size < n_spares * step:
        memory = np.empty(n_spares * step + PAGE, np.uint8)
        memory = memory[(ASIDE - memory.ctypes.data) % PAGE :]
        if memory.size <= _SPARED_UP_TO:
            holder[0] = memory
    return [memory[begin : begin + n_bytes].view(dtype) for begin in range(0, n_spares * step, step)]


def finish(result: Array, flat: Array) -> Array:
    """Return the result, after copying `flat` into it if it is not a view of it."""
    if not in_order(result):
        result[...] = flat.reshape(result.shape)
    return result


def check_root(who: str, root: Any, p: int) -> None:
    """Raise ValueError unless `root` is a rank."""
    if not isinstance(root, (int, np.integer)) or not 0 <= root < p:
        raise ValueError(f"{who}: got root={root!r}, expected 0 to {p - 1}; remedy: choose a rank of comm")


def check_positive(who: str, name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a whole number from 1 up."""
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{who}: got {name}={value!r}, expected a whole number from 1 up; remedy: choose one")


def wire_view(dtype: np.dtype[Any]) -> Callable[[Array], Array] | None:
    """Return what makes bytes of a flat array, for dtypes that MPI does not know; None if arrays go as they are."""
    return None if dtype in _MPI_DTYPES else _bytes


def _bytes(block: Array) -> Array:
    return block.view(np.uint8)


def same_memory(a: Array, b: Array) -> bool:
    """Return whether two flat arrays are the same elements."""
    return a.size == b.size and a.ctypes.data == b.ctypes.data
