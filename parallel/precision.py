"""Numbers of 16 bits, and how operations work with them.

    bfloat16  8 bits of significand and the exponents of float32: of 1 + 2**-9 the 1 is left
    float16   11 bits, and exponents from -24 to 15: what is larger than 65504 becomes infinity

An operation on arrays of 16 bits widens its arguments to float32, computes and sums in float32, and rounds its result
once, to nearest, ties to even, as tensor cores and the kernels around them do:

    linear(x, w, b) = rounded(wide(x) @ wide(w) + wide(b), x.dtype)

Of float32 and float64 all functions here return their argument.

Source: Micikevicius et al., arXiv 1710.03740; Kalamkar et al., arXiv 1905.12322.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from collectives.arrays import Array

BFLOAT16, FLOAT16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
SIXTEEN = (BFLOAT16, FLOAT16)


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which numbers of `dtype` are summed: float32 for those of 16 bits, or their own.

    sum_dtype(BFLOAT16)  # dtype('float32')
    """
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def wide(x: Array) -> Array:
    """Return numbers of 16 bits as float32, which changes none of them.

    wide(np.array([1.5], np.float16)).dtype  # dtype('float32')
    """
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return float32 numbers as the nearest of `dtype`, ties to even; what is too large becomes infinity.

        rounded(np.array([1 + 2**-9, 1 + 3 * 2**-8], np.float32), BFLOAT16).tolist()  # [1.0, 1.015625]

    Cost: one pass over x, which takes as long as reading it for bfloat16.
    """
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def wire(x: Array) -> Array:
    """Return what MPI can send of an array: the same memory, as whole numbers if its own are of 16 bits."""
    return x.view(np.uint16) if x.dtype.itemsize == 2 else x
