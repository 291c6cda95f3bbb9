"""Integers in the order of NumPy's real values: comparing them compares the values, with NaN and NaT last.

np.minimum and np.maximum on floats would spread NaN and may lose the sign of a zero. Integers have neither problem.
Their complement ~x reverses their order; no operation on floats with NaN does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CHUNK = 2**16


def check_sortable(who: str, x: Any) -> Array:
    """Return `x` if it is an array of real values with at least one axis.

    Raises:  TypeError, ValueError otherwise.
    """
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        remedy = "x.filled(...), since a mask would be lost" if isinstance(x, np.ma.MaskedArray) else "np.asarray(x)"
        raise TypeError(f"{who}: got x of type {type(x).__name__}, expected a numpy.ndarray; remedy: pass {remedy}")
    if x.dtype.kind not in "biufmM":
        raise TypeError(
            f"{who}: got x with dtype {x.dtype}, expected booleans, integers, floats, dates or time spans; remedy: "
            "sort numbers that stand for its elements, such as np.unique(x, return_inverse=True)[1]"
        )
    if x.ndim == 0:
        raise ValueError(
            f"{who}: got x of shape (), expected at least one axis to sort along; remedy: pass x.reshape(1)"
        )
    return x


def is_extended(dtype: np.dtype[Any]) -> bool:
    """Return whether values are floats wider than the widest integers."""
    return dtype.kind == "f" and dtype.itemsize > 8


def to_keys(x: Array) -> Array:
    """Return new integers, one a value, in the same order: -NaN and NaN last, NaT last, -0.0 before 0.0.

    to_keys(np.array([0.0, -1.0, np.nan, np.inf])).argsort()  # array([1, 0, 3, 2])

    The mapping is one to one, so `from_keys` restores every bit. It does not take extended floats.
    """
    return keys_in_place(np.array(x, x.dtype.newbyteorder("="), order="C", subok=False))


def keys_in_place(values: Array) -> Array:
    """Return what `to_keys` does, in the memory of a contiguous array in this machine's order, which is used up."""
    dtype = values.dtype
    if dtype.kind == "b":
        return values.view(np.uint8)
    if dtype.kind in "iu":
        return values
    keys = values.view(f"i{dtype.itemsize}")
    # In the order of signed integers, all that is not a number but has the sign bit set (NaT; NaN) is first: going
    # round by as many places as there are such values makes it last.
    for part in _chunks(keys):
        if dtype.kind == "f":
            _mirror_negatives(part)
        part -= _misplaced(dtype)
    return keys


def from_keys(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values of which `keys` are the keys; in the same memory, so `keys` is used up."""
    if dtype.kind in "fmM":
        for part in _chunks(keys):
            part += _misplaced(dtype)
            if dtype.kind == "f":
                _mirror_negatives(part)
    return keys.view(dtype.newbyteorder("="))


def _chunks(keys: Array) -> Iterator[Array]:
    """Yield the elements of a contiguous array in pieces that stay in the cache while they are worked on."""
    flat = keys.reshape(-1)
    for begin in range(0, flat.size, CHUNK):
        yield flat[begin : begin + CHUNK]


def _misplaced(dtype: np.dtype[Any]) -> Any:
    """Return how many values with the sign bit set are no numbers, as an integer of that size."""
    count = (1 << np.finfo(dtype).nmant) - 1 if dtype.kind == "f" else 1
    return np.dtype(f"i{dtype.itemsize}").type(count)


def _mirror_negatives(keys: Array) -> None:
    """Reverse the order of the negative ones: floats are a sign and a magnitude, integers are not."""
    flip = keys >> (8 * keys.itemsize - 1)
    flip &= np.iinfo(keys.dtype).max
    keys ^= flip


def copy_floats(x: Array, out: Array) -> bool:
    """Copy `x` to `out`; return whether all are numbers and no zero is negative: then NumPy's comparisons lose nothing.

    Looked at while it is in the cache, and by two minima: that of floats is NaN if any is, and among integers the bits
    of -0.0 are the least.
    """
    bits = out.view(f"i{out.itemsize}")
    minus_zero = np.iinfo(bits.dtype).min
    least = np.minimum.reduce  # the method min calls this through more Python
    is_plain = True
    for begin in range(0, x.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        out[part] = x[part]
        is_plain = is_plain and not np.isnan(least(out[part])) and least(bits[part]) != minus_zero
    return is_plain


def digits(x: Array) -> list[Array]:
    """Return int64 arrays with 32 bits each, most significant first, in whose joint order the values are.

    Values that are equal get equal digits: zeros of both signs, and all that is NaN.
    """
    if is_extended(x.dtype):
        return _digits_of_extended(x)
    keys = to_keys(x)
    if x.dtype.kind == "f":
        minus_zero, infinite = to_keys(np.array([-0.0, np.inf], x.dtype))
        keys += keys == minus_zero  # 0.0 comes next
        np.copyto(keys, np.iinfo(keys.dtype).max, where=keys > infinite)
    if keys.itemsize < 8:
        return [keys.astype(np.int64) - (1 << 31 if keys.dtype == np.uint32 else 0)]
    low = (keys & keys.dtype.type(0xFFFFFFFF)).astype(np.int64) - (1 << 31)
    high = (keys >> keys.dtype.type(32)).astype(np.int64) - (1 << 31 if keys.dtype.kind == "u" else 0)
    return [high, low]


def _digits_of_extended(x: Array) -> list[Array]:
    """Take a float apart by arithmetic, whatever its format: sign and exponent, then the fraction, 31 bits a digit."""
    nan, infinite = np.isnan(x), np.isinf(x)
    fraction, exponent = np.frexp(np.where(nan | infinite, x.dtype.type(0), x))
    bias = 2 * np.finfo(x.dtype).maxexp  # so that exponent + bias is positive, also of subnormal numbers
    first = (np.sign(fraction) * (exponent + bias)).astype(np.int64)
    first[infinite] = (np.sign(x[infinite]) * 3 * bias).astype(np.int64)
    first[nan] = 4 * bias
    made = [first]
    for _ in range(-(-(np.finfo(x.dtype).nmant + 1) // 31)):
        fraction = np.ldexp(fraction, 31)
        whole = np.floor(fraction)
        made.append(whole.astype(np.int64))
        fraction = fraction - whole
    return made
