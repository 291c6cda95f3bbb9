"""`mpi4py.util.dtlib`: from NumPy's dtypes to datatypes of MPI, and back."""

from __future__ import annotations

from math import lcm
from typing import Any

import numpy as np

from mpi.as_mpi4py import MPI


def from_numpy_dtype(dtype: Any) -> Any:
    """Return a new datatype of MPI for a dtype."""
    dtype = np.dtype(dtype)
    if dtype.hasobject or not dtype.isnative:
        raise ValueError(f"from_numpy_dtype: got {dtype}, expected native numbers; remedy: convert the array")
    if dtype.fields is not None:
        fields = [dtype.fields[name] for name in dtype.names or ()]
        parts, offsets = [from_numpy_dtype(field[0]) for field in fields], [field[1] for field in fields]
        return MPI.Datatype.Create_struct([1] * len(parts), offsets, parts).Create_resized(0, dtype.itemsize)
    if dtype.subdtype is not None:
        base, shape = from_numpy_dtype(dtype.subdtype[0]), dtype.subdtype[1]
        if len(shape) == 1:
            return base.Create_contiguous(shape[0])
        return base.Create_subarray(shape, shape, [0] * len(shape))
    found = MPI.Datatype.fromcode(dtype.char)
    if found.size != dtype.itemsize:
        raise ValueError(f"from_numpy_dtype: got {dtype}, expected numbers or single characters; remedy: send bytes")
    return found.Dup()


def to_numpy_dtype(datatype: Any) -> np.dtype[Any]:
    """Return the dtype whose elements lie as those of a datatype of MPI do."""
    if not datatype:
        raise ValueError("to_numpy_dtype: got DATATYPE_NULL, expected a datatype; remedy: pass one")
    base, kind, made = datatype.decode()
    if kind == "NAMED" or kind.startswith("F90"):
        return _predefined(datatype)
    if kind == "DUP":
        return to_numpy_dtype(base)
    if kind == "CONTIGUOUS":
        return np.dtype((to_numpy_dtype(base), (made["count"],)))
    if kind == "SUBARRAY" and made["subsizes"] == made["sizes"] and not any(made["starts"]):
        shape = made["sizes"] if made["order"] == MPI.ORDER_C else made["sizes"][::-1]
        return np.dtype((to_numpy_dtype(base), tuple(shape)))
    if kind == "RESIZED" and base.decode()[1] == "STRUCT":
        _, kind, made = base.decode()
    if kind == "STRUCT":
        types = [to_numpy_dtype(each) for each in made["datatypes"]]
        formats: list[Any] = [t if n == 1 else (t, (n,)) for t, n in zip(types, made["blocklengths"], strict=True)]
        return _of_fields(formats, made["displacements"], datatype.extent)
    if kind in ("VECTOR", "HVECTOR"):
        stride = made["stride"] * (base.extent if kind == "VECTOR" else 1)
        offsets = [stride * place for place in range(made["count"])]
        return _of_fields([(to_numpy_dtype(base), (made["blocklength"],))] * len(offsets), offsets, datatype.extent)
    if "INDEXED" in kind:
        unit = 1 if kind.startswith("H") else base.extent
        offsets = [displacement * unit for displacement in made["displacements"]]
        counts = made.get("blocklengths") or [made["blocklength"]] * len(offsets)
        return _of_fields([(to_numpy_dtype(base), (count,)) for count in counts], offsets, None)
    raise ValueError(f"to_numpy_dtype: got a datatype made by {kind}, expected one that a dtype can describe")


def _predefined(datatype: Any) -> np.dtype[Any]:
    for name in ("SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "LONG_DOUBLE"):
        if datatype == getattr(MPI, f"{name}_INT"):
            pair: np.dtype[Any] = np.dtype(f"{getattr(MPI, name).typechar},i", align=True)
            return pair
    found: np.dtype[Any] = np.dtype(datatype.typestr)
    return found


def _of_fields(formats: list[Any], offsets: list[int], itemsize: int | None) -> np.dtype[Any]:
    """Return a dtype of fields, an aligned one if they lie so."""
    spec: Any = {"names": [f"f{i}" for i in range(len(formats))], "formats": formats, "offsets": offsets}
    if itemsize is not None:
        spec["itemsize"] = itemsize
    dtype: np.dtype[Any] = np.dtype(spec)
    units = [np.dtype(each).alignment for each in formats]
    at = [*zip(offsets, units, strict=True), (dtype.itemsize, lcm(*units))]
    found: np.dtype[Any] = np.dtype(spec | {"aligned": all(offset % unit == 0 for offset, unit in at)})
    return found
