"""Sort arrays by the bitonic network, all comparators of a stage at once; nothing here calls np.sort."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from sorting.kernel import sort_rows
from sorting.keys import Array, check_sortable, digits, from_keys, is_extended, to_keys

_INDEX_BITS = 32


def bitonic_sort(x: Array, *, axis: int = -1, descending: bool = False, out: Array | None = None) -> Array:
    """Return `x` sorted along `axis` by the bitonic network.

        bitonic_sort(np.array([3.0, np.nan, -0.0, 1.0]))  # array([-0.,  1.,  3., nan])

    Shape:   x (...,) -> same shape and dtype; any real dtype, dates and time spans, any length. `x` is kept unless
             out is x.
    Cost:    k(k+1)/2 stages for a length up to 2^k, padded to 2^k. Memory: the result; one more copy of the padded
             length if the length is no power of two, two more if axis is not the last; two tiles of 2 MiB, or four
             for arrays that are larger than a tile. Extended floats: the cost of `bitonic_argsort`.
    Order:   that of np.sort: NaN, NaT last; -0.0 before 0.0. Every bit is kept. descending: the mirror image, so
             NaN first.
    Raises:  TypeError if x or out is no array, or of another kind of dtype; ValueError if x has no axis or out does
             not fit; np.exceptions.AxisError if x has no such axis.
    Source:  Batcher, AFIPS Spring Joint Computer Conference 32, 1968; GPU Gems 2, chapter 46.
    """
    rows, axis = _rows("bitonic_sort", x, axis)
    if out is not None:
        _check_output("bitonic_sort", out, x)
    if is_extended(x.dtype):
        order = _order(rows, descending=descending)
        values = np.take_along_axis(rows, order, axis=1)
    else:
        keys = to_keys(rows)
        sort_rows(keys)
        values = from_keys(keys, x.dtype)
        if descending:
            values = values[:, ::-1]
    values = _back(values, x, axis)
    if out is None:
        return np.ascontiguousarray(values, x.dtype)
    out[...] = values
    return out


def bitonic_argsort(x: Array, *, axis: int = -1, descending: bool = False) -> Array:
    """Return the indices that sort `x` along `axis`, by the bitonic network; equal elements keep their order.

        bitonic_argsort(np.array([2, 1, 2, 0]))  # array([3, 1, 0, 2])

    Shape:   x (...,) -> the same shape, int64.
    Cost:    one pass of the network over int64 for each 32 bits of the values: one for up to 32 bits, two for 64,
             and one more for each 31 bits of an extended float's fraction.
    Order:   that of np.argsort(kind="stable"): -0.0 equals 0.0, NaN equals NaN. descending: stable too.
    Raises:  as bitonic_sort; ValueError if the axis has more than 2^32 elements.
    """
    rows, axis = _rows("bitonic_argsort", x, axis)
    if rows.shape[1] > 1 << _INDEX_BITS:
        raise ValueError(
            f"bitonic_argsort: got {rows.shape[1]} elements along axis {axis}, expected at most 2^{_INDEX_BITS}; "
            "remedy: sort parts and merge them"
        )
    return np.ascontiguousarray(_back(_order(rows, descending=descending), x, axis))


def bitonic_sort_by_key(keys: Array, values: Array, *, axis: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """Return `keys` sorted along `axis`, and `values` moved with them; values of equal keys keep their order.

        bitonic_sort_by_key(np.array([2, 1, 3]), np.array(["b", "a", "c"]))
        # (array([1, 2, 3]), array(['a', 'b', 'c'], dtype='<U1'))

    Shape:   keys (...,), values of the same shape and any dtype -> the same two.
    Cost:    that of bitonic_argsort, and two gathers.
    Raises:  as bitonic_argsort; TypeError, ValueError if values is no array or has another shape.
    """
    if not isinstance(values, np.ndarray):
        raise TypeError(
            f"bitonic_sort_by_key: got values of type {type(values).__name__}, expected a numpy.ndarray; "
            "remedy: pass np.asarray(values)"
        )
    order = bitonic_argsort(keys, axis=axis, descending=descending)
    if values.shape != keys.shape:
        raise ValueError(
            f"bitonic_sort_by_key: got values of shape {values.shape}, expected {keys.shape}, that of keys; "
            "remedy: np.broadcast_to(values, keys.shape)"
        )
    return np.take_along_axis(keys, order, axis), np.take_along_axis(values, order, axis)


def _rows(who: str, x: Any, axis: Any) -> tuple[Array, int]:
    """Return `x` as a matrix with the axis to sort along last, and that axis counted from 0."""
    x = check_sortable(who, x)
    try:
        axis = index(axis)
    except TypeError:
        raise TypeError(
            f"{who}: got axis {axis!r:.40}, expected an integer from {-x.ndim} to {x.ndim - 1}; remedy: choose one, or "
            "pass x.ravel() for all elements in one row"
        ) from None
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(f"{who}: got axis {axis}, expected {-x.ndim} to {x.ndim - 1}; remedy: choose one")
    n = x.shape[axis]
    moved = np.moveaxis(x, axis, -1)
    return moved.reshape(x.size // n if n else 0, n), axis % x.ndim


def _back(rows: Array, x: Array, axis: int) -> Array:
    """Return the matrix in the shape of x."""
    shape = np.moveaxis(x, axis, -1).shape
    return np.moveaxis(rows.reshape(shape), -1, axis)


def _check_output(who: str, out: Any, x: Array) -> None:
    """Refuse an `out` that cannot hold what x holds."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{who}: got out of type {type(out).__name__}, expected a numpy.ndarray; remedy: pass one")
    if out.shape != x.shape or out.dtype != x.dtype or not out.flags.writeable:
        state = "writable" if out.flags.writeable else "read-only"
        raise ValueError(
            f"{who}: got out with shape {out.shape}, dtype {out.dtype}, {state}, expected shape {x.shape}, dtype "
            f"{x.dtype}, writable; remedy: pass np.empty({x.shape}, {str(x.dtype)!r}), or x itself"
        )


def _order(rows: Array, *, descending: bool) -> Array:
    """Return the stable order of each row: digit by digit from the last, index and digit in one integer.

    Indices below the digit make all integers different, so that a network that is not stable sorts stably.
    """
    n = rows.shape[1]
    place = np.arange(n, dtype=np.int64)
    order: Array | None = None
    for digit in reversed(digits(rows)):
        if descending:
            digit = ~digit
        if order is not None:
            digit = np.take_along_axis(digit, order, axis=1)
        packed = (digit << _INDEX_BITS) | place
        sort_rows(packed)
        packed &= (1 << _INDEX_BITS) - 1
        order = packed if order is None else np.take_along_axis(order, packed, axis=1)
    assert order is not None
    return order
