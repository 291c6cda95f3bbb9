"""`mpi4py.util.dtlib`: from NumPy's dtypes to datatypes of MPI, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpi.as_mpi4py import MPI


def from_numpy_dtype(dtype: Any) -> Any:
    """Return the datatype of MPI for a dtype, committed if it had to be made."""
    dtype = np.dtype(dtype)
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return from_numpy_dtype(base).Create_contiguous(int(np.prod(shape))).Commit()
    if dtype.fields is None:
        return MPI.Datatype.fromcode(dtype.char)
    names = dtype.names or ()
    parts = [from_numpy_dtype(dtype.fields[name][0]) for name in names]
    offsets = [dtype.fields[name][1] for name in names]
    return MPI.Datatype.Create_struct([1] * len(parts), offsets, parts).Create_resized(0, dtype.itemsize).Commit()


def to_numpy_dtype(datatype: Any) -> np.dtype[Any]:
    """Return the dtype for a basic datatype of MPI."""
    found: np.dtype[Any] = np.dtype(datatype.tocode())
    return found
